"""Helpers for tests that use simulators: a receiver of callbacks, and waiting with a deadline."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar

from integrations.simulators import ManualClock, running_simulators

T = TypeVar("T")
DEADLINE = 30.0


def wait_for(look: Callable[[], T | None], *, deadline: float = DEADLINE) -> T:
    """Call `look` until it gives something true, and return that; AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"nothing true within {deadline} s, last: {found!r}")
        time.sleep(0.01)


def at_rest(running: running_simulators) -> bool:
    """Return whether all that is due is done: a callback that has arrived is booked too, and what follows from it planned."""
    due = "SELECT 1 FROM jobs WHERE state IN ('begun', 'held') OR (state = 'pending' AND due <= ?)"
    return not running.store.rows(due, running.clock.now())


def pass_time(running: running_simulators, clock: ManualClock, seconds: float) -> bool:
    """Move the clock on, but only once all that was due is done: so webhooks come in their order. Return whether it was."""
    quiet = at_rest(running)
    if quiet:
        clock.advance(seconds)
    return quiet


def let_pass(running: running_simulators, clock: ManualClock, step: float, came: Callable[[], list[T]], count: int) -> list[T]:
    """Move the clock on by steps until `came` has `count`; return that, all that was due by then being done."""
    wait_for(lambda: at_rest(running))
    clock.advance(step)

    def look() -> list[T]:
        if not at_rest(running):
            return []
        found = came()
        if len(found) >= count:
            return found
        clock.advance(step)
        return []

    return wait_for(look)


@dataclass
class Received:
    """One callback as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A server that records what is posted to it. `answer` is (status, body); `gate`, if set, holds every answer back.

    What a request is answered is settled before it is recorded: whoever has seen it may change `answer` for the next one.
    """

    answer: tuple[int, bytes] = (200, b'{"ResultCode":0,"ResultDesc":"Success"}')
    gate: threading.Event | None = None
    received: list[Received] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = receiver.answer
                receiver.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if receiver.gate:
                    receiver.gate.wait(DEADLINE)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Senders that were killed while they waited."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.gate:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int, path: str = "") -> list[Received]:
        """Return what came to paths that begin with `path`, as soon as there are `count`."""
        return wait_for(lambda: found if len(found := self.at(path)) >= count else [])

    def at(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path.startswith(path)]
