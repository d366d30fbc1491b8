"""The other side of each bench: an aiohttp server in a process of its own. `/fast` answers at once, `/slow/10` after 10 s."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import TracebackType

from aiohttp import web

from integrations_site.embedded.address import REPOSITORY


class ReceiverProcess:
    """Starts the server and knows its address; ends it with the block."""

    def __enter__(self) -> ReceiverProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.receiver"], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


async def _fast(request: web.Request) -> web.Response:
    await request.read()
    return web.Response()


async def _slow(request: web.Request) -> web.Response:
    await request.read()
    await asyncio.sleep(float(request.match_info["seconds"]))
    return web.Response()


async def _serve() -> None:
    app = web.Application()
    app.add_routes([web.post("/fast/{any:.*}", _fast), web.post("/slow/{seconds}", _slow)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    # It lives as long as whoever started it: until standard input ends.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve())
