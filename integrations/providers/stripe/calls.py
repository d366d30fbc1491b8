"""Calls to Stripe by its official SDK over the hub's own client: one exchange, plain dictionaries, typed errors.

The SDK builds the request and reads the error; `HubTransport` hands both to the `HttpPort`, so that each exchange is masked,
timed, logged and guarded, and nothing is sent a second time behind the queue's back. Knows no payment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import stripe

from integrations.contracts.adapter import ConfigView, HttpPort, Reply
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.wire import WireError

# The SDK would else write an id of its own to the home folder and report the platform with each call.
stripe.enable_telemetry = False
# At DEBUG the SDK writes whole answers, client secrets included.
logging.getLogger("stripe").setLevel(logging.WARNING)

PAGE = 100
"""The most that a list gives at once."""

KEY_IN_USE, LOCKED = "idempotency_key_in_use", "lock_timeout"
STATES = frozenset({"payment_intent_unexpected_state", "setup_intent_unexpected_state", "resource_already_exists"})


class Refused(Exception):
    """Stripe said no and did nothing. `error` is its error object, `status` the HTTP status."""

    def __init__(self, status: int, error: Mapping[str, Any], request_id: str = "") -> None:
        super().__init__(f"refused with {status}")
        self.status = status
        self.error = error
        self.request_id = request_id

    @property
    def code(self) -> str:
        code = self.error.get("code")
        return code if isinstance(code, str) else ""

    def as_error(self) -> ProviderError:
        """Return the hub's error for a refusal that is no answer about a payment."""
        code = self.code or str(self.error.get("type") or self.status)
        param = str(self.error.get("param") or "")
        if self.status == 404:
            return NotFound("Stripe does not know this object.", provider_code=code)
        if self.code in STATES:
            return Conflict("The object at Stripe is in a state that does not allow this.", provider_code=code)
        about = f" ({param[:60]})" if param else ""
        return InvalidRequest(f"Stripe refused the request{about}: {code[:60]}.", provider_code=code)


class HubTransport(stripe.HTTPClient):
    """The SDK's way to the network: the `HttpPort`. Its errors pass through the SDK untouched."""

    name = "hub"

    def __init__(self, port: HttpPort, *, operation: str, safe: bool) -> None:
        super().__init__()
        self._port = port
        self._operation = operation
        self._safe = safe
        self.reply: Reply | None = None

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        body = post_data.encode() if isinstance(post_data, str) and post_data else None
        self.reply = self._port.request(
            method.upper(), url, operation=self._operation, safe=self._safe, body=body, headers=dict(headers or {})
        )
        return self.reply.text(), self.reply.status, dict(self.reply.headers)

    def close(self) -> None:
        """Nothing to close: the connections are the hub's."""


class Calls:
    """One config's access to the API; lives for one call of the adapter."""

    def __init__(self, config: ConfigView, http: HttpPort) -> None:
        self._config = config
        self._http = http

    def get(self, path: str, *, operation: str, account: bool = True, **params: Any) -> dict[str, Any]:
        """Read one object or page; repeating is harmless. Raises `Refused` and `ProviderError`."""
        return self._call("get", path, params, operation=operation, key="", safe=True, account=account)

    def post(
        self, path: str, *, operation: str, key: str = "", safe: bool = False, account: bool = True, **params: Any
    ) -> dict[str, Any]:
        """Write; `key` is ours and Stripe answers its repetition for 24 hours with the first answer (api/idempotent_requests).

        Raises `Refused`, `RateLimited` (not done), and where nobody knows whether it was done `Undecided` (or, with `safe`,
        `ProviderUnavailable`).
        """
        return self._call("post", path, params, operation=operation, key=key, safe=safe, account=account)

    def delete(self, path: str, *, operation: str, account: bool = True) -> dict[str, Any]:
        return self._call("delete", path, {}, operation=operation, key="", safe=True, account=account)

    def listed(
        self, path: str, *, operation: str, pages: int = 10, account: bool = True, **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the members of a list, page by page. Raises `ProviderUnavailable` where `pages` were not enough: the list is
        not known to be whole, and nothing may be concluded from what is not in it."""
        after: dict[str, Any] = {}
        for _ in range(pages):
            page = self.get(path, operation=operation, account=account, limit=PAGE, **params, **after)
            data = page.get("data")
            if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
                raise ProviderUnavailable("Stripe's list could not be read.", provider_code="unreadable")
            yield from data
            if not page.get("has_more") or not data:
                return
            after = {"starting_after": str(data[-1].get("id"))}
        raise ProviderUnavailable("Stripe's list is too long to be read whole.", provider_code="list_too_long")

    def _call(
        self, method: str, path: str, params: Mapping[str, Any], *, operation: str, key: str, safe: bool, account: bool
    ) -> dict[str, Any]:
        transport = HubTransport(self._http, operation=operation, safe=safe)
        options: dict[str, Any] = {"idempotency_key": key} if key else {}
        connected = self._config.get("connected_account")
        if connected and account:
            options["stripe_account"] = connected
        try:
            client = stripe.StripeClient(
                str(self._config.secret_key),
                stripe_version=str(self._config.get("api_version") or "2023-10-16"),
                base_addresses={"api": self._config.base_url},
                max_network_retries=0,
                http_client=transport,
            )
            data = client.raw_request(method, path, **params, **options).data
        except stripe.StripeError:
            raise _judged(transport.reply, safe=safe) from None
        except (AttributeError, KeyError, TypeError, ValueError):
            # The SDK trips over error bodies of another shape (observed: an `error` that is text). Without one it is our bug.
            if transport.reply is None:
                raise
            raise _judged(transport.reply, safe=safe) from None
        except OutcomeUnknown as error:
            raise Undecided(error.message) from error
        if not isinstance(data, dict):
            raise _unreadable(safe=safe)
        return dict(data)


def _judged(reply: Reply | None, *, safe: bool) -> Exception:
    """Return what an answer means that the SDK took for an error. The SDK's own error leaves `code` unset on several classes
    (observed), so the body itself is read."""
    if reply is None:
        # The SDK itself refused before anything was sent (a key with a line break, say).
        return AuthenticationFailed("Stripe's library does not take this secret key.")
    status, told = reply.status, _error_of(reply)
    code = str(told.get("code") or "")
    name = code or str(told.get("type") or status)
    if status == 401:
        return AuthenticationFailed("Stripe refused the secret key.", provider_code=name)
    if status == 403:
        return AuthenticationFailed(
            "The key may not do this: check its permissions and the connected account.", provider_code=name
        )
    if status == 429 or code in ("rate_limit", LOCKED):
        return RateLimited("Stripe is too busy for this request.", provider_code=name, retry_after=reply.retry_after)
    if status == 409 or code == KEY_IN_USE:
        # An earlier try of ours is still being worked on: it may yet succeed.
        return _open("An earlier try is still under way at Stripe.", name, safe=safe, retry_after=reply.retry_after)
    if told.get("type") == "idempotency_error":
        # Our key was used for another request before: whatever that did stands, and this one must not be tried again.
        return OutcomeUnknown("Stripe knows this key from another request.", provider_code="idempotency_error")
    if 400 <= status < 500 and status != 424 and told:
        return Refused(status, told, reply.headers.get("request-id", ""))
    if status >= 500 or status == 424:
        return _open("Stripe answered with an error of its own.", name, safe=safe)
    return _unreadable(safe=safe)


def _error_of(reply: Reply) -> Mapping[str, Any]:
    try:
        found = reply.json().get("error")
    except WireError:
        return {}
    return found.raw if found is not None and isinstance(found.raw, dict) else {}


def _open(message: str, code: str, *, safe: bool, retry_after: float | None = None) -> ProviderError:
    kind = ProviderUnavailable if safe else Undecided
    return kind(message, provider_code=code, retry_after=retry_after)


def _unreadable(*, safe: bool) -> ProviderError:
    """Return the error for an answer that nobody can read: the key makes the repetition tell, but only so often."""
    return _open("Stripe's answer could not be read.", BadReply.code, safe=safe)
