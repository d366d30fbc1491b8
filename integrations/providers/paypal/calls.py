"""Calls to PayPal's REST API: the access token, one exchange, typed errors. Knows no payment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from integrations.contracts.adapter import ConfigView, FetchedToken, HttpPort, Reply, TokenPort
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.wire import Wire, WireError

TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 a path
REQUEST_ID_MAX = 108
"""Longest `PayPal-Request-Id` of the Orders API; Payments allow 10,000 (OpenAPI files, February 2024)."""

IN_PROGRESS = "PREVIOUS_REQUEST_IN_PROGRESS"


@dataclass(frozen=True)
class Refused(Exception):
    """PayPal understood and said no: HTTP 400, 403, 404, 409, 422. `issue` is the first detail's, else the error's name."""

    status: int
    issue: str
    text: str = ""
    field: str = ""
    debug_id: str = ""
    links: tuple[tuple[str, str], ...] = ()

    def error(self) -> ProviderError:
        """Return the typed error for a refusal that means no decline: nothing was done."""
        code = self.issue or str(self.status)
        if self.status == 403:
            return AuthenticationFailed("PayPal does not allow this account to do that.", provider_code=code)
        said = f": {self.text}" if self.text else ""
        return InvalidRequest(f"PayPal refused the request ({code}){said}", provider_code=code, attr=_ATTRS.get(self.field))


_ATTRS = {
    "/purchase_units/@reference_id=='default'/amount/value": "amount",
    "/purchase_units/@reference_id=='default'/amount/currency_code": "currency",
    "/amount/value": "amount",
    "/amount/currency_code": "currency",
}


def request_id(key: str, step: str) -> str:
    """Return the id under which PayPal deduplicates one step of one operation. Each step has its own: PayPal looks at the id,
    and an id used for two different calls is a known cause of wrong answers."""
    return f"{key[: REQUEST_ID_MAX - len(step) - 1]}-{step}"


def path(*parts: str) -> str:
    """Return a path with each part quoted, so that an id can't lead elsewhere."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Rest:
    """One config's access to the API; lives for one call of the adapter."""

    def __init__(self, config: ConfigView, http: HttpPort, tokens: TokenPort) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens

    def get(self, where: str, *, operation: str, query: Mapping[str, str] | None = None) -> Wire:
        """Ask, changing nothing. Raises `Refused`, `ProviderUnavailable`, `RateLimited`, `AuthenticationFailed`."""
        reply = self._exchange("GET", where, operation=operation, safe=True, query=query)
        try:
            return _object(reply)
        except WireError as error:
            raise ProviderUnavailable(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None

    def send(
        self, method: str, where: str, body: Any = None, *, operation: str, key: str = "", safe: bool = False
    ) -> Wire | None:
        """Make a call with an effect and return its answer, None where that has no body.

        `key` is the `PayPal-Request-Id`: PayPal answers a repetition with the first request's object instead of acting
        again (Orders 6 hours, Payments 45 days, Vault 3 hours; idempotency guide, read 2026-11), so a lost answer is
        `Undecided`. `safe`: no money can move by it, and a lost answer is `ProviderUnavailable`. Without `key` and `safe`
        it is `OutcomeUnknown`. Raises `Refused` too.
        """
        headers = {"Prefer": "return=representation", **({"PayPal-Request-Id": key} if key else {})}
        try:
            reply = self._exchange(method, where, operation=operation, safe=safe, body=body, headers=headers)
            return _object(reply) if reply.body.strip() else None
        except WireError as error:
            raise self._lost(f"PayPal's answer could not be read: {error}.", "unreadable", key=key, safe=safe) from None
        except Refused as refused:
            if refused.issue == IN_PROGRESS:
                text = "PayPal is still working on the same request."
                raise self._lost(text, refused.issue, key=key, safe=safe) from None
            raise
        except OutcomeUnknown as error:
            if key and not isinstance(error, Undecided):
                raise Undecided(error.message, provider_code=error.provider_code) from None
            raise

    def check_credentials(self) -> None:
        """Fetch a new access token whatever is stored: proof that id and secret are right. Raises `ProviderError`."""
        fetched: list[FetchedToken] = []

        def fetch() -> FetchedToken:
            fetched.append(self._fetch_token())
            return fetched[-1]

        token = self._tokens.access_token(fetch)
        if not fetched:
            self._tokens.access_token(fetch, rejected=token)

    # --- pieces

    def _exchange(
        self,
        method: str,
        where: str,
        *,
        operation: str,
        safe: bool,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make the call, once more with a new token after a 401: a refused token means that nothing was processed. The
        repetition carries the same headers, hence the same `PayPal-Request-Id`."""
        token = self._tokens.access_token(self._fetch_token)
        reply = self._once(method, where, token, operation, safe, query, body, headers)
        if reply.status == 401:
            token = self._tokens.access_token(self._fetch_token, rejected=token)
            reply = self._once(method, where, token, operation, safe, query, body, headers)
        if reply.ok:
            return reply
        raise self._refusal(reply, safe=safe)

    def _once(
        self,
        method: str,
        where: str,
        token: str,
        operation: str,
        safe: bool,
        query: Mapping[str, str] | None,
        body: Any,
        headers: Mapping[str, str] | None,
    ) -> Reply:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **(headers or {})}
        return self._http.request(method, where, operation=operation, safe=safe, query=query, json=body, headers=sent)

    def _refusal(self, reply: Reply, *, safe: bool) -> Exception:
        found = read_refusal(reply)
        code = found.issue or str(reply.status)
        if reply.status == 401:
            return AuthenticationFailed("PayPal refused the access token.", provider_code=code)
        if reply.status == 429:
            return RateLimited("PayPal is too busy to take the request.", provider_code=code, retry_after=reply.retry_after)
        if 400 <= reply.status < 500:
            return found
        text = f"PayPal failed internally (HTTP {reply.status}{', ' + found.debug_id if found.debug_id else ''})."
        return ProviderUnavailable(text, provider_code=code) if safe else OutcomeUnknown(text, provider_code=code)

    def _lost(self, text: str, code: str, *, key: str, safe: bool) -> ProviderError:
        kind = ProviderUnavailable if safe else Undecided if key else OutcomeUnknown
        return kind(text, provider_code=code)

    def _fetch_token(self) -> FetchedToken:
        reply = self._http.request(
            "POST",
            TOKEN_PATH,
            operation="token",
            safe=True,
            form={"grant_type": "client_credentials"},
            headers={"Accept": "application/json"},
            auth=(self._config.client_id, self._config.client_secret),
        )
        if reply.status == 429:
            raise RateLimited("PayPal hands out no more tokens for now.", provider_code="429", retry_after=reply.retry_after)
        if 400 <= reply.status < 500:
            # Another shape than all other errors: {"error": "invalid_client", "error_description": ...}.
            raise AuthenticationFailed("PayPal refused the client id or secret.", provider_code=_oauth_error(reply))
        if not reply.ok:
            raise ProviderUnavailable(f"PayPal could not answer (HTTP {reply.status}).", provider_code=str(reply.status))
        try:
            wire = _object(reply)
            token = wire["access_token"].text(max_length=4000)
            lifetime = float(wire["expires_in"].decimal())
        except WireError as error:
            raise ProviderUnavailable(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
        if not re.fullmatch(r"[\x21-\x7e]+", token) or lifetime <= 0:
            raise ProviderUnavailable("PayPal's access token could not be read.", provider_code="unreadable")
        return FetchedToken(token, lifetime)


def read_refusal(reply: Reply) -> Refused:
    """Return what an error answer says; an empty or foreign body leaves everything but the status empty."""
    try:
        wire = _object(reply)
        first = next(iter(details.items()), None) if (details := wire.get("details")) else None
        issue = _text(first, "issue") or _text(wire, "name")
        links = tuple((_text(link, "rel"), _text(link, "href")) for link in (wire.get("links") or Wire([])).items())
    except WireError:
        return Refused(reply.status, "")
    text = _text(first, "description") or _text(wire, "message")
    return Refused(
        status=reply.status,
        issue=issue[:80],
        text=re.sub(r"\s+", " ", text).strip()[:200],
        field=_text(first, "field"),
        debug_id=_text(wire, "debug_id")[:60],
        links=links,
    )


def _text(wire: Wire | None, name: str) -> str:
    found = wire.get(name) if wire is not None else None
    return found.text() if found is not None else ""


def _object(reply: Reply) -> Wire:
    wire = reply.json()
    if not isinstance(wire.raw, dict):
        raise WireError("body is not an object")
    return wire


def _oauth_error(reply: Reply) -> str:
    try:
        return _text(_object(reply), "error")[:80] or str(reply.status)
    except WireError:
        return str(reply.status)
