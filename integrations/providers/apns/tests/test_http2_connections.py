"""The outbound client over HTTP/2: which calls share a connection, when it is given up, and TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import ProviderError, ProviderUnavailable
from integrations.http import http2
from integrations.http.client import SilentRecorder
from integrations.http.http2 import Http2Client, account_of
from integrations.http.masking import Mask
from integrations.providers.apns.tests.peer import Peer, answering, speaking
from tests.http.raw_server import RawServer, Script


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
    options = {
        "account": "a",
        "provider": "p",
        "mask": Mask(),
        "recorder": SilentRecorder(),
        "timeout": (10.0, 10.0),
        **options,
    }
    return Http2Client(base_url=url, **options)


def ask(client: Http2Client, body: bytes = b"data", safe: bool = False) -> bytes:
    return client.request("POST", "/x", operation="x", safe=safe, body=body).body


def failure(client: Http2Client, safe: bool, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.request("POST", "/x", operation="x", safe=safe, body=b"data", **options)
    return caught.value


# --- connections


def test_a_connection_is_used_again_by_its_account_alone(serve: Any) -> None:
    server = serve(speaking(answering))
    for number in range(5):
        assert ask(make(server.url), str(number).encode()) == str(number).encode()
    assert server.connections == 1
    ask(make(server.url, account="b"))
    assert server.connections == 2
    for _ in range(2):
        ask(make(server.url, account=""))
    assert server.connections == 4


def test_the_account_follows_config_and_credentials() -> None:
    def view(number: int, key: str) -> ConfigView:
        return ConfigView(
            id=number, tenant_id=1, provider="p", environment=Environment.SANDBOX, base_url="", values={}, secrets={"k": key}
        )

    assert account_of(view(1, "x")) == account_of(view(1, "x"))
    assert len({account_of(view(1, "x")), account_of(view(2, "x")), account_of(view(1, "y"))}) == 3
    assert "canary" not in account_of(view(1, "canary"))


def test_after_goaway_the_answer_still_counts_and_the_next_call_dials_anew(serve: Any) -> None:
    def leave(peer: Peer) -> None:
        asked = peer.next()
        assert asked is not None
        peer.goaway(asked.stream)
        peer.answer(asked, body=b"after")
        peer.connection.wait_for_end()

    server = serve(speaking(leave))
    assert [ask(make(server.url)) for _ in range(2)] == [b"after", b"after"]
    assert server.connections == 2


def test_after_503_the_next_call_dials_anew(serve: Any) -> None:
    def away(peer: Peer) -> None:
        while asked := peer.next():
            peer.answer(asked, 503)

    server = serve(speaking(away))
    for _ in range(2):
        ask(make(server.url))
    assert server.connections == 2


@pytest.mark.parametrize("how", ["end", "goaway"])
def test_a_connection_that_ended_while_idle_harms_nobody(serve: Any, how: str) -> None:
    left, begun = threading.Event(), []

    def leave(peer: Peer) -> None:
        begun.append(peer)
        asked = peer.next()
        assert asked is not None
        peer.answer(asked, body=b"%d" % len(begun))
        if len(begun) == 1:
            peer.goaway(asked.stream) if how == "goaway" else peer.raw.shutdown(socket.SHUT_RDWR)
            left.set()
        peer.connection.wait_for_end()

    server = serve(speaking(leave))
    assert ask(make(server.url)) == b"1"
    assert left.wait(30)
    assert ask(make(server.url)) == b"2"
    assert server.connections == 2


def test_a_ping_while_idle_is_answered_and_the_connection_kept(serve: Any) -> None:
    def ping(peer: Peer) -> None:
        while asked := peer.next():
            peer.answer(asked)
            peer.h2.ping(b"12345678")
            peer.flush()

    server = serve(speaking(ping))
    for _ in range(3):
        ask(make(server.url))
    assert server.connections == 1


def test_a_connection_idle_for_half_an_hour_is_closed(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, now = serve(speaking(answering)), [1000.0]
    monkeypatch.setattr(http2.time, "monotonic", lambda: now[0])
    for seconds, connections in ((0, 1), (1799, 1), (1801, 2)):
        now[0] += seconds
        ask(make(server.url))
        assert server.connections == connections


def test_threads_do_not_mix_their_answers_up(serve: Any) -> None:
    server = serve(speaking(answering))
    bodies = [b"%d" % number for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda body: ask(make(server.url), body), bodies))
    assert found == bodies
    assert server.connections <= 8


def test_a_child_process_leaves_its_parents_connections_alone(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(speaking(answering))
    ask(make(server.url))
    child = os.fork()
    if child == 0:
        http2._pool.abandon()  # what the hook does with the module's own pool
        os._exit(len(http2._pool._idle))
    assert os.waitpid(child, 0)[1] == 0
    assert ask(make(server.url), b"still") == b"still"
    assert server.connections == 1


# --- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - dt.timedelta(days=1), now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("trusted", "protocol", "answered"), [(True, "h2", True), (False, "h2", False), (True, "http/1.1", False)]
)
def test_tls(
    serve: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, protocol: str, answered: bool
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.set_alpn_protocols([protocol])
    http2._tls.cache_clear()
    if trusted:
        monkeypatch.setattr(http2.certifi, "where", lambda: str(certificate))
    url = serve(speaking(answering, tls)).url.replace("http://", "https://")
    try:
        if answered:
            assert [ask(make(url), body) for body in (b"1", b"2")] == [b"1", b"2"]
        else:
            assert type(failure(make(url), safe=False)) is ProviderUnavailable
    finally:
        http2._tls.cache_clear()
