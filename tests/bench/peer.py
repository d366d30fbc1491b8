"""django-webhook with Celery (prefork, four processes) and Redis, in processes and a Python of their own.

See `installing.py` for where they come from. Where that is impossible the bench goes on without.
"""

from __future__ import annotations

import json
import os
from typing import Any

import psycopg
from django.db import connections

from integrations_site.embedded.address import REPOSITORY
from integrations_site.supervisor.group import ProcessGroup
from tests.bench import backlog
from tests.bench.companion import Companion
from tests.bench.installing import PEER_PYTHON
from tests.bench.receiver import ReceiverProcess
from tests.bench.redis_server import Redis
from tests.bench.results import wait_until
from tests.bench.sides import conninfo

DATABASE = "bench_peer"
PROCESSES = 4


class Peer:
    """The whole of it, from `with` to its end; afterwards nothing is left but the installed packages."""

    def __init__(self, receiver: ReceiverProcess) -> None:
        self._receiver = receiver
        self._redis = Redis()
        self._group: ProcessGroup | None = None
        self._driver: Companion | None = None

    def __enter__(self) -> Peer:
        _make_database()
        self._redis.__enter__()
        try:
            environment = self._environment()
            self._driver = Companion([str(PEER_PYTHON), "-m", "tests.bench.peer_site.driver"], environment=environment)
            self._driver.ask("set_up")
            command = [str(PEER_PYTHON), "-m", "celery", "-A", "tests.bench.peer_site.worker", "worker", "-l", "ERROR"]
            command += ["--pool", "prefork", "-c", str(PROCESSES)]
            self._group = ProcessGroup(command, environment=environment, folder=REPOSITORY, output=self._redis.log)
            wait_until(lambda: bool(self._ask("alive")), "celery to answer", 40, every=0.2)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._group is not None:
            self._group.stop(10)
        if self._driver is not None:
            self._driver.close()
        self._redis.__exit__()

    def drain(self, count: int, path: str) -> float:
        """From the moment that its workers may take tasks until the last has arrived; each is queued in Redis by then."""
        run = self._aim(path)
        self._ask("hold")
        self._say(run, count)
        began: float = self._ask("release")
        self._arrived(run, count)
        return count / (max(self._receiver.times(run).values()) - began)

    def live(self, count: int) -> float:
        """From the first save until the last has arrived."""
        run = self._aim("/live")
        began = self._say(run, count)[0]
        self._arrived(run, count)
        return count / (max(self._receiver.times(run).values()) - began)

    def paced(self, seconds: float, per_second: int) -> list[float]:
        run, count = self._aim("/paced"), int(seconds * per_second)
        committed = self._say(run, count, per_second)[1:]
        self._arrived(run, count)
        times = self._receiver.times(run)
        return [max(0.0, times[number] - moment) for number, moment in enumerate(committed)]

    def stored(self) -> int:
        return int(self._ask("stored"))

    def _aim(self, path: str) -> str:
        self._ask("aim", url=f"{self._receiver.url}{path}/")
        warm = backlog.new_run()
        self._say(warm, PROCESSES * 3)
        self._arrived(warm, PROCESSES * 3)
        return backlog.new_run()

    def _say(self, run: str, count: int, per_second: int = 0) -> list[float]:
        data = backlog.object_of("")
        moments: list[float] = self._ask("say", run=run, count=count, data=data, per_second=per_second)
        return moments

    def _arrived(self, run: str, count: int) -> None:
        wait_until(lambda: self._receiver.count(run) >= count, f"{count} of django-webhook to arrive", every=0.02)

    def _ask(self, command: str, **arguments: Any) -> Any:
        assert self._driver is not None
        return self._driver.ask(command, **arguments)

    def _environment(self) -> dict[str, str]:
        given = connections["default"].get_connection_params()
        database = {name.upper(): str(given[name]) for name in ("host", "port", "user", "password") if name in given}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTHON"))}
        return {**kept, "PEER_DATABASE": json.dumps({**database, "NAME": DATABASE}), "PEER_BROKER": self._redis.url}


def _make_database() -> None:
    with psycopg.connect(conninfo(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
