"""Calls to Daraja: the access token, one POST, typed errors. Knows no payment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from integrations.contracts.adapter import ConfigView, FetchedToken, HttpPort, Reply, TokenPort
from integrations.contracts.errors import AuthenticationFailed, ProviderError, ProviderUnavailable
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mpesa.refusals import TOKEN_CODES, no_answer, read_json, read_refusal, refused, unreadable

R = TypeVar("R")
TOKEN_PATH = "/oauth/v1/generate"  # noqa: S105 a path


class Daraja:
    """One config's access to the API; lives for one call of the adapter."""

    def __init__(self, config: ConfigView, http: HttpPort, tokens: TokenPort) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens

    def post(self, path: str, payload: Mapping[str, Any], read: Callable[[Wire], R], *, operation: str, safe: bool) -> R:
        """POST `payload` and return what `read` makes of a success.

        A refused access token is fetched anew and the call made once more, money calls too: the request was turned away
        before it was processed (portal's error table). Raises `ProviderError`; a `WireError` of `read` becomes one.
        """
        token = self._tokens.access_token(self._fetch_token)
        reply = self._send(path, payload, token, operation=operation, safe=safe)
        refusal = read_refusal(reply)
        if refusal is not None and refusal.code in TOKEN_CODES:
            token = self._tokens.access_token(self._fetch_token, rejected=token)
            reply = self._send(path, payload, token, operation=operation, safe=safe)
            refusal = read_refusal(reply)
        if refusal is not None:
            raise self._clean(refused(refusal, safe=safe))
        try:
            return read(read_json(reply))
        except WireError as error:
            raise unreadable(error, safe=safe) from error

    def renew_token(self) -> None:
        """Fetch a new access token whatever is stored: proof that key and secret are right. Raises `ProviderError`."""
        fetched: list[FetchedToken] = []

        def fetch() -> FetchedToken:
            fetched.append(self._fetch_token())
            return fetched[-1]

        token = self._tokens.access_token(fetch)
        if not fetched:
            self._tokens.access_token(fetch, rejected=token)

    def _send(self, path: str, payload: Mapping[str, Any], token: str, *, operation: str, safe: bool) -> Reply:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self._http.request("POST", path, operation=operation, safe=safe, json=dict(payload), headers=headers)

    def _fetch_token(self) -> FetchedToken:
        reply = self._http.request(
            "GET",
            TOKEN_PATH,
            operation="oauth",
            safe=True,
            query={"grant_type": "client_credentials"},
            auth=(self._config.consumer_key, self._config.consumer_secret),
        )
        refusal = read_refusal(reply)
        if refusal is not None:
            if 400 <= refusal.status < 500 and refusal.status != 429:
                # With a wrong key or secret the body is often empty: the status alone must be enough.
                raise AuthenticationFailed(
                    "M-Pesa refused the consumer key or secret.", provider_code=refusal.code or str(refusal.status)
                )
            error = refused(refusal, safe=True)
            raise error if error.retryable else no_answer(refusal, safe=True)
        try:
            wire = read_json(reply)
            token = wire["access_token"].text(max_length=2000)
            lifetime = float(wire["expires_in"].decimal())  # a string in most reports, a number in some
        except WireError as error:
            raise unreadable(error, safe=True) from error
        if not re.fullmatch(r"[\x21-\x7e]+", token) or lifetime <= 0:
            raise ProviderUnavailable("M-Pesa's access token could not be read.", provider_code="unreadable")
        return FetchedToken(token, lifetime)

    def _clean(self, error: ProviderError) -> ProviderError:
        """Take the config's secrets out of a text that quotes the provider, should it ever echo one."""
        for secret in self._config.secrets.values():
            if secret:
                error.message = error.message.replace(str(secret), "••••")
        error.args = (error.message,)
        return error
