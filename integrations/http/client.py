"""The outbound client: one exchange at a time, timed, masked, recorded, guarded; nothing retried, no redirect followed."""

from __future__ import annotations

import json as jsonlib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import requests
import urllib3.exceptions
from django.db import connections

from integrations.contracts.adapter import MailServer, MailSession, Reply
from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderError, ProviderUnavailable
from integrations.http import pools
from integrations.http.guard import BlockedAddress, check_url
from integrations.http.masking import Mask

MAX_REPLY_BYTES = 4 * 1024 * 1024
USER_AGENT = "integrations-hub/1"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class NetworkInsideTransaction(RuntimeError):
    """A call was about to be made while a database transaction is open: rows would stay locked for as long as it lasts."""


class Recorder(Protocol):
    """Where exchanges are written down; the two calls of one exchange get the same `exchange`."""

    def started(self, exchange: Exchange) -> None: ...

    def finished(self, exchange: Exchange) -> None: ...


@dataclass(slots=True)
class Exchange:
    """One request and its answer, already masked. `error` is empty after any answer; `timed_out` only without one."""

    operation: str
    method: str
    url: str
    request_headers: dict[str, str]
    request_body: str
    status_code: int | None = None
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
    error: str = ""
    timed_out: bool = False
    duration_ms: int | None = None
    log_id: int | None = None


class SilentRecorder:
    """Records nothing; for tests of adapters."""

    def started(self, exchange: Exchange) -> None:
        return None

    def finished(self, exchange: Exchange) -> None:
        return None


def refuse_inside_transaction() -> None:
    """Raise `NetworkInsideTransaction` where a transaction is open; the wrapper of a test case does not count."""
    for connection in connections.all(initialized_only=True):
        for block in connection.atomic_blocks:
            if not getattr(block, "_from_testcase", False):
                raise NetworkInsideTransaction("no network call inside a database transaction")


class HttpClient:
    """The `HttpPort` (and `MailPort`) of one call to one provider.

    `before_effect` runs before the first request that is not safe: it must commit that something is about to be sent.
    Safe requests (token fetches, queries) leave no such mark: repeating them harms nobody.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        mask: Mask,
        recorder: Recorder,
        timeout: tuple[float, float],
        before_effect: Callable[[], None] | None = None,
    ) -> None:
        self._provider = provider
        self._base_url = base_url.rstrip("/")
        self._mask = mask
        self._recorder = recorder
        self._timeout = timeout
        self._before_effect = before_effect

    def request(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        safe: bool | None = None,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> Reply:
        """Make one exchange; see `HttpPort`. Raises `ProviderUnavailable` (nothing was sent, or `safe`), `OutcomeUnknown`
        (it may have been carried out), `InvalidRequest` (the address is not allowed)."""
        refuse_inside_transaction()
        is_safe = method.upper() in SAFE_METHODS if safe is None else safe
        target = url if "://" in url else f"{self._base_url}/{url.lstrip('/')}"
        if query:
            target += ("&" if urlsplit(target).query else "?") + urlencode(query)
        try:
            check_url(target)
        except BlockedAddress as error:
            raise InvalidRequest(f"The address is not allowed: {error}", provider=self._provider) from error
        sent_headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **(headers or {})}
        payload = _encode(json=json, form=form, body=body, headers=sent_headers)
        prepared = self._prepare(requests.Request(method.upper(), target, headers=sent_headers, data=payload, auth=auth))
        exchange = Exchange(
            operation=operation,
            method=method.upper(),
            url=self._mask.url(target),
            request_headers=self._mask.headers(dict(prepared.headers)),
            request_body=self._mask.body(payload or b"", sent_headers.get("Content-Type", "")),
        )
        if not is_safe and self._before_effect is not None:
            self._before_effect()
        self._recorder.started(exchange)
        begun = time.monotonic()
        try:
            reply = self._send(prepared, timeout or self._timeout, begun, not is_safe)
        except requests.RequestException as error:
            failure = self._failure(error, is_safe)
            exchange.error = self._mask.text(f"{type(error).__name__}: {failure.message}")
            exchange.timed_out = isinstance(error, requests.Timeout)
            exchange.duration_ms = int((time.monotonic() - begun) * 1000)
            self._recorder.finished(exchange)
            raise failure from None
        exchange.status_code = reply.status
        exchange.response_headers = self._mask.headers(dict(reply.headers))
        exchange.response_body = self._mask.body(reply.body, reply.headers.get("content-type", ""))
        exchange.duration_ms = reply.duration_ms
        self._recorder.finished(exchange)
        return reply

    def mail(self, server: MailServer, *, operation: str) -> AbstractContextManager[MailSession]:
        """Speak SMTP; see `MailPort`."""
        from integrations.http import mail  # builds on this module

        refuse_inside_transaction()
        return mail.session(
            server,
            provider=self._provider,
            operation=operation,
            mask=self._mask,
            recorder=self._recorder,
            timeout=self._timeout,
            before_effect=self._before_effect,
        )

    def _prepare(self, request: requests.Request) -> requests.PreparedRequest:
        """Return the request ready to be sent; refuse what could not be written to the wire while that is still certain."""
        try:
            prepared = request.prepare()
            for value in prepared.headers.values():
                if isinstance(value, str):
                    value.encode("latin-1")
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError) as error:
            # Most often a key that was pasted with a dash or quote that is none; the value itself must not be told.
            detail = "A header (often a key that was pasted wrongly) holds characters that can't be sent."
            raise InvalidRequest(detail, provider=self._provider) from error
        return prepared

    def _send(self, prepared: requests.PreparedRequest, timeout: tuple[float, float], begun: float, effect: bool) -> Reply:
        with pools.shared().exchange(prepared, timeout=timeout, effect=effect) as answer:
            chunks, size = [], 0
            try:
                # `read1` returns what has come: the read timeout of `requests` is per read, and `iter_content` reads on until
                # its chunk is full, so that a peer that drips bytes would hold a worker for as long as it likes.
                while chunk := answer.raw.read1(65_536, decode_content=True):
                    size += len(chunk)
                    if size > MAX_REPLY_BYTES:
                        raise requests.exceptions.ContentDecodingError("the answer is too large")
                    chunks.append(chunk)
                    if time.monotonic() - begun > timeout[0] + timeout[1] * 2:
                        raise requests.ReadTimeout("the answer took too long")
            except urllib3.exceptions.ReadTimeoutError as error:
                raise requests.ReadTimeout("the answer stopped coming") from error
            except urllib3.exceptions.HTTPError as error:
                raise requests.ConnectionError("the connection broke while reading") from error
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, headers, b"".join(chunks), int((time.monotonic() - begun) * 1000))

    def _failure(self, error: requests.RequestException, is_safe: bool) -> ProviderError:
        if _blocked(error):
            return InvalidRequest("The address is not allowed.", provider=self._provider)
        if _never_sent(error):
            return ProviderUnavailable("No connection to the provider could be made.", provider=self._provider)
        if is_safe:
            return ProviderUnavailable("The provider did not answer in time.", provider=self._provider)
        return OutcomeUnknown("The request was sent, but no answer came back.", provider=self._provider)


def _encode(
    *,
    json: Any,
    form: Mapping[str, str] | Sequence[tuple[str, str]] | None,
    body: bytes | None,
    headers: dict[str, str],
) -> bytes | None:
    if json is not None:
        headers.setdefault("Content-Type", "application/json")
        return jsonlib.dumps(json, separators=(",", ":"), ensure_ascii=False).encode()
    if form is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        return urlencode(form if isinstance(form, Mapping) else list(form)).encode()
    return body


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and all that it wraps: requests and urllib3 put theirs in `args`, `reason` and `__cause__`."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting and len(found) < 20:
        current = waiting.pop()
        if not isinstance(current, BaseException) or current in found:
            continue
        found.append(current)
        waiting += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
    return found


def _blocked(error: requests.RequestException) -> bool:
    return any(isinstance(cause, BlockedAddress) for cause in _causes(error))


def _never_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    never = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ssl.SSLCertVerificationError,
    )
    return any(isinstance(cause, never) for cause in _causes(error))
