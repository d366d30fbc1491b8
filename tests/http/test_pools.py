"""Connections kept open between calls: when one is used again, when not, and what a peer that closes one means for a call."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from integrations.contracts.errors import OutcomeUnknown, ProviderError, ProviderUnavailable
from integrations.http import pools
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from tests.http.raw_server import Connection, RawServer, Script
from tests.http.test_guard_dialling import _certificate
from tests.simulators.support import wait_for

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _own_connections() -> None:
    pools.forget()


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`passing(seconds)`: for the pools so much time has gone by."""
    now = [1000.0]
    monkeypatch.setattr(pools, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def go(seconds: float) -> None:
        now[0] += seconds

    return go


@pytest.fixture
def serve() -> Iterator[Callable[[Script], RawServer]]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(RawServer(script))


def answer_all(connection: Connection) -> None:
    while connection.read_request():
        connection.answer()


def ask(server: Any, *, safe: bool = True) -> int:
    client = HttpClient(base_url=server.url, provider="p", mask=Mask(), recorder=SilentRecorder(), timeout=(PATIENCE, PATIENCE))
    return client.request("POST", "/x", operation="x", safe=safe, body=b"data").status


def something_has_come() -> bool:
    """Tell whether there is something to be read on an idle connection: bytes, or its end."""
    kept: Any = pools.shared().poolmanager.pools
    keys = list(kept.keys())
    idle = [each for key in keys for each in kept[key].pool.queue if each is not None]
    return any(not each.is_closed and not each.is_connected for each in idle)


# --- used again, or not


def test_threads_share_connections(serve: Any) -> None:
    server = serve(answer_all)
    for _ in range(3):
        thread = threading.Thread(target=ask, args=(server,))
        thread.start()
        thread.join(PATIENCE)
    assert (len(server.requests), server.connections) == (3, 1)


def test_before_an_effect_a_connection_must_be_fresher_than_for_a_question(serve: Any, passing: Any) -> None:
    server = serve(answer_all)
    ask(server)
    passing(pools.IDLE_BEFORE_EFFECT + 0.1)
    ask(server, safe=True)
    assert server.connections == 1
    passing(pools.IDLE_BEFORE_EFFECT + 0.1)
    ask(server, safe=False)
    assert server.connections == 2
    passing(pools.IDLE_BEFORE_EFFECT - 0.1)
    ask(server, safe=False)
    assert (server.connections, len(server.requests)) == (2, 4)


def test_a_question_takes_no_connection_that_was_idle_for_long_either(serve: Any, passing: Any) -> None:
    server = serve(answer_all)
    ask(server)
    passing(pools.IDLE_SECONDS + 0.1)
    ask(server)
    assert server.connections == 2


def test_a_busy_connection_is_dialled_anew_in_the_end(serve: Any, passing: Any) -> None:
    server = serve(answer_all)
    for _ in range(int(pools.LONGEST_LIFE) + 2):
        ask(server)
        passing(1.0)
    assert server.connections == 2


def test_what_is_forgotten_is_closed(serve: Any, passing: Any) -> None:
    gone = threading.Event()

    def script(connection: Connection) -> None:
        answer_all(connection)
        gone.set()

    forgotten, other = serve(script), serve(answer_all)
    ask(forgotten)
    passing(pools.SWEEP_SECONDS + 0.1)
    assert not gone.is_set()
    ask(other)
    assert gone.wait(PATIENCE)
    assert ask(forgotten) == 200


def test_a_process_that_was_forked_has_connections_of_its_own() -> None:
    before = pools.shared()
    assert pools.shared() is before
    child = os.fork()
    if child == 0:
        os._exit(0 if pools.shared() is not before else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert pools.shared() is before


# --- peers that close


def test_a_connection_that_the_peer_has_closed_is_not_used(serve: Any) -> None:
    def once(connection: Connection) -> None:
        connection.read_request()
        connection.answer()

    server = serve(once)
    for _ in range(3):
        assert ask(server, safe=False) == 200
        wait_for(something_has_come)
    assert (len(server.requests), server.connections) == (3, 3)


@pytest.mark.parametrize("how", ["orderly", "reset"])
@pytest.mark.parametrize(("safe", "expected"), [(True, ProviderUnavailable), (False, OutcomeUnknown)])
def test_one_that_closes_on_the_request_is_not_asked_again(serve: Any, how: str, safe: bool, expected: type) -> None:
    """The peer may have read it: whether the connection was used before says nothing about that."""

    def twice(connection: Connection) -> None:
        connection.read_request()
        connection.answer()
        connection.read_request()
        if how == "reset":
            connection.reset()

    server = serve(twice)
    ask(server, safe=safe)
    with pytest.raises(ProviderError) as caught:
        ask(server, safe=safe)
    assert type(caught.value) is expected
    assert (len(server.requests), server.connections) == (2, 1)


def test_what_nobody_asked_for_is_no_answer_to_the_next_request(serve: Any) -> None:
    answered = threading.Event()

    def script(connection: Connection) -> None:
        while connection.read_request():
            connection.answer()
            answered.wait(PATIENCE)
            connection.raw.sendall(b"HTTP/1.1 402 Payment Required\r\nContent-Length: 0\r\n\r\n")

    server = serve(script)
    for _ in range(3):
        answered.clear()
        assert ask(server, safe=False) == 200
        answered.set()
        wait_for(something_has_come)
    assert (len(server.requests), server.connections) == (3, 3)


# --- TLS


def test_certificates_are_verified_and_the_authorities_read_once(tmp_path: Any, serve: Any) -> None:
    context = pools.tls()
    assert context is pools.tls()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    _pem, own = _certificate(tmp_path, "127.0.0.1")
    marked: list[int] = []

    def script(connection: Connection) -> None:
        own.wrap_socket(connection.raw, server_side=True)

    server = serve(script)
    client = HttpClient(
        base_url=server.url.replace("http:", "https:"),
        provider="p",
        mask=Mask(),
        recorder=SilentRecorder(),
        timeout=(PATIENCE, PATIENCE),
        before_effect=lambda: marked.append(1),
    )
    with pytest.raises(ProviderUnavailable, match="No connection"):
        client.request("POST", "/x", operation="x", body=b"data")
    assert server.requests == []
