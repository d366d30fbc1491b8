"""Calls to Google's APIs: the access token for a signed assertion, one JSON exchange with it. Knows no message.

Source: RFC 7523; Google's "Using OAuth 2.0 for server to server applications"; google-auth (`_client.py`); read 2026-11.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from integrations.contracts.adapter import Clock, ConfigView, FetchedToken, HttpPort, Reply, TokenPort
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import AuthenticationFailed, ProviderUnavailable, RateLimited
from integrations.contracts.wire import WireError
from integrations.providers.fcm.account import ServiceAccount, read_account
from integrations.providers.fcm.codes import one_line, read_problem, wait_of

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 an address
TOPICS_URL = "https://iid.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_SECONDS = 3600
EARLY_SECONDS = 180
"""Beside the token store's own minute: Google advises to have the next token some four minutes before the end."""

# google-auth's list of what the token endpoint says when trying again helps, whatever the HTTP status.
PASSING = frozenset({"internal_failure", "server_error", "temporarily_unavailable"})


def sign_assertion(account: ServiceAccount, at: datetime) -> str:
    """Return the signed JWT that is exchanged for a token, valid for an hour from `at`; `ValueError` for a bad key."""
    issued = int(at.timestamp())
    header = {"alg": "RS256", "typ": "JWT", "kid": account.key_id}
    # The audience is Google's address wherever it is sent, as in google-auth: it says whom the assertion is for.
    claims = {"iss": account.email, "scope": SCOPE, "aud": TOKEN_URL, "iat": issued, "exp": issued + ASSERTION_SECONDS}
    signed = f"{_part(header)}.{_part(claims)}"
    signature = account.load_key().sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64url(signature)}"


def _part(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class GoogleApi:
    """One config's access; lives for one call of the adapter."""

    def __init__(self, config: ConfigView, http: HttpPort, tokens: TokenPort, clock: Clock) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens
        self._clock = clock
        simulated = config.environment is Environment.SIMULATOR
        # Fixed by the environment, whatever an uploaded key file says.
        self._token_url = f"{config.base_url}/token" if simulated else TOKEN_URL
        self.topics_url = config.base_url if simulated else TOPICS_URL

    def account(self) -> ServiceAccount:
        """Return the config's service account; raise `AuthenticationFailed` where it can't be read."""
        try:
            return read_account(self._config.get("service_account"))
        except ValueError as error:
            raise AuthenticationFailed(f"The service account key {error}.", provider=self._config.provider) from None

    def post(
        self, url: str, payload: Mapping[str, Any], *, operation: str, safe: bool, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Make one exchange and return what was answered, refusals included.

        A refused access token is fetched anew and the call made once more: the request was turned away before it was looked
        at. Refused again: `AuthenticationFailed`. A 401 that is about Apple's or the browsers' credentials is returned.
        """
        token = self._tokens.access_token(self._fetch_token)
        reply = self._post(url, payload, token, operation=operation, safe=safe, headers=headers)
        if _token_refused(reply):
            token = self._tokens.access_token(self._fetch_token, rejected=token)
            reply = self._post(url, payload, token, operation=operation, safe=safe, headers=headers)
            if _token_refused(reply):
                raise AuthenticationFailed(
                    "Google refused the access token it had just given.", provider=self._config.provider, provider_code="401"
                )
        return reply

    def renew_token(self) -> None:
        """Fetch a new access token whatever is stored: proof that the key is valid now. Raises `ProviderError`."""
        fetched: list[FetchedToken] = []

        def fetch() -> FetchedToken:
            fetched.append(self._fetch_token())
            return fetched[-1]

        token = self._tokens.access_token(fetch)
        if not fetched:
            self._tokens.access_token(fetch, rejected=token)

    def _post(
        self,
        url: str,
        payload: Mapping[str, Any],
        token: str,
        *,
        operation: str,
        safe: bool,
        headers: Mapping[str, str] | None,
    ) -> Reply:
        sent = {"Authorization": f"Bearer {token}", "Accept": "application/json", **(headers or {})}
        return self._http.request("POST", url, operation=operation, safe=safe, json=dict(payload), headers=sent)

    def _fetch_token(self) -> FetchedToken:
        provider = self._config.provider
        try:
            assertion = sign_assertion(self.account(), self._clock())
        except ValueError as error:
            raise AuthenticationFailed(f"The service account key can't be used: {error}.", provider=provider) from None
        form = {"grant_type": GRANT, "assertion": assertion}
        headers = {"Accept": "application/json"}
        reply = self._http.request("POST", self._token_url, operation="token", safe=True, form=form, headers=headers)
        if not reply.ok:
            self._raise_refused(reply)
        try:
            body = reply.json()
            token = body["access_token"].text(max_length=8000)
            seconds = float(body["expires_in"].decimal())
        except WireError as error:
            raise ProviderUnavailable(
                f"Google's answer to the token request can't be read: {error}.", provider=provider
            ) from None
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ProviderUnavailable("Google's access token can't be read.", provider=provider)
        return FetchedToken(token, max(min(seconds, float(ASSERTION_SECONDS)) - EARLY_SECONDS, 1.0))

    def _raise_refused(self, reply: Reply) -> None:
        provider, code, text = self._config.provider, str(reply.status), ""
        try:
            body = reply.json()
            # OAuth errors are a text; Google's front end answers with an object instead.
            if (told := body.get("error")) is not None and isinstance(told.raw, str):
                code = one_line(told.raw, 60)
            if (told := body.get("error_description")) is not None and isinstance(told.raw, str):
                text = one_line(told.raw, 300)
        except WireError:
            pass
        if reply.status == 429:
            wait = wait_of(reply, self._clock())
            raise RateLimited(
                "Google is too busy to give an access token.", provider=provider, provider_code=code, retry_after=wait
            )
        if code in PASSING or reply.status not in {400, 401, 403}:
            raise ProviderUnavailable(
                f"Google gave no access token (HTTP {reply.status}).", provider=provider, provider_code=code
            )
        raise AuthenticationFailed(f"Google refused the service account: {text or code}", provider=provider, provider_code=code)


def _token_refused(reply: Reply) -> bool:
    return reply.status == 401 and not read_problem(reply).code
