"""Calls to Flutterwave v3: one request, the envelope read, refusals as the hub's typed errors. Knows no payment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from integrations.contracts.adapter import ConfigView, HttpPort, Reply
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Declined,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.flutterwave.codes import Meaning, meaning_of

R = TypeVar("R")
VERSION = "/v3"
BUSY_SECONDS = 30.0
MOST_PAGES = 20
"""A list longer than this is not read to its end within one call."""

_FIELDS = {
    "email": "customer.email",
    "phone_number": "method.phone",
    "phonenumber": "method.phone",
    "amount": "amount",
    "currency": "currency",
    "redirect_url": "return_url",
}


class Flutterwave:
    """One config's access to the API; lives for one call of the adapter."""

    def __init__(self, config: ConfigView, http: HttpPort) -> None:
        self._config = config
        self._http = http

    def get(self, path: str, read: Callable[[Wire], R], *, operation: str, query: Mapping[str, str] | None = None) -> R:
        """Ask; return what `read` makes of the whole envelope. Raises `ProviderError`, `NotFound` among them."""
        return self._call("GET", path, None, read, operation=operation, safe=True, query=query)

    def post(self, path: str, payload: Mapping[str, Any], read: Callable[[Wire], R], *, operation: str, safe: bool) -> R:
        """Do; see `get`. `safe`: repeating it harms nobody. `Declined` is a definite no whose text is the `provider_code`."""
        path, _, query = path.partition("?")
        asked = dict(pair.split("=", 1) for pair in query.split("&")) if query else None
        return self._call("POST", path, payload, read, operation=operation, safe=safe, query=asked)

    def pages(
        self, path: str, query: Mapping[str, str], read: Callable[[Wire], R], *, operation: str, first: int = 1
    ) -> Iterator[tuple[list[R], bool]]:
        """Yield each page, its entries as `read` makes them, and whether more pages follow; at most MOST_PAGES."""
        for number in range(first, first + MOST_PAGES):

            def read_page(envelope: Wire, number: int = number) -> tuple[list[R], bool]:
                return [read(each) for each in envelope["data"].items()], _last_page(envelope) > number

            found, more = self.get(path, read_page, operation=operation, query={**query, "page": str(number)})
            yield found, more
            if not more or not found:
                return

    def _call(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None,
        read: Callable[[Wire], R],
        *,
        operation: str,
        safe: bool,
        query: Mapping[str, str] | None,
    ) -> R:
        reply = self._http.request(
            method,
            VERSION + path,
            operation=operation,
            safe=safe,
            query=query,
            json=None if payload is None else dict(payload),
            headers={"Authorization": f"Bearer {self._config.secret_key}"},
        )
        try:
            envelope: Wire | None = reply.json()
        except WireError:
            envelope = None
        status, message = _said(envelope)
        if not reply.ok or status == "error":
            raise self._refused(reply, message, safe=safe)
        if envelope is None or status != "success":
            raise unreadable("the envelope says neither success nor error", safe=safe)
        try:
            return read(envelope)
        except WireError as error:
            raise unreadable(str(error), safe=safe) from error

    def _refused(self, reply: Reply, message: str, *, safe: bool) -> ProviderError:
        """Return the error for an answer that is no success; texts decide, for errors come with HTTP 200 too."""
        shown = self._shown(message)
        code = shown[:100] or str(reply.status)
        if reply.status == 429:
            wait = reply.retry_after or BUSY_SECONDS
            return RateLimited("Flutterwave gets too many requests.", provider_code="429", retry_after=wait)
        meaning = meaning_of(message)
        if reply.status in (401, 403) or (meaning is Meaning.CREDENTIALS and reply.status < 500):
            return AuthenticationFailed("Flutterwave refused the secret key.", provider_code=code)
        if meaning is Meaning.UNDECIDED or not (reply.ok or 400 <= reply.status < 500):
            return _no_answer(reply.status, code, safe=safe)
        if meaning is Meaning.DUPLICATE and not safe:
            # Our references are ours alone: this says that an earlier request of the same attempt did arrive.
            return OutcomeUnknown("Flutterwave had this request before.", provider_code="duplicate_reference")
        if meaning is Meaning.NOT_FOUND or reply.status == 404:
            return NotFound("Flutterwave does not know this.", provider_code=code)
        if meaning in (Meaning.INVALID, Meaning.DUPLICATE):
            return InvalidRequest(f"Flutterwave refused the request: {shown}", provider_code=code, attr=_attr(message))
        return Declined(f"Flutterwave refused: {shown or 'no reason given'}", provider_code=code)

    def _shown(self, message: str) -> str:
        """Return the provider's text fit to be shown: one line, no page of HTML, none of the config's secrets."""
        text = re.sub(r"\s+", " ", message).strip()[:200]
        for secret in self._config.secrets.values():
            if secret:
                text = text.replace(str(secret), "••••")
        return "" if "<" in text else text


@contextmanager
def readable() -> Iterator[None]:
    """Turn a `WireError` about what a query brought into `ProviderUnavailable`."""
    try:
        yield
    except WireError as error:
        raise unreadable(str(error), safe=True) from error


def unreadable(problem: str, *, safe: bool) -> ProviderError:
    """Return the error for a success that can't be read; `problem` names the path and never a value."""
    if safe:
        return ProviderUnavailable(f"Flutterwave's answer could not be read: {problem}.", provider_code="unreadable")
    return BadReply(f"Flutterwave's answer could not be read: {problem}.", provider_code="unreadable")


def _said(envelope: Wire | None) -> tuple[str, str]:
    if envelope is None:
        return "", ""
    status, message = envelope.get("status"), envelope.get("message")
    try:
        return status.text(max_length=40).lower() if status else "", message.text() if message else ""
    except WireError:
        return "", ""


def _no_answer(status: int, code: str, *, safe: bool) -> ProviderError:
    if safe:
        return ProviderUnavailable(f"Flutterwave could not answer (HTTP {status}).", provider_code=code)
    return OutcomeUnknown(f"Flutterwave did not say whether it took the request (HTTP {status}).", provider_code=code)


def _attr(message: str) -> str | None:
    words = re.findall(r"[a-z_]+", message.lower())
    return next((_FIELDS[word] for word in words if word in _FIELDS), None)


def _last_page(envelope: Wire) -> int:
    meta = envelope.get("meta")
    info = meta.get("page_info") if meta else None
    total = info.get("total_pages") if info else None
    return total.integer() if total else 1
