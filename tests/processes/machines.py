"""Machines of their own for workers: network namespaces with an address each, and no way to ours but one cable.

Linux and root only; `why_not` says what is missing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator

HERE = "10.231.7.1"
NETWORK = "10.231.7.0/24"


def why_not() -> str:
    """Return why namespaces can't be made here, or nothing."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if shutil.which("ip") is None:
        return "there is no `ip` program"
    one, other = (f"hubt{os.getpid()}{end}" for end in "ab")
    tried = subprocess.run(["ip", "link", "add", one, "type", "veth", "peer", "name", other], capture_output=True)
    if tried.returncode:
        return f"no virtual cables here: {tried.stderr.decode().strip()}"
    _ip("link", "del", one)
    return ""


class Machine:
    """One namespace at `address`; programs run in it by `command`."""

    def __init__(self, number: int) -> None:
        self.name, self._cable = f"hub{os.getpid()}m{number}", f"hub{number}c{os.getpid()}"[:15]
        self.address, self._gate = f"10.231.7.{4 * number + 2}", f"10.231.7.{4 * number + 1}"

    def __enter__(self) -> Machine:
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _ip("addr", "add", f"{self._gate}/30", "dev", self._cable)
            _ip("link", "set", self._cable, "up")
            for words in (("link", "set", "lo", "up"), ("addr", "add", f"{self.address}/30", "dev", "eth0")):
                _ip("-n", self.name, *words)
            _ip("-n", self.name, "link", "set", "eth0", "up")
            _ip("-n", self.name, "route", "add", "default", "via", self._gate)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._cable)  # goes with its other end, unless that was never made

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs a program on this machine, under a host name of its own."""
        return [
            "ip",
            "netns",
            "exec",
            self.name,
            "unshare",
            "--uts",
            "sh",
            "-c",
            f'hostname {self.name}; exec "$@"',
            "-",
            *words,
        ]

    def unplug(self) -> None:
        """Cut the cable: nothing that is sent arrives, and nobody is told."""
        _ip("link", "set", self._cable, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self._cable, "up")


@contextlib.contextmanager
def forwarded(host: str, port: int, *, at: str = HERE) -> Iterator[int]:
    """Let machines reach a server that listens on our loopback only: yield the port at `at` that leads there."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    async def serve() -> None:
        server = await asyncio.start_server(connected, at, 0)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()

    def run() -> None:
        loop.create_task(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10), "the forwarder does not start"
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
