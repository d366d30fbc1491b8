"""Three tenants' systems, as small HTTP servers in the test's own process: they verify, remember, and answer as they like."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import standardwebhooks.webhooks
import svix.webhooks


@dataclass(frozen=True)
class Copy:
    """One request as it came: what makes it this event, what makes it this try, and what it was answered."""

    webhook_id: str
    timestamp: int
    signature: str
    body: bytes
    status: int


class Sink:
    """Answers 200 (or what `status()` says) after `delay` seconds; `problems` are requests that did not verify."""

    def __init__(
        self,
        name: str,
        *,
        delay: Callable[[], float] = lambda: 0.0,
        status: Callable[[], int] = lambda: 200,
    ) -> None:
        self.name = name
        self.secret = ""
        self.copies: list[Copy] = []
        self.problems: list[str] = []
        self._delay, self._status = delay, status
        self._lock = threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sink.take(self)

            def log_message(self, *args: Any) -> None:
                return None

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *args: Any) -> None:
                return None  # whoever asked was killed: that is what this is about

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{self.name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        body = handler.rfile.read(length)
        if len(body) < length:
            return  # killed in the middle of sending: nobody has received anything
        headers = {name.lower(): value for name, value in handler.headers.items()}
        problem = self._problem(body, headers)
        status = 400 if problem else self._status()
        copy = Copy(
            headers.get("webhook-id", ""),
            int(headers.get("webhook-timestamp", "0")),
            headers.get("webhook-signature", ""),
            body,
            status,
        )
        with self._lock:
            self.copies.append(copy)
            if problem:
                self.problems.append(problem)
        time.sleep(self._delay())
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _problem(self, body: bytes, headers: dict[str, str]) -> str:
        """Let both client libraries judge the request as it came."""
        for library in (standardwebhooks.webhooks, svix.webhooks):
            try:
                library.Webhook(self.secret).verify(body, dict(headers))
            except Exception as error:  # noqa: BLE001 - they raise whatever they like: all of it means "not verified"
                return f"{library.__name__}: {error!r} for {headers}"
        return ""

    def received(self) -> dict[str, list[Copy]]:
        """Return the copies of each event, in the order of arrival."""
        found: dict[str, list[Copy]] = {}
        with self._lock:
            for copy in self.copies:
                found.setdefault(copy.webhook_id, []).append(copy)
        return found


def between(low: float, high: float, rng: random.Random) -> Callable[[], float]:
    """A delay drawn anew each time."""
    return lambda: rng.uniform(low, high)
