"""A TCP proxy that cuts: between the hub and its receivers, and between the hub and the providers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

CHUNK = 64 * 1024


class CuttingProxy:
    """Passes 127.0.0.1:`port` on to 127.0.0.1:`target`, until told to do worse. All methods may be called from any thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._refuse_until = 0.0
        self._halves = 0
        self.cuts = 0
        self._server: asyncio.AbstractServer = self._make()
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting-proxy", daemon=True)
        self._thread.start()

    def _make(self) -> Any:
        return self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512))

    def cut(self, share: float, rng: random.Random) -> int:
        """Reset so many of the connections that are open now; return how many."""

        async def work() -> int:
            chosen = [writer for writer in sorted(self._open, key=id) if rng.random() < share]
            for writer in chosen:
                _reset(writer)
            self.cuts += len(chosen)
            return len(chosen)

        return self._in_loop(work)

    def cut_in_the_middle(self, times: int) -> None:
        """The next so many pieces that pass, in either direction, pass only half; then their connection is reset."""
        self._halves = times

    def refuse(self, seconds: float) -> None:
        """Reset every new connection for so long."""
        self._refuse_until = time.monotonic() + seconds

    def calm(self) -> None:
        self._halves, self._refuse_until = 0, 0.0

    def close(self) -> None:
        async def work() -> None:
            self._server.close()
            for writer in list(self._open):
                _reset(writer)

        with contextlib.suppress(TimeoutError):
            self._in_loop(work)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _in_loop(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if time.monotonic() < self._refuse_until:
            self.cuts += 1
            _reset(writer)
            return
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        self._open.add(writer)
        there = asyncio.create_task(self._pump(reader, inner_writer))
        back = asyncio.create_task(self._pump(inner_reader, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(writer)
            for task in (there, back):
                task.cancel()
            # What one side has been sent, it may read; what is still to come is nobody's.
            for each in (writer, inner_writer):
                with contextlib.suppress(OSError):
                    each.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while piece := await source.read(CHUNK):
                if self._halves > 0:
                    self._halves -= 1
                    self.cuts += 1
                    sink.write(piece[: len(piece) // 2])
                    await sink.drain()
                    return
                sink.write(piece)
                await sink.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, so that the other side can't take it for an end in order."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
