"""The outbound client over HTTP/2 against a server that misbehaves: what is certain and what is unknown is told apart."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from h2.errors import ErrorCodes

from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderError, ProviderUnavailable
from integrations.http import client as client_module
from integrations.http import http2
from integrations.http.client import Exchange, SilentRecorder
from integrations.http.http2 import Http2Client
from integrations.http.masking import MASK, Mask
from integrations.providers.apns.tests.peer import Peer, answering, speaking
from tests.http.raw_server import RawServer, Script
from tests.simulators.support import wait_for

SAFE_AND_NOT = pytest.mark.parametrize(("safe", "expected"), [(True, ProviderUnavailable), (False, OutcomeUnknown)])
NEVER_SENT = pytest.mark.parametrize("safe", [True, False])
PATIENT, HASTY = (10.0, 10.0), (1.0, 0.4)
"""Seconds to connect and to read: where an answer comes, and where none does."""


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Exchange]] = []

    def started(self, exchange: Exchange) -> None:
        self.seen.append(("started", exchange))

    def finished(self, exchange: Exchange) -> None:
        self.seen.append(("finished", exchange))


@pytest.fixture(autouse=True)
def _own_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test dials for itself: no connection is left over from another."""
    pool = http2._Pool()
    monkeypatch.setattr(http2, "_pool", pool)
    yield
    pool.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], RawServer]]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(RawServer(script))


def make(url: str, **options: Any) -> Http2Client:
    options = {"account": "a", "provider": "p", "mask": Mask(), "recorder": SilentRecorder(), "timeout": PATIENT, **options}
    return Http2Client(base_url=url, **options)


def ask(client: Http2Client, body: bytes = b"data", safe: bool = False) -> bytes:
    return client.request("POST", "/x", operation="x", safe=safe, body=body).body


def failure(client: Http2Client, safe: bool, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.request("POST", "/x", operation="x", safe=safe, body=b"data", **options)
    return caught.value


def once(then: Callable[[Peer, Any], None], *, stay: bool = True) -> Script:
    """Read one request, then do this with it, and end the connection at once unless told to `stay`: what the client sent
    meanwhile, unread, would make that a reset that overtakes the answer."""

    def script(peer: Peer) -> None:
        asked = peer.next()
        assert asked is not None
        then(peer, asked)
        if stay:
            peer.connection.wait_for_end()

    return speaking(script)


@contextmanager
def nobody() -> Iterator[str]:
    """The URL of a port that is taken and that nobody listens on: refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


# --- never sent


@NEVER_SENT
def test_a_refused_connection_is_certain(safe: bool) -> None:
    with nobody() as url:
        error = failure(make(url), safe)
    assert (type(error), error.provider) == (ProviderUnavailable, "p")


@NEVER_SENT
def test_a_name_that_does_not_resolve_is_certain(safe: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert type(failure(make("http://push.example:8080"), safe)) is ProviderUnavailable


@NEVER_SENT
@pytest.mark.parametrize("url", ["http://10.1.2.3/x", "http://user:pw@127.0.0.1/x", "http://127.0.0.1:22/x"])
def test_an_address_that_is_not_allowed_is_never_dialled(safe: bool, url: str) -> None:
    marked: list[int] = []
    with pytest.raises(InvalidRequest, match="not allowed"):
        make("http://127.0.0.1", before_effect=lambda: marked.append(1)).request("POST", url, operation="x", safe=safe)
    assert marked == []


def test_a_name_that_resolves_to_a_private_address_is_refused_when_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.9", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: entry)
    assert type(failure(make("http://rebind.example:8080"), safe=False)) is InvalidRequest


@NEVER_SENT
def test_a_request_that_the_server_did_not_look_at_is_certain(serve: Any, safe: bool) -> None:
    server = serve(once(lambda peer, _asked: peer.goaway(0)))
    assert type(failure(make(server.url), safe)) is ProviderUnavailable


@NEVER_SENT
def test_a_refused_stream_is_certain(serve: Any, safe: bool) -> None:
    server = serve(once(lambda peer, asked: peer.reset(asked, ErrorCodes.REFUSED_STREAM)))
    assert type(failure(make(server.url), safe)) is ProviderUnavailable


# --- sent, and no answer


@SAFE_AND_NOT
def test_an_answer_that_does_not_come(serve: Any, safe: bool, expected: type[ProviderError]) -> None:
    server = serve(once(lambda peer, _asked: peer.connection.wait_for_end()))
    recorder = Recorder()
    assert type(failure(make(server.url, recorder=recorder, timeout=HASTY), safe)) is expected
    wait_for(lambda: server.connections)
    assert server.connections == 1, "nothing is repeated"
    (_started, (_finished, exchange)) = recorder.seen
    assert (exchange.timed_out, exchange.status_code) == (True, None)


@SAFE_AND_NOT
@pytest.mark.parametrize("how", ["reset", "orderly", "half an answer", "broken off", "nonsense", "goaway"])
def test_a_connection_that_ends_without_a_whole_answer(serve: Any, how: str, safe: bool, expected: type[ProviderError]) -> None:
    def end(peer: Peer, asked: Any) -> None:
        if how == "reset":
            peer.connection.reset()
        elif how == "half an answer":
            peer.begin(asked)
        elif how == "broken off":
            peer.reset(asked, ErrorCodes.INTERNAL_ERROR)
        elif how == "nonsense":
            peer.raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif how == "goaway":
            peer.goaway(asked.stream)

    server = serve(once(end, stay=False))
    assert type(failure(make(server.url), safe)) is expected
    assert server.connections == 1


@SAFE_AND_NOT
def test_a_body_that_drips_is_bounded_in_time(serve: Any, safe: bool, expected: type[ProviderError]) -> None:
    def drip(peer: Peer, asked: Any) -> None:
        peer.begin(asked)
        for _ in range(1000):
            peer.h2.send_data(asked.stream, b"x")
            peer.flush()
            time.sleep(0.1)  # the peer's pace is what is tested

    begun = time.monotonic()
    assert type(failure(make(serve(once(drip)).url, timeout=(0.5, 0.4)), safe)) is expected
    assert time.monotonic() - begun < 60


def test_a_body_without_end_is_cut_off(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 10_000)
    server = serve(once(lambda peer, asked: peer.answer(asked, body=b"x" * 10_001)))
    assert type(failure(make(server.url), safe=False)) is OutcomeUnknown


# --- answers


@pytest.mark.parametrize("status", [200, 400, 403, 410, 429, 500, 503])
def test_an_answer_of_any_status_is_returned(serve: Any, status: int) -> None:
    server = serve(once(lambda peer, asked: peer.answer(asked, status, b'{"a": 1}', x_thing="Yes")))
    reply = make(server.url).request("POST", "/x", operation="x")
    assert (reply.status, reply.json()["a"].integer(), reply.headers) == (status, 1, {"x-thing": "Yes"})


def test_what_is_sent(serve: Any) -> None:
    seen: list[Any] = []

    def keep(peer: Peer, asked: Any) -> None:
        seen.append(asked)
        peer.answer(asked)

    server = serve(once(keep))
    make(f"{server.url}/base/").request(
        "post", "/v1/x", operation="x", query={"a": "b c"}, json={"t": "é"}, headers={"X-A": "1"}
    )
    assert seen[0].headers == {
        ":method": "POST",
        ":scheme": "http",
        ":authority": server.url.removeprefix("http://"),
        ":path": "/base/v1/x?a=b+c",
        "user-agent": "integrations-hub/1",
        "accept": "*/*",
        "x-a": "1",
        "content-type": "application/json",
        "content-length": "10",
    }
    assert seen[0].body == '{"t":"é"}'.encode()


def test_bodies_larger_than_the_windows_go_through(serve: Any) -> None:
    server = serve(once(lambda peer, asked: peer.answer(asked, body=str(len(asked.body)).encode())))
    assert ask(make(server.url), b"x" * 300_000) == b"300000"


def test_the_exchange_is_recorded_masked_and_marked_before_the_first_byte(serve: Any) -> None:
    server, recorder = serve(speaking(answering)), Recorder()
    client = make(
        server.url,
        recorder=recorder,
        mask=Mask(secrets=["canary-4711"]),
        before_effect=lambda: recorder.seen.append(("marked", None)),  # type: ignore[arg-type]
    )
    headers = {"authorization": "bearer canary-4711"}
    client.request("POST", "/x", operation="test", safe=True, body=b"canary-4711", headers=headers)
    client.request("POST", "/x", operation="send", body=b"canary-4711", headers=headers)
    assert [name for name, _ in recorder.seen] == ["started", "finished", "marked", "started", "finished"]
    exchange = recorder.seen[-1][1]
    assert (exchange.operation, exchange.status_code, exchange.error) == ("send", 200, "")
    assert (exchange.request_headers["authorization"], exchange.request_body, exchange.response_body) == (MASK, MASK, MASK)
