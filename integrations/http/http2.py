"""The outbound client over HTTP/2, for providers that speak nothing else. Sockets are ours, frames are the library h2's.

A connection carries one exchange at a time and is used again: so a slow answer harms no other call, and for each request it is
certain whether the provider has begun on it. Several calls at once in one process open several connections.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

import certifi
import requests
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from integrations.contracts.adapter import ConfigView, Reply
from integrations.contracts.errors import ProviderError, ProviderUnavailable
from integrations.http import client
from integrations.http.client import HttpClient
from integrations.http.guard import BlockedAddress, resolve

IDLE_SECONDS = 30 * 60.0
CHUNK = 65_536
# Headers of HTTP/1 that say something about its connection: not allowed in HTTP/2 (RFC 9113, 8.2.2).
HOP_HEADERS = frozenset({"connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})

PoolKey = tuple[str, str, str, int]


class NotProcessed(requests.ConnectionError):
    """The provider has certainly not begun on the request: nothing was sent, or it said so (RFC 9113, 8.7)."""


class _Draining(H2ConnectionStateMachine):
    """After GOAWAY the streams up to its last one still get their answers (RFC 9113, 6.8); h2 would refuse to read them."""

    _transitions = {
        **H2ConnectionStateMachine._transitions,
        (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.CLIENT_OPEN),
    }


def account_of(view: ConfigView) -> str:
    """Return a name for this config with these very credentials, good within this process: what may share connections."""
    held = frozenset((name, str(value)) for name, value in (*view.values.items(), *view.secrets.items()))
    return f"{view.provider}|{view.id}|{view.tenant_id}|{hash(held)}"


class Http2Client(HttpClient):
    """An `HttpPort` with all that `HttpClient` promises, over HTTP/2: TLS with ALPN `h2`, or cleartext by prior knowledge.

    Calls of the same `account` share connections, pooled by host and process; without an account each exchange has its own.
    """

    def __init__(self, *, account: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._account = account

    def _send(self, prepared: requests.PreparedRequest, timeout: tuple[float, float], begun: float, effect: bool) -> Reply:
        target = urlsplit(str(prepared.url))
        host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
        key = (self._account, target.scheme, host, port)
        connection = _pool.take(key) if self._account else None
        if connection is None:
            connection = dial(target.scheme, host, port, timeout[0])
        try:
            reply = connection.exchange(prepared, target, timeout, begun)
        except BaseException:
            connection.close()
            raise
        # Who answers 503 is going away, whether it says so by GOAWAY or not: the next request dials anew.
        if self._account and reply.status != 503 and connection.reusable:
            _pool.give(key, connection)
        else:
            connection.close()
        return reply

    def _failure(self, error: requests.RequestException, is_safe: bool) -> ProviderError:
        if isinstance(error, NotProcessed):
            return ProviderUnavailable("The provider did not take the request.", provider=self._provider)
        return super()._failure(error, is_safe)


class Connection:
    """One HTTP/2 connection, used by one thread at a time."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.state_machine = _Draining()
        self._h2.local_settings = Settings(client=True, initial_values={SettingCodes.ENABLE_PUSH: 0})
        self._h2.initiate_connection()
        self._last_stream: int | None = None
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        return self._last_stream is None and not self._h2.open_outbound_streams

    def is_alive(self) -> bool:
        """Read what came while nobody was looking (pings, a GOAWAY, the end), answer it, and tell whether it may be used."""
        try:
            self._raw.settimeout(0)
            while data := self._raw.recv(CHUNK):
                self._take(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass  # all is read, and no end was among it
        except (OSError, ProtocolError):
            return False
        else:
            return False
        try:
            self._raw.settimeout(1.0)
            self._flush()
        except OSError:
            return False
        return self.reusable

    def exchange(
        self, prepared: requests.PreparedRequest, target: SplitResult, timeout: tuple[float, float], begun: float
    ) -> Reply:
        """Send one request and read its answer whole. Raises `NotProcessed`, or another `requests.RequestException` once a
        byte may have been sent; after that the connection is to be closed."""
        content = prepared.body or b""
        body = content.encode() if isinstance(content, str) else bytes(content)
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, _headers(prepared, target), end_stream=not body)
        except ProtocolError as error:  # streams used up, or none granted: h2 has not let a byte out
            raise NotProcessed("no stream could be opened") from error
        answer = _Answer(stream)
        deadline = begun + timeout[0] + timeout[1] * 2
        try:
            self._raw.settimeout(timeout[1])
            while body and not answer.ended:
                window = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
                if window > 0:
                    part, body = body[:window], body[window:]
                    self._h2.send_data(stream, part, end_stream=not body)
                    self._flush()
                else:
                    self._flush()
                    self._read(answer, deadline)
            self._flush()
            while not answer.ended:
                self._read(answer, deadline)
                self._flush()
        except TimeoutError as error:
            raise requests.ReadTimeout("the answer did not come in time") from error
        except (OSError, ProtocolError) as error:
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError("the connection broke") from error
        return Reply(answer.status, answer.headers, b"".join(answer.chunks), int((time.monotonic() - begun) * 1000))

    def close(self) -> None:
        """Say goodbye if that is possible, and close."""
        try:
            self._h2.close_connection()
            self._raw.settimeout(1.0)
            self._flush()
        except (OSError, ProtocolError):
            pass  # it is gone already
        finally:
            self._raw.close()

    def abandon(self) -> None:
        """Close this process's end alone, without a word to the peer: another process goes on using it."""
        self._raw.close()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._raw.sendall(data)

    def _take(self, data: bytes) -> list[Event]:
        events = self._h2.receive_data(data)
        for event in events:
            if isinstance(event, ConnectionTerminated):
                self._last_stream = event.last_stream_id or 0
        return events

    def _read(self, answer: _Answer, deadline: float) -> None:
        data = self._raw.recv(CHUNK)
        if not data:
            raise requests.ConnectionError("the connection ended before the answer")
        for event in self._take(data):
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or answer.stream)
            answer.take(event)
        if not answer.ended and self._last_stream is not None and answer.stream > self._last_stream:
            raise NotProcessed("the provider closed the connection without looking at the request")
        if not answer.ended and time.monotonic() > deadline:
            raise requests.ReadTimeout("the answer took too long")


class _Answer:
    """What has come of one answer."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.ended = False
        self._size = 0

    def take(self, event: Event) -> None:
        if getattr(event, "stream_id", None) != self.stream:
            return
        if isinstance(event, ResponseReceived):
            found = {_text(name): _text(value) for name, value in event.headers or ()}
            if not re.fullmatch(r"[1-9][0-9]{2}", found.get(":status", "")):
                raise requests.ConnectionError("the answer has no status")
            self.status = int(found[":status"])
            self.headers = {name: value for name, value in found.items() if not name.startswith(":")}
        elif isinstance(event, DataReceived):
            self._size += len(event.data or b"")
            if self._size > client.MAX_REPLY_BYTES:
                raise requests.exceptions.ContentDecodingError("the answer is too large")
            self.chunks.append(event.data or b"")
        elif isinstance(event, StreamReset):
            if event.error_code == ErrorCodes.REFUSED_STREAM:
                raise NotProcessed("the provider refused the stream")
            raise requests.ConnectionError("the provider broke the answer off")
        elif isinstance(event, StreamEnded):
            self.ended = True


class _Pool:
    """Idle connections of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[PoolKey, list[Connection]] = {}

    def take(self, key: PoolKey) -> Connection | None:
        """Return a connection that is alive, the one used last; None where there is none."""
        while True:
            with self._lock:
                old = self._expired()
                held = self._idle.get(key, [])
                connection = held.pop() if held else None
            for each in old:
                each.close()
            if connection is None or connection.is_alive():
                return connection
            connection.close()

    def give(self, key: PoolKey, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.setdefault(key, []).append(connection)

    def abandon(self) -> None:
        """Forget all in a process just forked: they belong to its parent."""
        self._lock = threading.Lock()
        found, self._idle = self._idle, {}
        for held in found.values():
            for connection in held:
                connection.abandon()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            found, self._idle = self._idle, {}
        for held in found.values():
            for connection in held:
                connection.close()

    def _expired(self) -> list[Connection]:
        limit = time.monotonic() - IDLE_SECONDS
        old = [each for held in self._idle.values() for each in held if each.idle_since < limit]
        kept = {key: [each for each in held if each.idle_since >= limit] for key, held in self._idle.items()}
        self._idle = {key: held for key, held in kept.items() if held}
        return old


_pool = _Pool()
os.register_at_fork(after_in_child=_pool.abandon)


def dial(scheme: str, host: str, port: int, timeout: float) -> Connection:
    """Open a connection to a checked address. Raises `requests` errors that all mean: nothing was sent."""
    try:
        addresses = resolve(host, port)
    except BlockedAddress as error:
        raise requests.exceptions.InvalidURL(f"blocked: {error}") from error
    except OSError as error:
        raise NotProcessed("the name does not resolve") from error
    failure: OSError | None = None
    for address in addresses:
        try:
            raw = socket.create_connection((address, port), timeout=timeout)
        except OSError as error:
            failure = error
            continue
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Connection(_encrypted(raw, host) if scheme == "https" else raw)
        except OSError as error:
            raw.close()
            failure = error
    if isinstance(failure, TimeoutError):
        raise requests.ConnectTimeout("connecting timed out") from failure
    raise NotProcessed(f"no connection: {failure}") from failure


def _encrypted(raw: socket.socket, host: str) -> ssl.SSLSocket:
    encrypted = _tls().wrap_socket(raw, server_hostname=host)
    if encrypted.selected_alpn_protocol() != "h2":
        encrypted.close()
        raise ConnectionError("the peer does not speak HTTP/2")
    return encrypted


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def _headers(prepared: requests.PreparedRequest, target: SplitResult) -> Sequence[tuple[str, str]]:
    path = target.path or "/"
    pseudo = [
        (":method", str(prepared.method)),
        (":scheme", target.scheme),
        (":authority", target.netloc),
        (":path", f"{path}?{target.query}" if target.query else path),
    ]
    plain = [(_text(name).lower(), _text(value)) for name, value in prepared.headers.items()]
    return pseudo + [(name, value) for name, value in plain if name not in HOP_HEADERS]


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
