"""Those who send webhooks in a bench: a process of its own with some keep-alive connections, cheap enough not to be the limit.

`flood` sends the next request on a connection as soon as the last was answered; `paced` at a rate of its own, whatever the
answers do: a request that has to wait for a connection is late, and that counts.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tests.bench.companion import serve

FILLING = "A print order of the kind that a studio's shop sends, with a note to the printer. " * 4


class _Connection(asyncio.Protocol):
    """One keep-alive connection; `answered(self, status)` is called when an answer has come in whole."""

    def __init__(self, answered: Callable[[_Connection, int], None]) -> None:
        self._answered, self._came = answered, b""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, began: float) -> None:
        self.began = began
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, rest = head.lower().partition(b"content-length:")
        if len(body) >= int(rest.split(b"\r\n", 1)[0] or 0):
            self._came = b""
            self._answered(self, int(head.split(b" ", 2)[1]))

    def connection_lost(self, error: Exception | None) -> None:
        self._answered(self, 0)


class _Requests:
    """Signed requests about one thing each, none twice: `scheme` is `plain` or `timestamped`."""

    def __init__(self, url: str, scheme: str, secret: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._scheme, self._secret, self._number = scheme, secret.encode(), time.time_ns()

    def next(self) -> bytes:
        self._number += 1
        if self._scheme == "plain":
            body = json.dumps({"id": f"ord_{self._number}", "number": "1001", "total": 450_000, "note": FILLING}).encode()
            signature = f"X-Signature: {self._sign(body)}"
        else:
            thing = {"id": f"pi_{self._number}", "object": "payment_intent", "description": FILLING}
            event = {"id": f"evt_{self._number}", "object": "event", "type": "payment_intent.succeeded", "livemode": False}
            body, at = json.dumps({**event, "data": {"object": thing}}).encode(), str(int(time.time()))
            signature = f"Stripe-Signature: t={at},v1={self._sign(at.encode() + b'.' + body)}"
        return f"{self._head}{signature}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def _sign(self, content: bytes) -> str:
        return hmac.new(self._secret, content, "sha256").hexdigest()


async def _connected(requests: _Requests, number: int, answered: Callable[[_Connection, int], None]) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: _Connection(answered), requests.host, requests.port) for _ in range(number)]
    return [connection for _transport, connection in made]


class _Answers:
    def __init__(self) -> None:
        self.took: list[float] = []
        self.bad: dict[int, int] = {}

    def note(self, connection: _Connection, status: int) -> None:
        self.took.append(time.perf_counter() - connection.began)
        if status != 200:
            self.bad[status] = self.bad.get(status, 0) + 1


async def _flood(requests: _Requests, connections: int, seconds: float) -> dict[str, Any]:
    answers, left = _Answers(), [connections]
    ended = asyncio.Event()

    def answered(connection: _Connection, status: int) -> None:
        if connection.began == 0.0:
            return  # closed, and nothing was under way
        answers.note(connection, status)
        if time.perf_counter() < until and status:
            connection.send(requests.next(), time.perf_counter())
            return
        connection.began = 0.0
        connection.transport.close()
        left[0] -= 1
        if not left[0]:
            ended.set()

    made = await _connected(requests, connections, answered)
    began = time.perf_counter()
    until = began + seconds
    for each in made:
        each.send(requests.next(), time.perf_counter())
    await ended.wait()
    return {"seconds": time.perf_counter() - began, "took": answers.took, "bad": answers.bad}


async def _paced(requests: _Requests, connections: int, seconds: float, rate: float) -> dict[str, Any]:
    answers, waiting, done = _Answers(), deque[float](), asyncio.Event()
    total, sent = int(seconds * rate), 0
    free: deque[_Connection] = deque()  # in turns: a server closes a connection that is not used for a while

    def answered(connection: _Connection, status: int) -> None:
        if connection.began == 0.0:
            with suppress(ValueError):
                free.remove(connection)
            return
        answers.note(connection, status)
        connection.began = 0.0
        if status and waiting:
            connection.send(requests.next(), waiting.popleft())
        elif status:
            free.append(connection)
        if len(answers.took) >= total:
            done.set()

    free += await _connected(requests, connections, answered)
    everyone, began = list(free), time.perf_counter()
    while sent < total:
        due = began + sent / rate
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if free:
            free.popleft().send(requests.next(), due)
        else:
            waiting.append(due)
        sent += 1
    await asyncio.wait_for(done.wait(), 30)
    for each in everyone:
        each.transport.close()
    return {"seconds": time.perf_counter() - began, "took": answers.took, "bad": answers.bad}


def flood(*, url: str, scheme: str, secret: str, connections: int, seconds: float) -> dict[str, Any]:
    return asyncio.run(_flood(_Requests(url, scheme, secret), connections, seconds))


def paced(*, url: str, scheme: str, secret: str, connections: int, seconds: float, rate: float) -> dict[str, Any]:
    return asyncio.run(_paced(_Requests(url, scheme, secret), connections, seconds, rate))


if __name__ == "__main__":
    serve({"flood": flood, "paced": paced})
