"""HTTP/2 without encryption on the simulators' own port, for fake APIs of providers that speak nothing else.

A client that begins with the preface of RFC 9113, 3.4 gets here; its streams are answered one after the other by the same
routes. A handler sees by the header `CONNECTION` that a request came over HTTP/2, and on which connection; with the reply
header `GOAWAY` the connection is closed orderly after the answer. Neither is ever on the wire.
"""

from __future__ import annotations

import io
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from integrations.simulators.wire import SimReply

PREFACE_LINE = b"PRI * HTTP/2.0\r\n"
CONNECTION = ":connection"
GOAWAY = ":goaway"
CHUNK = 65_536


class Headers(Protocol):
    def items(self) -> Iterable[tuple[str, str]]: ...


class Asked(Protocol):
    """One request, whichever version of HTTP it came by."""

    command: str
    path: str

    @property
    def headers(self) -> Headers: ...

    def read_body(self) -> bytes: ...


@dataclass(slots=True)
class Stream:
    """A request of which the body is still coming."""

    command: str
    path: str
    headers: dict[str, str]
    chunks: list[bytes] = field(default_factory=list)

    def read_body(self) -> bytes:
        return b"".join(self.chunks)


class Conversation:
    """The server's side of one connection, from behind the preface's first line to its end."""

    def __init__(
        self, raw: socket.socket, reader: io.BufferedIOBase, answer: Callable[[Asked], SimReply | None], body_limit: int
    ) -> None:
        self._raw = raw
        self._reader = reader
        self._answer = answer
        self._body_limit = body_limit
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._id = secrets.token_hex(8)
        self._streams: dict[int, Stream] = {}
        self._unsent: dict[int, bytes] = {}

    def run(self) -> bool:
        """Serve until either side ends it; return whether the connection is to be cut without an orderly end."""
        self._h2.initiate_connection()
        data = PREFACE_LINE
        try:
            while data:
                for event in self._h2.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        return False
                    if isinstance(event, RequestReceived):
                        self._begin(event)
                    elif isinstance(event, DataReceived):
                        self._take(event)
                    elif isinstance(event, StreamReset):
                        self._streams.pop(event.stream_id or 0, None)
                        self._unsent.pop(event.stream_id or 0, None)
                    elif isinstance(event, StreamEnded) and event.stream_id in self._streams:
                        reply = self._answer(self._streams.pop(event.stream_id))
                        if reply is None:
                            return True
                        self._send(event.stream_id, reply)
                        if GOAWAY in reply.headers:
                            self._h2.close_connection(last_stream_id=event.stream_id)
                            self._flush()
                            return False
                self._send_waiting()
                self._flush()
                data = self._reader.read1(CHUNK)
        except ProtocolError:
            self._flush()  # h2 has written why into a GOAWAY
        return False

    def _begin(self, event: RequestReceived) -> None:
        found = {_text(name): _text(value) for name, value in event.headers or ()}
        headers = {name.title(): value for name, value in found.items() if not name.startswith(":")}
        headers |= {"Host": found.get(":authority", ""), CONNECTION: self._id}
        if event.stream_id:
            self._streams[event.stream_id] = Stream(found.get(":method", ""), found.get(":path", ""), headers)

    def _take(self, event: DataReceived) -> None:
        stream_id, size = event.stream_id or 0, event.flow_controlled_length or 0
        if stream_id in self._streams:
            chunks = self._streams[stream_id].chunks
            if sum(map(len, chunks)) + size > self._body_limit:
                del self._streams[stream_id]
                self._send(stream_id, SimReply.of_text("the body is too large", 413))
            else:
                chunks.append(event.data or b"")
        if size:
            self._h2.acknowledge_received_data(size, stream_id)

    def _send(self, stream_id: int, reply: SimReply) -> None:
        names = [(name.lower(), value) for name, value in reply.headers.items() if name != GOAWAY]
        length = [("content-length", str(len(reply.body)))]
        self._h2.send_headers(stream_id, [(":status", str(reply.status)), *names, *length], end_stream=not reply.body)
        if reply.body:
            self._unsent[stream_id] = reply.body
        self._send_waiting()
        self._flush()

    def _send_waiting(self) -> None:
        """Send as much of the waiting bodies as the client's windows allow."""
        for stream_id in list(self._unsent):
            while window := min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size):
                body = self._unsent.pop(stream_id)
                self._h2.send_data(stream_id, body[:window], end_stream=len(body) <= window)
                if len(body) <= window:
                    break
                self._unsent[stream_id] = body[window:]

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._raw.sendall(data)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
