"""Requests to SendGrid and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.contracts.adapter import Clock, ConfigView, HttpPort, Reply
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.sendgrid.codes import OUT_OF_CREDITS, attr_of

EU_HOST = "https://api.eu.sendgrid.com"
CREDITS_WAIT = 900.0
LONGEST_WAIT = 3600.0
TEXT_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of SendGrid's `errors`; `field` is empty where it names none."""

    message: str
    field: str = ""


class Calls:
    """Requests with a config's key, at its region's host."""

    def __init__(self, config: ConfigView, http: HttpPort, clock: Clock) -> None:
        self._config = config
        self._http = http
        self._clock = clock

    def read(self, path: str, *, operation: str, query: Mapping[str, str] | None = None) -> Wire:
        """GET; return the answer's JSON. Raises `ProviderError`, never `OutcomeUnknown`."""
        reply = self.exchange("GET", path, operation=operation, safe=True, query=query)
        if not reply.ok:
            raise self.failure(reply)
        try:
            return reply.json()
        except WireError as error:
            raise self.unreadable(error) from None

    def change(self, method: str, path: str, *, operation: str, json: Any = None, fine: Sequence[int] = ()) -> Reply:
        """Make a change that may be repeated without harm; statuses in `fine` are as good as success. Raises as `read`."""
        reply = self.exchange(method, path, operation=operation, safe=True, json=json)
        if not reply.ok and reply.status not in fine:
            raise self.failure(reply)
        return reply

    def exchange(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        safe: bool,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Reply:
        """Make one request; return the answer, whatever its status."""
        headers = {"Authorization": f"Bearer {self._config.api_key}", "Accept": "application/json"}
        if self._config.get("subuser"):
            headers["On-Behalf-Of"] = str(self._config.get("subuser"))
        url = path
        if self._config.get("region") == "eu" and self._config.environment is not Environment.SIMULATOR:
            url = f"{EU_HOST}{path}"
        return self._http.request(method, url, operation=operation, safe=safe, query=query, json=json, headers=headers)

    def failure(self, reply: Reply, *, sending: bool = False) -> ProviderError:
        """Return what an answer outside 2xx means. A 5xx to a send may hide a message that went out."""
        problems = problems_of(reply)
        text = self.shown("; ".join(each.message for each in problems)) or f"SendGrid answered {reply.status}."
        field = next((each.field for each in problems if each.field), "")
        given: dict[str, Any] = {"provider": self._config.provider, "provider_code": str(reply.status)}
        match reply.status:
            case 401 if OUT_OF_CREDITS in text.lower():
                return RateLimited("The SendGrid account has no credits left.", retry_after=CREDITS_WAIT, **given)
            case 403 if attr_of(field) == "from":
                return InvalidRequest(text, attr="from", **given)
            case 401 | 403:
                return AuthenticationFailed(text, **given)
            case 404:
                return NotFound(text, **given)
            case 405:
                return UnsupportedOperation(text, **given)
            case 413:
                return InvalidRequest("The message is too large for SendGrid.", attr="attachments", **given)
            case 429:
                return RateLimited(text, retry_after=self._wait(reply), **given)
            case status if 400 <= status < 500:
                return InvalidRequest(_with_field(text, field), attr=attr_of(field), **given)
        if sending:
            return OutcomeUnknown(f"SendGrid answered {reply.status}: the message may have been sent.", **given)
        return ProviderUnavailable(f"SendGrid answered {reply.status}.", **given)

    def unreadable(self, error: WireError) -> ProviderUnavailable:
        """Return the error for an answer to a harmless request that has not the documented shape."""
        return ProviderUnavailable(f"SendGrid's answer can't be read: {error}", provider=self._config.provider)

    def shown(self, text: str) -> str:
        """Return SendGrid's text for people: one line, capped, without the key should it ever be echoed."""
        return " ".join(text.replace(str(self._config.api_key), "••••").split())[:TEXT_LIMIT]

    def _wait(self, reply: Reply) -> float | None:
        after = reply.headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]{1,6}", after):
            return min(float(after), LONGEST_WAIT)
        reset = reply.headers.get("x-ratelimit-reset", "").strip()
        if re.fullmatch(r"[0-9]{9,11}", reset):
            return min(max(float(reset) - self._clock().timestamp(), 1.0), LONGEST_WAIT)
        return None


def problems_of(reply: Reply) -> list[Problem]:
    """Return the entries of `errors`; none where the body is no such thing."""
    try:
        entries = list(reply.json()["errors"].items())
    except WireError:
        return []
    found = []
    for entry in entries:
        field = _text(entry, "field")
        found.append(Problem(_text(entry, "message"), "" if field == "null" else field))
    return found


def _text(entry: Wire, name: str) -> str:
    node = entry.get(name)
    if node is None:
        return ""
    try:
        return node.text().strip()
    except WireError:
        return ""


def _with_field(text: str, field: str) -> str:
    return f"{text} ({field[:100]})" if field else text
