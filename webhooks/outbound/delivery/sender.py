"""One signed POST to one endpoint, and what came of it. No database here."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp

from integrations.contracts import clock
from integrations.http.guard import BlockedAddress, NameTimeout, ResolverBusy, blocked_cause, check_url, guarded_connector
from integrations.secrets import masked
from webhooks.outbound.delivery.confidence import in_confidence
from webhooks.outbound.delivery.schedule import parse_retry_after
from webhooks.outbound.signing import signed_headers

if TYPE_CHECKING:
    from aiohttp.connector import Connection

MAX_RESPONSE_BYTES = 64 * 1024
RESPONSE_HEAD_BYTES = 2048
MAX_RESPONSE_HEADERS = 30
MAX_HEADER_LENGTH = 500
USER_AGENT = "integrations-hub-webhooks/1"
MASK = "••••"
BUSY_SECONDS = 5.0
"""When a delivery is due again that could not go out because all of our look-ups of names were busy."""

# fmt: off
RESERVED_HEADERS = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "forwarded", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
    "x-hub-delivery", "x-hub-event", "x-hub-signature", "x-hub-signature-256", "x-hub-timestamp",
})
# fmt: on
"""Names that a tenant's own headers may not have: they are ours or HTTP's. See `is_reserved` for whole families."""

RESERVED_PREFIXES = ("webhook-", "x-hub-")
_CONFIDENTIAL = ("auth", "cookie", "key", "password", "secret", "session", "signature", "token")


def is_reserved(name: str) -> bool:
    """Tell whether a header is not a tenant's to set."""
    return name.lower() in RESERVED_HEADERS or name.lower().startswith(RESERVED_PREFIXES)


class ErrorClass(StrEnum):
    """Why an attempt failed. `LOST`: its worker died, nobody knows. `INTERRUPTED`: our own side kept it from being made whole.

    `SECRET`: the endpoint's keys or headers can't be opened. `ERASED`: there is no payload any more.
    """

    HTTP_STATUS = "http_status"
    REDIRECT = "redirect"
    GONE = "gone"
    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    BROKEN = "broken"
    BLOCKED = "blocked"
    SECRET = "secret"  # noqa: S105 a class of errors, no password
    ERASED = "erased"
    INTERRUPTED = "interrupted"
    LOST = "lost"


RETRIED_4XX = frozenset({408, 425, 429})
"""Statuses of the 4xx that ask for a repetition."""

REFUSALS = frozenset({ErrorClass.REDIRECT, ErrorClass.TLS})
_UNWELL = frozenset({ErrorClass.TIMEOUT, ErrorClass.CONNECT, ErrorClass.DNS, ErrorClass.TLS, ErrorClass.BROKEN})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: until a connection stands (name, TCP, TLS), and for the whole exchange."""

    connect: float = 5.0
    total: float = 20.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process holds the lease of, with all that is needed to send it.

    `message_id` is the `webhook-id`, the same on each try: the event's id, or for a batch its carrier's. `flat` asks for the
    headers that generic automation tools read. `well`: nothing had failed at its endpoint lately, so that a success is no
    news of it. `lag_ms` is how long it had been due. `problem` says why it can't be sent at
    all, and `problem_class` what kind of failure that is.
    """

    id: str
    tenant_id: int
    endpoint_id: str
    message_id: str
    event_type: str
    number: int
    fence: int
    url: str
    body: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    flat: bool = False
    well: bool = False
    lag_ms: int = 0
    problem: str = ""
    problem_class: ErrorClass = ErrorClass.SECRET

    @property
    def lease(self) -> tuple[str, int]:
        """What proves the right to settle it."""
        return self.id, self.fence


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt. Times are the wall clock's; `retry_after` in seconds when the receiver asked for it.

    The headers are as they may be shown: without the values of what was sent or answered in confidence.
    """

    claimed: Claimed
    started_at: datetime
    finished_at: datetime
    duration_ms: int
    status_code: int | None = None
    error_class: ErrorClass | None = None
    error: str = ""
    response_head: str = ""
    address: str = ""
    retry_after: float | None = None
    request_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def delivered(self) -> bool:
        return self.error_class is None

    @property
    def final(self) -> bool:
        """Trying again by itself can't help: gone for good, forbidden, or nothing that could be sent. A key that can't be
        opened is none of these: the operator may put it back into the keyring tomorrow."""
        return self.error_class in {ErrorClass.GONE, ErrorClass.BLOCKED, ErrorClass.ERASED}

    @property
    def refused(self) -> bool:
        """The answer is about the request or the endpoint's set-up: repeating it soon hardly ever helps."""
        if self.error_class is ErrorClass.HTTP_STATUS:
            return 400 <= (self.status_code or 0) < 500 and self.status_code not in RETRIED_4XX
        return self.error_class in REFUSALS

    @property
    def unwell(self) -> bool:
        """The failure speaks of the endpoint's state: it does not answer, not in time, or can't serve anybody right now."""
        if self.error_class is ErrorClass.HTTP_STATUS:
            return (self.status_code or 0) >= 500 or self.status_code == 429
        return self.error_class in _UNWELL


class _Response(aiohttp.ClientResponse):
    """Keeps the address that was dialled: the connection may be back in its pool before we can ask it."""

    peer = ""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        transport = connection.transport
        name = transport.get_extra_info("peername") if transport is not None else None
        self.peer = str(name[0]) if name else ""
        return await super().start(connection)


class Sender:
    """The pooled HTTP side of a shift. Use as an async context manager, inside the running loop."""

    def __init__(self, *, connections: int = 200, timeouts: Timeouts | None = None) -> None:
        self._timeouts = timeouts or Timeouts()
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Sender:
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(limit=self._connections),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            timeout=aiohttp.ClientTimeout(total=self._timeouts.total, connect=self._timeouts.connect),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, claimed: Claimed) -> Outcome:
        """Sign with the time of now and POST once. Never raises for what the network or the receiver does.

        The status line decides: a 2xx whose body then stalls or never ends was delivered.
        """
        started_at, begun = clock.now(), monotonic()
        if claimed.problem:
            return _failed(claimed, started_at, begun, claimed.problem_class, claimed.problem)
        headers = request_headers(claimed, started_at)
        try:
            check_url(claimed.url)
            return await self._post(claimed, headers, started_at, begun)
        except asyncio.CancelledError:
            # Only the shift's own end cancels a sender: the lease is given back at once, the attempt is on record.
            why = "cut off: the worker was told to stop"
            return _failed(claimed, started_at, begun, ErrorClass.INTERRUPTED, why, headers)
        except (BlockedAddress, aiohttp.ClientError, OSError, ValueError) as error:
            error_class, text = _classify(error)
            wait = BUSY_SECONDS if error_class is ErrorClass.INTERRUPTED else None
            return _failed(claimed, started_at, begun, error_class, text, headers, retry_after=wait)

    async def _post(self, claimed: Claimed, headers: dict[str, str], started_at: datetime, begun: float) -> Outcome:
        if self._session is None:
            raise RuntimeError("use the sender as a context manager")
        async with self._session.post(
            claimed.url, data=claimed.body.encode(), headers=headers, allow_redirects=False
        ) as response:
            head, note = await _read_head(response)
            status = response.status
            error_class, error = _judge(status)
            return Outcome(
                claimed=claimed,
                started_at=started_at,
                finished_at=clock.now(),
                duration_ms=int((monotonic() - begun) * 1000),
                status_code=status,
                error_class=error_class,
                error=error,
                response_head=_masked(head, claimed) + note,
                address=response.peer if isinstance(response, _Response) else "",
                retry_after=parse_retry_after(response.headers.get("Retry-After"), clock.now()),
                request_headers=shown_request(headers, claimed),
                response_headers=_shown_response(response, claimed),
            )


async def _read_head(response: aiohttp.ClientResponse) -> tuple[bytes, str]:
    """Return the body's first bytes and a note on the rest. No more than `MAX_RESPONSE_BYTES` are ever taken in."""
    head, size = b"", 0
    try:
        async for chunk in response.content.iter_chunked(16_384):
            size += len(chunk)
            head = (head + chunk)[:RESPONSE_HEAD_BYTES]
            if size > MAX_RESPONSE_BYTES:
                response.close()  # not `release`: that would read the rest to keep the connection
                return head, "\n[more than 64 kB: not read further]"
    except (aiohttp.ClientError, OSError) as error:
        response.close()
        return head, f"\n[the body broke off: {type(error).__name__}]"
    return head, "" if size <= RESPONSE_HEAD_BYTES else f"\n[{size} bytes in all]"


def request_headers(claimed: Claimed, at: datetime) -> dict[str, str]:
    """Return the headers of an attempt made at `at`; the tenant's own can't stand in for ours, however they are written."""
    headers = {name: value for name, value in claimed.headers if not is_reserved(name)}
    headers |= {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    headers |= signed_headers(claimed.secrets, message_id=claimed.message_id, at=at, body=claimed.body)
    if claimed.flat:
        headers |= hub_headers(claimed, at)
    return headers


def hub_headers(claimed: Claimed, at: datetime) -> dict[str, str]:
    """Return the headers that automation tools without a library for the standard read. The signature is HMAC-SHA256 in hex
    over `timestamp.body`, keyed with the newest shared secret as it is written; there is none where all keys are ed25519."""
    timestamp = str(int(at.timestamp()))
    headers = {"X-Hub-Event": claimed.event_type, "X-Hub-Delivery": claimed.id, "X-Hub-Timestamp": timestamp}
    secret = next((each for each in claimed.secrets if each.startswith("whsec_")), "")
    if secret:
        signature = hmac.new(secret.encode(), f"{timestamp}.{claimed.body}".encode(), hashlib.sha256).hexdigest()
        headers["X-Hub-Signature"] = f"sha256={signature}"
    return headers


def shown_request(headers: Mapping[str, str], claimed: Claimed) -> dict[str, str]:
    """Return the request's headers as the log shows them: the tenant's own values masked, signatures by their scheme only."""
    own = {name for name, _ in claimed.headers}
    shown = {name: masked(value) if name in own else value for name, value in headers.items()}
    shown["webhook-signature"] = " ".join(each.partition(",")[0] for each in headers["webhook-signature"].split(" "))
    if "X-Hub-Signature" in shown:
        shown["X-Hub-Signature"] = "sha256"
    return shown


def _shown_response(response: aiohttp.ClientResponse, claimed: Claimed) -> dict[str, str]:
    """Return the answer's first headers, without what may open a door."""
    shown: dict[str, str] = {}
    for name, value in response.headers.items():
        if len(shown) >= MAX_RESPONSE_HEADERS:
            break
        confidential = any(word in name.lower() for word in _CONFIDENTIAL)
        raw = value.encode("utf-8", errors="surrogateescape")
        shown[_printable(name)] = MASK if confidential else _masked(raw, claimed)[:MAX_HEADER_LENGTH]
    return shown


def _printable(name: str) -> str:
    return name.encode("ascii", errors="replace").decode()[:100]


def _masked(head: bytes, claimed: Claimed) -> str:
    """Return the text of a response without what we sent in confidence: see `in_confidence`."""
    text = head.decode("utf-8", errors="replace").replace("\x00", "")
    for value in in_confidence(claimed.url, claimed.secrets, claimed.headers):
        text = text.replace(value, MASK)
    return text


def _judge(status: int) -> tuple[ErrorClass | None, str]:
    if 200 <= status < 300:
        return None, ""
    if status == 410:
        return ErrorClass.GONE, "the endpoint answered 410 Gone"
    if 300 <= status < 400:
        return ErrorClass.REDIRECT, f"the endpoint answered {status}: redirects are not followed"
    return ErrorClass.HTTP_STATUS, f"the endpoint answered {status}"


def _classify(error: Exception) -> tuple[ErrorClass, str]:
    """Return the class and a text of our own: the libraries' texts hold URLs, which may hold tokens."""
    blocked = blocked_cause(error)
    if blocked is not None:
        return ErrorClass.BLOCKED, f"not sent: {blocked}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if isinstance(error.os_error, ResolverBusy):
            return ErrorClass.INTERRUPTED, "not sent: all of our look-ups of names were busy"
        in_time = not isinstance(error.os_error, NameTimeout)
        return ErrorClass.DNS, "the host has no address" if in_time else "the name did not answer in time"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return ErrorClass.TLS, f"no trustworthy TLS connection ({type(error).__name__})"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ErrorClass.TIMEOUT, "no connection in time"
    if isinstance(error, TimeoutError):
        return ErrorClass.TIMEOUT, "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return ErrorClass.CONNECT, "no connection could be made"
    if isinstance(error, aiohttp.InvalidURL):
        return ErrorClass.BLOCKED, "not sent: the URL can't be read"
    return ErrorClass.BROKEN, f"the exchange broke off ({type(error).__name__})"


def _failed(
    claimed: Claimed,
    started_at: datetime,
    begun: float,
    error_class: ErrorClass,
    error: str,
    headers: Mapping[str, str] | None = None,
    *,
    retry_after: float | None = None,
) -> Outcome:
    return Outcome(
        claimed=claimed,
        started_at=started_at,
        finished_at=clock.now(),
        duration_ms=int((monotonic() - begun) * 1000),
        error_class=error_class,
        error=error,
        retry_after=retry_after,
        request_headers=shown_request(headers, claimed) if headers else {},
    )
