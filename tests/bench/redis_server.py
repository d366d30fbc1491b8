"""A Redis on loopback that keeps nothing."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from pathlib import Path

from integrations_site.embedded.server import port_is_free
from integrations_site.supervisor.group import ProcessGroup
from tests.bench.installing import redis_server
from tests.bench.results import wait_until


class Redis:
    """A server on loopback that keeps nothing; it ends with the block, or with this process."""

    def __enter__(self) -> Redis:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-redis-")
        self.port = next(port for port in range(28_000, 30_000) if port_is_free(port))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.log = (Path(self._folder.name) / "output.log").open("wb")
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def restart(self, pause: float) -> None:
        """End it, and start an empty one at the same address `pause` seconds later."""
        self._group.kill()
        time.sleep(pause)
        self._start()

    def calls(self, command: str) -> int:
        """Return how often clients have called a command since the start."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as asking:
            asking.sendall(b"INFO commandstats\r\n")
            with asking.makefile("rb") as answer:
                size = int(answer.readline()[1:])
                told = answer.read(size).decode()
        found = re.search(rf"cmdstat_{command}:calls=(\d+)", told)
        return int(found[1]) if found else 0

    def _start(self) -> None:
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self._folder.name}
        command = [redis_server(), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self._group = ProcessGroup(command, environment=os.environ, folder=Path(self._folder.name), output=self.log)
        wait_until(lambda: not port_is_free(self.port), "redis to listen", 20)

    def __exit__(self, *_: object) -> None:
        self._group.stop(5)
        self.log.close()
        self._folder.cleanup()
