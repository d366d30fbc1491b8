"""The outbound client against a server that misbehaves below HTTP: what is certain and what is unknown is told apart."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderError, ProviderUnavailable
from integrations.http import client as client_module
from integrations.http import pools
from integrations.http.client import Exchange, HttpClient, SilentRecorder
from integrations.http.masking import Mask
from tests.http.raw_server import Connection, RawServer, Script
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
def _own_connections() -> None:
    """Each test dials for itself: no connection is left over from another."""
    pools.forget()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], RawServer]]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(RawServer(script))


def make(url: str, **options: Any) -> HttpClient:
    options = {"provider": "p", "mask": Mask(), "recorder": SilentRecorder(), "timeout": PATIENT, **options}
    return HttpClient(base_url=url, **options)


def failure(client: HttpClient, safe: bool, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.request("POST", "/x", operation="x", safe=safe, body=b"data", **options)
    return caught.value


def read_and(then: Script) -> Script:
    def script(connection: Connection) -> None:
        connection.read_request()
        then(connection)

    return script


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
    assert type(error) is ProviderUnavailable
    assert error.provider == "p"


@NEVER_SENT
def test_a_name_that_does_not_resolve_is_certain(safe: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert type(failure(make("http://crm.example:8080"), safe)) is ProviderUnavailable


@NEVER_SENT
def test_a_connection_that_times_out_is_certain(safe: bool) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    try:
        for _ in range(4):  # the backlog is full: the kernel answers nobody any more
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert type(failure(make(url, timeout=(0.3, 0.3)), safe)) is ProviderUnavailable
    finally:
        for one in (*fillers, listener):
            one.close()


@NEVER_SENT
@pytest.mark.parametrize(
    "url", ["http://10.1.2.3/x", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/x", "http://127.0.0.1:22/x"]
)
def test_an_address_that_is_not_allowed_is_never_dialled(safe: bool, url: str, settings: Any) -> None:
    marked: list[int] = []
    with pytest.raises(InvalidRequest, match="not allowed"):
        make("http://127.0.0.1", before_effect=lambda: marked.append(1)).request("POST", url, operation="x", safe=safe)
    assert marked == []


def test_a_name_that_resolves_to_a_private_address_is_refused_when_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.9", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: entry)
    assert type(failure(make("http://rebind.example:8080"), safe=False)) is InvalidRequest


# --- sent, and no answer


@SAFE_AND_NOT
def test_an_answer_that_does_not_come(serve: Any, safe: bool, expected: type[ProviderError]) -> None:
    server = serve(read_and(Connection.wait_for_end))
    recorder = Recorder()
    error = failure(make(server.url, recorder=recorder, timeout=HASTY), safe)
    assert type(error) is expected
    wait_for(lambda: server.requests)
    assert len(server.requests) == 1, "nothing is repeated"
    (_started, (_finished, exchange)) = recorder.seen
    assert (exchange.timed_out, exchange.status_code) == (True, None)


@SAFE_AND_NOT
@pytest.mark.parametrize("how", ["reset", "orderly", "half a status line", "nonsense", "half a body"])
def test_a_connection_that_ends_without_a_whole_answer(serve: Any, how: str, safe: bool, expected: type[ProviderError]) -> None:
    partial = {
        "half a status line": b"HTTP/1.",
        "nonsense": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    }

    def end(connection: Connection) -> None:
        if how == "reset":
            connection.reset()
        elif how in partial:
            connection.raw.sendall(partial[how])

    server = serve(read_and(end))
    assert type(failure(make(server.url), safe)) is expected
    assert len(server.requests) == 1


@SAFE_AND_NOT
def test_a_body_that_drips_is_bounded_in_time(serve: Any, safe: bool, expected: type[ProviderError]) -> None:
    def drip(connection: Connection) -> None:
        connection.raw.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        for _ in range(1000):
            connection.raw.sendall(b"x")
            time.sleep(0.1)  # the peer's pace is what is tested

    server = serve(read_and(drip))
    begun = time.monotonic()
    error = failure(make(server.url, timeout=(0.5, 0.4)), safe)
    assert type(error) is expected
    assert time.monotonic() - begun < 60


@SAFE_AND_NOT
def test_a_chunked_body_that_drips_is_bounded_in_time(serve: Any, safe: bool, expected: type[ProviderError]) -> None:
    def drip(connection: Connection) -> None:
        connection.raw.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n")
        for _ in range(1000):
            connection.raw.sendall(b"x")
            time.sleep(0.1)  # the peer's pace is what is tested

    server = serve(read_and(drip))
    begun = time.monotonic()
    assert type(failure(make(server.url, timeout=(0.5, 0.4)), safe)) is expected
    assert time.monotonic() - begun < 60


@SAFE_AND_NOT
def test_a_body_without_end_is_cut_off(
    serve: Any, safe: bool, expected: type[ProviderError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 100_000)
    sent = [0]

    def pour(connection: Connection) -> None:
        connection.raw.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while sent[0] < 50_000_000:
            connection.raw.sendall(b"x" * 50_000)
            sent[0] += 50_000

    server = serve(read_and(pour))
    assert type(failure(make(server.url), safe)) is expected
    assert sent[0] < 50_000_000


def test_a_compressed_bomb_is_cut_off(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    bomb = gzip.compress(b"\0" * 20_000_000)
    server = serve(read_and(lambda connection: connection.answer(bomb, "200 OK", "Content-Encoding: gzip")))
    assert type(failure(make(server.url), safe=False)) is OutcomeUnknown


# --- answers


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "400 Bad", "401 No", "404 Not", "429 Slow", "500 Oh", "503 Away"])
def test_an_answer_of_any_status_is_returned(serve: Any, status: str) -> None:
    server = serve(read_and(lambda connection: connection.answer(b'{"a": 1}', status, "X-Thing: Yes")))
    reply = make(server.url).request("POST", "/x", operation="x")
    assert (reply.status, reply.json()["a"].integer(), reply.headers["x-thing"]) == (int(status[:3]), 1, "Yes")
    assert reply.ok is status.startswith("2")


def test_an_empty_answer_is_an_answer(serve: Any) -> None:
    server = serve(read_and(lambda connection: connection.answer(b"", "204 No Content")))
    reply = make(server.url).request("POST", "/x", operation="x")
    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(serve: Any, status: str) -> None:
    other = serve(read_and(lambda connection: connection.answer()))
    server = serve(read_and(lambda connection: connection.answer(b"", status, f"Location: {other.url}/x")))
    reply = make(server.url).request("GET", "/x", operation="x", auth=("user", "password"))
    assert reply.status == int(status[:3])
    assert other.connections == 0


def test_a_connection_is_used_again(serve: Any) -> None:
    def answer_all(connection: Connection) -> None:
        while connection.read_request():
            connection.answer()

    server = serve(answer_all)
    for _ in range(5):
        make(server.url).request("POST", "/x", operation="x", body=b"1")
    assert (len(server.requests), server.connections) == (5, 1)


def test_no_cookie_is_carried_from_one_call_to_the_next(serve: Any) -> None:
    def answer_all(connection: Connection) -> None:
        while connection.read_request():
            connection.answer(b"{}", "200 OK", "Set-Cookie: tenant=1; Path=/")

    server = serve(answer_all)
    for _ in range(2):
        make(server.url).request("GET", "/x", operation="x")
    assert b"cookie" not in server.requests[1].lower()


def test_proxies_and_netrc_of_the_environment_are_ignored(serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    proxy = serve(read_and(lambda connection: connection.answer()))
    server = serve(read_and(lambda connection: connection.answer()))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    make(server.url).request("GET", "/x", operation="x")
    assert (proxy.connections, server.connections) == (0, 1)
    assert b"authorization" not in server.requests[0].lower()


def test_what_is_sent(serve: Any) -> None:
    server = serve(read_and(lambda connection: connection.answer()))
    make(server.url + "/base/").request(
        "post", "/v1/x", operation="x", query={"a": "b c", "é": "&"}, json={"n": 1, "t": "é"}, headers={"X-A": "1"}
    )
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /base/v1/x?a=b+c&%C3%A9=%26 HTTP/1.1"
    assert {"Content-Type: application/json", "X-A: 1", "User-Agent: integrations-hub/1"} <= set(lines)
    assert json.loads(body) == {"n": 1, "t": "é"}


def test_a_form_keeps_repeated_names_and_their_order(serve: Any) -> None:
    server = serve(read_and(lambda connection: connection.answer()))
    make(server.url).request("POST", "/x", operation="x", form=[("b", "1"), ("a", "ü &"), ("b", "2")])
    assert server.requests[0].endswith(b"\r\n\r\nb=1&a=%C3%BC+%26&b=2")
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in server.requests[0]


# --- the mark before an effect


def test_the_mark_is_set_once_before_the_first_byte_of_an_effect_and_never_for_a_question(serve: Any) -> None:
    def answer_all(connection: Connection) -> None:
        while connection.read_request():
            connection.answer()

    server = serve(answer_all)
    marked: list[int] = []
    client = make(server.url, before_effect=lambda: marked.append(len(server.requests)))
    client.request("GET", "/x", operation="x")
    client.request("POST", "/x", operation="x", safe=True)
    assert marked == []
    client.request("POST", "/x", operation="x")
    assert marked == [2]
    client.request("GET", "/x", operation="x", safe=False)
    assert marked == [2, 3]


def test_where_the_mark_can_not_be_set_nothing_is_sent_and_nothing_recorded(serve: Any) -> None:
    server = serve(read_and(lambda connection: connection.answer()))
    recorder = Recorder()

    def refuse() -> None:
        raise RuntimeError("lease lost")

    with pytest.raises(RuntimeError, match="lease lost"):
        make(server.url, before_effect=refuse, recorder=recorder).request("POST", "/x", operation="x")
    assert (server.connections, recorder.seen) == (0, [])


def test_each_exchange_is_recorded_before_and_after(serve: Any) -> None:
    server = serve(
        read_and(lambda connection: connection.answer(b'{"password": "p"}', "402 Pay", "Content-Type: application/json"))
    )
    recorder = Recorder()
    make(server.url, recorder=recorder).request("POST", "/x", operation="charge", json={"password": "p", "n": 1})

    ((first, started), (second, finished)) = recorder.seen
    assert (first, second) == ("started", "finished")
    assert started is finished
    assert (finished.operation, finished.method, finished.url) == ("charge", "POST", f"{server.url}/x")
    assert (finished.status_code, finished.error, finished.timed_out) == (402, "", False)
    assert json.loads(finished.request_body) == {"password": "••••", "n": 1}
    assert json.loads(finished.response_body) == {"password": "••••"}
    assert finished.duration_ms is not None


@pytest.mark.parametrize("key", ["sk_live_\u201ccurly\u201d", "sk_live\nX-Evil: 1", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused_before_the_mark(serve: Any, key: str) -> None:
    marked: list[int] = []
    server = serve(read_and(lambda connection: connection.answer()))
    with pytest.raises(InvalidRequest) as caught:
        make(server.url, before_effect=lambda: marked.append(1)).request(
            "POST", "/send", operation="send", headers={"Authorization": f"Bearer {key}"}
        )
    assert key not in str(caught.value)
    assert (marked, server.requests) == ([], [])
