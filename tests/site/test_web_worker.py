"""Connections that are opened at once and kept open spread over the web processes."""

from __future__ import annotations

import http.client
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

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


def test_each_process_gets_its_share_of_what_is_opened_at_once(port: int) -> None:
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10))) for _ in range(CONNECTIONS)
        ]
        for each in opened:
            each.connect()
        shares = Counter(who(each) for each in opened)
        assert Counter(who(each) for each in opened) == shares  # they stay where they are
    assert len(shares) == WEB_WORKERS
    assert min(shares.values()) >= CONNECTIONS // 4, shares


def test_the_hub_runs_with_it() -> None:
    command = web({}, port=1).command
    assert command[0] == sys.executable
    assert command[command.index("--worker-class") + 1] == f"{EvenThreadWorker.__module__}.{EvenThreadWorker.__name__}"
