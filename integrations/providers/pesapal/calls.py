"""Calls to Pesapal's API: the access token, one JSON exchange, what its many ways of saying "no" mean. Knows no payment.

Source: developer.pesapal.com, API 3.0, and recorded answers (see fixtures/SOURCES.md). HTTP 200 is used for errors too: the
body's `status` (a string or a number) and `error` decide. An `error` object whose members are all null means success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from integrations.contracts.adapter import Clock, ConfigView, FetchedToken, HttpPort, Reply, TokenPort
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.pesapal.codes import CREDENTIAL_CODES, TOKEN_CODES
from integrations.providers.pesapal.formats import one_line, parse_moment

TOKEN_PATH = "/api/Auth/RequestToken"  # noqa: S105 a path
TOKEN_SECONDS = 300.0
"""How long a token lives at most where `expiryDate` can't be read (documentation; the sandbox was seen to give 60 minutes)."""

LONGEST_TOKEN_SECONDS = 3600.0
HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class ApiError:
    """Pesapal's `error`: its code (may be empty) and its text (often empty)."""

    code: str
    message: str

    @property
    def shown(self) -> str:
        return self.message or self.code or "no reason given"


@dataclass(frozen=True, slots=True)
class Answer:
    """A readable answer. `status` is the body's own, the HTTP status where it has none; `error` None on success."""

    status: int
    body: Wire
    error: ApiError | None

    @property
    def ok(self) -> bool:
        return self.error is None and self.status == HTTP_OK


class PesapalApi:
    """One config's access; lives for one call of the adapter."""

    def __init__(self, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens
        self._clock = clock

    def call(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        safe: bool,
        payload: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one exchange and return what was answered, errors in the body included.

        A refused access token is fetched anew and the call made once more, refunds too: the request was turned away before
        it was looked at. Raises `ProviderError`: without a readable answer `ProviderUnavailable` where `safe`, else
        `OutcomeUnknown`.
        """
        token = self._tokens.access_token(self._fetch_token)
        reply = self._send(method, path, token, operation=operation, safe=safe, payload=payload, query=query)
        if _token_refused(reply):
            token = self._tokens.access_token(self._fetch_token, rejected=token)
            reply = self._send(method, path, token, operation=operation, safe=safe, payload=payload, query=query)
            if _token_refused(reply):
                raise AuthenticationFailed("Pesapal refused the access token it had just given.", provider_code="401")
        return self._read(reply, safe=safe)

    def renew_token(self) -> None:
        """Fetch a new access token whatever is stored: proof that key and secret are right here. Raises `ProviderError`."""
        fetched: list[FetchedToken] = []

        def fetch() -> FetchedToken:
            fetched.append(self._fetch_token())
            return fetched[-1]

        token = self._tokens.access_token(fetch)
        if not fetched:
            self._tokens.access_token(fetch, rejected=token)

    def clean(self, text: str) -> str:
        """Return a text that quotes Pesapal without the config's secrets, should it ever echo one."""
        for secret in self._config.secrets.values():
            if secret:
                text = text.replace(str(secret), "••••")
        return text

    def _send(
        self,
        method: str,
        path: str,
        token: str,
        *,
        operation: str,
        safe: bool,
        payload: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> Reply:
        headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        body = None if payload is None else dict(payload)
        return self._http.request(method, path, operation=operation, safe=safe, json=body, query=query, headers=headers)

    def _read(self, reply: Reply, *, safe: bool) -> Answer:
        answer: Answer | None = None
        problem = "body is not JSON"
        try:
            answer = read_answer(reply)
        except WireError as error:
            problem = str(error)
        if reply.status == 429:
            raise RateLimited("Pesapal is too busy to take the request.", provider_code="429", retry_after=reply.retry_after)
        if reply.ok:
            if answer is None:
                raise unreadable(problem, safe=safe)
            return self._cleaned(answer)
        refused = answer is not None and answer.error is not None and bool(answer.error.code)
        if reply.status >= 500:
            # Said with a code, it is a definite "no" to a query or an order; of money that may have moved it proves nothing.
            if answer is not None and refused and safe:
                return self._cleaned(answer)
            raise no_answer(reply.status, safe=safe)
        if answer is not None and refused:
            return self._cleaned(answer)
        if reply.status == 403:  # the network in front of Pesapal turned it away: nothing was done
            raise ProviderUnavailable("Pesapal's front door turned the request away.", provider_code="403")
        if 300 <= reply.status < 400:
            raise no_answer(reply.status, safe=safe)
        raise InvalidRequest(f"Pesapal refused the request (HTTP {reply.status}).", provider_code=str(reply.status))

    def _cleaned(self, answer: Answer) -> Answer:
        if answer.error is None:
            return answer
        if answer.error.code.lower() in CREDENTIAL_CODES:
            raise _credentials_refused(answer.error)
        return Answer(answer.status, answer.body, ApiError(answer.error.code, self.clean(answer.error.message)))

    def _fetch_token(self) -> FetchedToken:
        """Return a new token. Whatever error the body names here is about the credentials: nothing else was sent."""
        payload = {
            "consumer_key": str(self._config.consumer_key).strip(),
            "consumer_secret": str(self._config.consumer_secret).strip(),
        }
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        reply = self._http.request("POST", TOKEN_PATH, operation="token", safe=True, json=payload, headers=headers)
        if reply.status in (400, 401):
            raise AuthenticationFailed("Pesapal refused the consumer key or secret.", provider_code=str(reply.status))
        answer = self._read(reply, safe=True)
        if answer.error is not None:
            raise _credentials_refused(answer.error)
        try:
            token = answer.body["token"].text(max_length=8000)
        except WireError as error:
            raise unreadable(str(error), safe=True) from error
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ProviderUnavailable("Pesapal's access token could not be read.", provider_code="unreadable")
        return FetchedToken(token, self._lifetime(answer.body))

    def _lifetime(self, body: Wire) -> float:
        """Return the seconds until `expiryDate`; the token store takes its own margin off that."""
        told = body.get("expiryDate")
        expiry = parse_moment(str(told.raw)) if told is not None else None
        if expiry is None:
            return TOKEN_SECONDS
        return min(max((expiry - self._clock()).total_seconds(), 1.0), LONGEST_TOKEN_SECONDS)


def read_answer(reply: Reply) -> Answer:
    """Return the answer's parts; raise `WireError` for anything but a JSON object or list."""
    try:
        body = reply.json()
    except RecursionError:
        raise WireError("body is nested too deeply") from None
    if isinstance(body.raw, list):
        return Answer(reply.status, body, None)
    if not isinstance(body.raw, dict):
        raise WireError("body is not an object")
    return Answer(_status(body, reply.status), body, _error(body))


def no_answer(status: int, *, safe: bool) -> ProviderError:
    """Return the error for an answer that does not say whether the request was carried out."""
    if safe:
        return ProviderUnavailable(f"Pesapal could not answer (HTTP {status}).", provider_code=str(status))
    return OutcomeUnknown(f"Pesapal did not say whether it took the request (HTTP {status}).", provider_code=str(status))


def unreadable(problem: str, *, safe: bool) -> ProviderError:
    """Return the error for a success that can't be read; `problem` names the path and never a value."""
    if safe:
        return ProviderUnavailable(f"Pesapal's answer could not be read: {problem}.", provider_code="unreadable")
    return BadReply(f"Pesapal's answer could not be read: {problem}.", provider_code="unreadable")


def _status(body: Wire, otherwise: int) -> int:
    told = str(body.raw.get("status", "")).strip()
    return int(told) if re.fullmatch(r"\d{3}", told) else otherwise


def _error(body: Wire) -> ApiError | None:
    found = body.raw.get("error")
    if isinstance(found, str):
        return ApiError("", one_line(found, 300)) if found.strip() else None
    if not isinstance(found, dict):
        return None
    code, message = (one_line(str(found.get(name) or ""), 300) for name in ("code", "message"))
    return ApiError(code[:100], message) if code or message else None


def _token_refused(reply: Reply) -> bool:
    if reply.status == 401:
        return True
    try:
        answer = read_answer(reply)
    except WireError:
        return False
    return answer.status == 401 or (answer.error is not None and answer.error.code.lower() in TOKEN_CODES)


def _credentials_refused(error: ApiError) -> AuthenticationFailed:
    text = "Pesapal refused the consumer key or secret."
    if error.code.lower() in CREDENTIAL_CODES and "unknown" in error.code.lower():
        text = "Pesapal does not know the consumer key here: live and sandbox keys are not interchangeable."
    return AuthenticationFailed(text, provider_code=error.code)
