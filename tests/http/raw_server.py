"""A server below HTTP: each connection is handed to a function that reads and writes bytes as it likes."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

Script = Callable[["Connection"], None]


class Connection:
    """One accepted connection."""

    def __init__(self, raw: socket.socket, server: RawServer) -> None:
        self.raw = raw
        self._server = server

    def read_request(self) -> bytes:
        """Read one request whole and remember it; b"" where the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.raw.recv(65_536)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += self.raw.recv(65_536)
        self._server.requests.append(head + b"\r\n\r\n" + body)
        return self._server.requests[-1]

    def answer(self, body: bytes = b"{}", status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.raw.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """End the connection with a reset instead of an orderly end."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()

    def wait_for_end(self) -> None:
        """Wait until the server of this test is closed."""
        self._server.ended.wait(20)


class RawServer:
    """Runs `script(connection)` in a thread for each connection; `connections` counts them, `requests` are the bytes read."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            self._script(Connection(raw, self))
        except OSError:
            pass  # the client hung up, as some of these tests mean it to
        finally:
            raw.close()
