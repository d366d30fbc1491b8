"""Fetching a file from an address that a tenant has given: through the URL guard, no redirect followed, never inside of a
transaction, and no more of it than may go along with a message."""

from __future__ import annotations

import mimetypes
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import structlog
import urllib3.exceptions

from integrations.contracts.errors import InvalidRequest, ProviderUnavailable
from integrations.contracts.messaging import Media
from integrations.http.client import USER_AGENT, refuse_inside_transaction
from integrations.http.guard import BlockedAddress, GuardedAdapter, blocked_cause, check_url
from integrations.models import CallLog, Direction, LogStatus
from integrations.runtime.recorder import best_effort

logger = structlog.get_logger(__name__)

LARGEST = 10 * 1024 * 1024
CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 10.0, 20.0, 60.0
SLOW = "The attachment came too slowly."
NAME = "attachment"
UNNAMED = "attachment"
BINARY = "application/octet-stream"
WEB_PAGES = frozenset({"text/html", "application/xhtml+xml"})
PASSING = frozenset({408, 425, 429})
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,58}")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


@dataclass(frozen=True, slots=True)
class About:
    """For the log of calls: whose file it is, and for which queue item."""

    tenant_id: int
    item_id: int | None = None


def check_address(url: str) -> None:
    """Raise `InvalidRequest` (attr `attachment_url`) unless the hub may call this, as far as the text says."""
    try:
        check_url(url)
    except BlockedAddress as error:
        raise InvalidRequest(f"The address is not allowed: {error}.", attr="attachment_url") from error


def fetch(url: str, *, name: str = "", about: About) -> Media:
    """Return the file; `name` is its file name, else the address tells one.

    Raises `InvalidRequest` for what another try can't mend (the address is not allowed, it redirects, it is not there, it is
    too large or empty, it is a web page where a file was meant: mostly a login), else `ProviderUnavailable`.
    """
    refuse_inside_transaction()
    check_address(url)
    begun = time.monotonic()
    row = best_effort(lambda: _begin_log(url, about), "call_not_logged")
    status, problem = None, ""
    line = _Line(WHOLE_SECONDS)
    try:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        request = requests.Request("GET", url, headers=headers)
        with line.send(request.prepare(), timeout=(CONNECT_SECONDS, READ_SECONDS), stream=True) as answer:
            line.check()  # headers that were cut off look like complete ones
            status = answer.status_code
            _check_status(status)
            content = _read(answer, line)
            media = _media(url, name, answer.headers.get("Content-Type", ""), content)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        blocked = blocked_cause(error)
        problem = str(blocked) if blocked else type(error).__name__
        if blocked:
            raise InvalidRequest("The attachment's address is not allowed.", attr="attachment_url") from error
        if line.hung_up:
            problem = SLOW
            raise ProviderUnavailable(SLOW) from error
        raise ProviderUnavailable(f"The attachment could not be fetched ({problem}).") from error
    except (InvalidRequest, ProviderUnavailable) as error:
        problem = error.message
        raise
    finally:
        line.close()
        took = int((time.monotonic() - begun) * 1000)
        logger.info("attachment_fetched", host=urlsplit(url).hostname, status_code=status, problem=problem, duration_ms=took)
        if row is not None:
            _end_log(row.pk, status, problem, took)
    return media


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in PASSING:
        raise ProviderUnavailable(f"The attachment could not be fetched: its server answered {status}.")
    how = "redirects elsewhere" if 300 <= status < 400 else f"is refused with {status}"
    raise InvalidRequest(f"The attachment's address {how}.", attr="attachment_url")


class _Line(GuardedAdapter):
    """One exchange over connections of its own that are cut `seconds` after it began, whatever is going on then: timeouts of
    `requests` are for each read, and a peer that drips its handshake, headers or bytes never runs into one."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._cut_off = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        pools = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {scheme: self._watched(pool) for scheme, pool in pools.items()}

    @property
    def hung_up(self) -> bool:
        """Tell whether the time is over."""
        return self._cut_off or time.monotonic() >= self._ends

    def check(self) -> None:
        """Raise `ProviderUnavailable` once the time is over: what came until then may be no more than a beginning."""
        if self.hung_up:
            raise ProviderUnavailable(SLOW)

    def close(self) -> None:
        self._timer.cancel()
        super().close()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def _watched(self, pool: Any) -> Any:
        line = self

        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def _new_conn(self) -> socket.socket:
                dialled: socket.socket = super()._new_conn()
                line._watch(dialled)
                return dialled

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    def _watch(self, dialled: socket.socket) -> None:
        with self._lock:
            # A second handle on the same connection: TLS takes the first one over.
            self._sockets.append(dialled.dup())
            if self._cut_off:
                self._cut()

    def _hang_up(self) -> None:
        with self._lock:
            self._cut_off = True
            self._cut()

    def _cut(self) -> None:
        for each in self._sockets:
            with suppress(OSError):  # the peer was first
                each.shutdown(socket.SHUT_RDWR)


def _read(answer: requests.Response, line: _Line) -> bytes:
    """Read what comes, as it comes, so that what is too large is known early."""
    chunks, size = [], 0
    while chunk := answer.raw.read1(65_536, decode_content=True):
        size += len(chunk)
        if size > LARGEST:
            raise InvalidRequest(f"The attachment is larger than {LARGEST // 1024 // 1024} MB.", attr="attachment_url")
        chunks.append(chunk)
    line.check()  # a cut is the end of a file whose length nobody told
    promised = answer.headers.get("Content-Length", "")
    if promised.isdecimal() and int(promised) > size and not answer.headers.get("Content-Encoding"):
        raise ProviderUnavailable("The attachment broke off in the middle.")
    if not size:
        raise InvalidRequest("The attachment is empty.", attr="attachment_url")
    return b"".join(chunks)


def _media(url: str, name: str, said: str, content: bytes) -> Media:
    filename = _filename(url, name)
    meant = mimetypes.guess_type(filename)[0] or ""
    served = said.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(served):
        served = ""
    if served in WEB_PAGES and meant not in WEB_PAGES:
        raise InvalidRequest("A web page came where the attachment should be.", attr="attachment_url")
    if served in ("", BINARY):
        served = meant or BINARY
    return Media(filename, served, content=content)


def _filename(url: str, name: str) -> str:
    found = name or unquote(urlsplit(url).path).rpartition("/")[2]
    return _UNSAFE.sub("_", found).strip(" .")[:150] or UNNAMED


def _begin_log(url: str, about: About) -> CallLog:
    # Without query and fragment: where reports are fetched by a secret address, it mostly stands there.
    parts = urlsplit(url)
    created: CallLog = CallLog.unscoped.create(
        tenant_id=about.tenant_id,
        item_id=about.item_id,
        direction=Direction.OUTBOUND,
        provider=NAME,
        operation="fetch",
        status=LogStatus.PENDING,
        method="GET",
        url=f"{parts.scheme}://{parts.netloc}{parts.path}",
    )
    return created


def _end_log(pk: object, status: int | None, problem: str, took: int) -> None:
    ended = LogStatus.FAILED if problem or status is None else LogStatus.SUCCESS
    row = CallLog.unscoped.filter(pk=pk)
    best_effort(lambda: row.update(status=ended, status_code=status, error=problem, duration_ms=took), "answer_not_logged")
