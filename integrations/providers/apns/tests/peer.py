"""An HTTP/2 server for tests that does frame by frame what a test tells it to."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded

from tests.http.raw_server import Connection, Script


@dataclass
class Asked:
    """A request as it arrived, whole."""

    stream: int
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's side of one connection; `next()` waits for a request."""

    def __init__(self, connection: Connection, tls: ssl.SSLContext | None = None) -> None:
        self.connection = connection
        self.raw = tls.wrap_socket(connection.raw, server_side=True) if tls else connection.raw
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()
        self._open: dict[int, Asked] = {}
        self._events: list[Event] = []

    def flush(self) -> None:
        self.raw.sendall(self.h2.data_to_send())

    def next(self) -> Asked | None:
        """Return the next whole request; None where the client has gone."""
        while True:
            while self._events:
                event: Any = self._events.pop(0)
                if isinstance(event, RequestReceived):
                    self._open[event.stream_id] = Asked(event.stream_id, dict(event.headers), b"")
                elif isinstance(event, DataReceived):
                    self._open[event.stream_id].body += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.flush()
                    return self._open.pop(event.stream_id)
            self.flush()
            data = self.raw.recv(65_536)
            if not data:
                return None
            self._events += self.h2.receive_data(data)

    def answer(self, asked: Asked, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        """Answer with a body that fits the client's windows."""
        self.begin(asked, status, **headers)
        self.h2.send_data(asked.stream, body, end_stream=True)
        self.flush()

    def begin(self, asked: Asked, status: int = 200, **headers: str) -> None:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(asked.stream, [(":status", str(status)), *named])
        self.flush()

    def reset(self, asked: Asked, code: ErrorCodes) -> None:
        self.h2.reset_stream(asked.stream, code)
        self.flush()

    def goaway(self, last_stream: int) -> None:
        """Send GOAWAY, and go on talking as the protocol allows (h2 itself would not)."""
        before = self.h2.state_machine.state
        self.h2.close_connection(last_stream_id=last_stream)
        self.flush()
        self.h2.state_machine.state = before


def speaking(then: Callable[[Peer], None], tls: ssl.SSLContext | None = None) -> Script:
    """Return what `RawServer` runs for each connection."""
    return lambda connection: then(Peer(connection, tls))


def answering(peer: Peer) -> None:
    """Answer every request with its own body."""
    while asked := peer.next():
        peer.answer(asked, body=asked.body, seen=asked.headers[":path"])
