"""The other side of each bench: a web server in a process of its own that costs as little as Python lets it.

Every POST is answered with an empty 200: at once, or `/delay/<milliseconds>/...` later, or `/slow/<seconds>/...` later. What
was sent is known by its mark (`mark_of`), which stands somewhere in the body: for each run the server keeps when each
number came in first, by the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from types import TracebackType
from typing import Any

from integrations_site.embedded.address import REPOSITORY

MARK = b"mark-"
RUN_LENGTH, NUMBER_LENGTH = 8, 7
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_WAIT = re.compile(rb"^POST /(delay|slow)/([\d.]+)")


def mark_of(run: str, number: int) -> str:
    """Return the mark of the `number`th item of a run; `run` has eight characters."""
    return f"{MARK.decode()}{run}-{number:0{NUMBER_LENGTH}d}"


class ReceiverProcess:
    """Starts the server at `host` and knows its address; ends it with the block."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host

    def __enter__(self) -> ReceiverProcess:
        command = [sys.executable, "-m", "tests.bench.receiver", self._host]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://{self._host}:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def count(self, run: str) -> int:
        """Return how many different numbers of a run have come in."""
        return int(self._get(f"/count/{run}"))

    def times(self, run: str) -> dict[int, float]:
        """Return when each number of a run came in first (seconds of the monotonic clock)."""
        return {int(number): moment for number, moment in self._get(f"/times/{run}").items()}

    def repeated(self, run: str) -> int:
        """Return how many requests of a run came in beyond the first of each number."""
        return int(self._get(f"/repeated/{run}"))

    def senders(self, run: str) -> dict[str, int]:
        """Return how many requests of a run came from each address."""
        return dict(self._get(f"/senders/{run}"))

    def sample(self, run: str) -> tuple[dict[str, str], bytes]:
        """Return headers (names in lower case) and body of the first request of a run, to be verified."""
        head, _, body = self._get(f"/sample/{run}").encode("latin-1").partition(b"\r\n\r\n")
        lines = (line.decode("latin-1").partition(":") for line in head.split(b"\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in lines}, body

    def _get(self, path: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=30) as answer:
            return json.load(answer)


class _Book:
    """What came in, by run."""

    def __init__(self) -> None:
        self.first: dict[bytes, dict[int, float]] = {}
        self.repeated: Counter[bytes] = Counter()
        self.samples: dict[bytes, bytes] = {}
        self.senders: dict[bytes, Counter[str]] = defaultdict(Counter)

    def enter(self, head: bytes, body: bytes, sender: str) -> None:
        at = body.find(MARK)
        if at < 0:
            return
        at += len(MARK)
        run, number = body[at : at + RUN_LENGTH], int(body[at + RUN_LENGTH + 1 : at + RUN_LENGTH + 1 + NUMBER_LENGTH])
        self.senders[run][sender] += 1
        times = self.first.get(run)
        if times is None:
            times = self.first[run] = {}
            self.samples[run] = head + b"\r\n\r\n" + body
        if number in times:
            self.repeated[run] += 1
        else:
            times[number] = time.monotonic()

    def show(self, path: bytes) -> Any:
        _, what, run = path.split(b"/")
        if what == b"count":
            return len(self.first.get(run, {}))
        if what == b"times":
            return self.first.get(run, {})
        if what == b"repeated":
            return self.repeated[run]
        if what == b"senders":
            return self.senders[run]
        return self.samples[run].decode("latin-1")


class _Exchange(asyncio.Protocol):
    """One connection, kept alive; requests one after the other, as HTTP clients send them."""

    def __init__(self, book: _Book) -> None:
        self._book = book
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sender: str = transport.get_extra_info("peername")[0]

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        while self._data:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end]
            found = _LENGTH.search(head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < whole:
                return
            body, self._data = self._data[end + 4 : whole], self._data[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            shown = json.dumps(self._book.show(head.split(b" ", 2)[1])).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(shown), shown))
            return
        self._book.enter(head, body, self._sender)
        if waits := _WAIT.match(head):
            seconds = float(waits[2]) / (1000 if waits[1] == b"delay" else 1)
            asyncio.get_running_loop().call_later(seconds, self._late)
        else:
            self._transport.write(_ANSWER)

    def _late(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def _serve(host: str) -> None:
    loop, book = asyncio.get_running_loop(), _Book()
    server = await loop.create_server(lambda: _Exchange(book), host, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It lives as long as whoever started it: until standard input ends.
    ended = asyncio.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
