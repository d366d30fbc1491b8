"""Connections that are opened at once and kept open spread over the web processes."""

from __future__ import annotations

import errno
import http.client
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from integrations_site import web_worker
from integrations_site.embedded.address import REPOSITORY
from integrations_site.embedded.server import port_is_free
from integrations_site.supervisor.group import ProcessGroup
from integrations_site.supervisor.parts import WEB_WORKERS, web
from integrations_site.web_worker import EvenThreadWorker
from tests.processes.stack import wait_for

CONNECTIONS = 32
WHO = """
import os

def application(environ, start_response):
    told = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of web processes with the hub's own command line, which answer who they are."""
    (tmp_path / "who.py").write_text(WHO, encoding="utf-8")
    free = next(port for port in range(29_900, 30_400) if port_is_free(port))
    command = ["who:application" if word.endswith("wsgi:application") else word for word in web({}, port=free).command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(REPOSITORY)))}
    with (tmp_path / "log").open("wb") as log:
        group = ProcessGroup(command, environment=environment, folder=tmp_path, output=log)
        try:
            wait_for(lambda: len({asked(free) for _ in range(20)} - {""}) == WEB_WORKERS, "the web processes", seconds=30)
            yield free
        finally:
            group.stop(10)


def asked(port: int) -> str:
    """Return which process answers a new connection, empty while none does."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            return who(connection)
    except OSError:
        return ""


def who(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    return connection.getresponse().read().decode()


def test_every_process_takes_connections_and_keeps_them(port: int) -> None:
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10))) for _ in range(CONNECTIONS)
        ]
        shares = Counter(who(each) for each in opened)  # one after the other: the next one is for whoever has fewer
        assert Counter(who(each) for each in opened) == shares
    assert len(shares) == WEB_WORKERS, shares


class Listener:
    """A listening socket from which somebody else takes the connection meanwhile."""

    def __init__(self) -> None:
        self.asked = 0

    def accept(self) -> Any:
        self.asked += 1
        raise BlockingIOError(errno.EAGAIN, "taken")


@pytest.mark.parametrize(("has", "waits"), [(0, None), (1, 20e-6), (10, 200e-6), (25, 500e-6), (900, 500e-6)])
def test_who_has_more_waits_longer_and_minds_not_that_it_is_taken(
    has: int, waits: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(web_worker.time, "sleep", waited.append)
    worker, listener = EvenThreadWorker.__new__(EvenThreadWorker), Listener()
    worker.nr_conns = has
    worker.accept(listener)
    assert waited == ([] if waits is None else [pytest.approx(waits)])
    assert (listener.asked, worker.nr_conns) == (1, has)


def test_the_hub_runs_with_it() -> None:
    command = web({}, port=1).command
    assert command[0] == sys.executable
    assert command[command.index("--worker-class") + 1] == f"{EvenThreadWorker.__module__}.{EvenThreadWorker.__name__}"
