"""The file that goes along with a recurring message: fetched through the guard, whole, in time, outside of transactions."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from django.db import connection, transaction

from integrations.contracts.errors import InvalidRequest, ProviderUnavailable
from integrations.http.client import NetworkInsideTransaction
from integrations.messaging.rules import fetching
from integrations.models import CallLog, Tenant

pytestmark = pytest.mark.django_db


class Reports(BaseHTTPRequestHandler):
    """A small web server; `answers` maps a path to (status, headers, body), or to a callable that writes its own."""

    answers: dict[str, Any] = {}

    def do_GET(self) -> None:
        status, headers, body = self.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        return


@pytest.fixture
def serve(settings: Any) -> Iterator[Callable[..., str]]:
    """`serve(body, status=200, **headers)`: the address of a file on a server on loopback, which is allowed."""
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.OUTBOUND_HTTPS_ONLY = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Reports)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def add(body: bytes, status: int = 200, path: str = "/fees.pdf?key=s3cret", **headers: str) -> str:
        Reports.answers[path] = (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        return f"http://127.0.0.1:{server.server_port}{path}"

    yield add
    server.shutdown()
    server.server_close()
    Reports.answers.clear()


def fetch(url: str, tenant: Tenant, name: str = "") -> Any:
    return fetching.fetch(url, name=name, about=fetching.About(tenant.pk))


@pytest.mark.parametrize(
    ("path", "name", "served", "filename", "content_type"),
    [
        ("/fees.pdf", "", "application/pdf; charset=x", "fees.pdf", "application/pdf"),
        ("/report?id=7", "Fees.csv", "", "Fees.csv", "text/csv"),
        ("/report", "", "application/octet-stream", "report", "application/octet-stream"),
        ("/fees.pdf", "", "application/octet-stream", "fees.pdf", "application/pdf"),
        ("/", "", "nonsense", "attachment", "application/octet-stream"),
        ("/a%2F..%2Fb.txt", "", "text/plain", "b.txt", "text/plain"),
        ("/x", 'a/b"c\r\nd.txt', "text/plain", "a_b_c_d.txt", "text/plain"),
        ("/page.html", "", "text/html", "page.html", "text/html"),
    ],
)
def test_a_file_is_fetched_as_it_is(
    tenant: Tenant, serve: Callable[..., str], path: str, name: str, served: str, filename: str, content_type: str
) -> None:
    content = bytes(range(256)) * 300
    media = fetch(serve(content, path=path, **({"Content_Type": served} if served else {})), tenant, name)
    assert (media.filename, media.content_type, media.content == content) == (filename, content_type, True)


def test_the_log_tells_of_it_without_what_is_secret(tenant: Tenant, serve: Callable[..., str]) -> None:
    url = serve(b"%PDF-", path="/fees.pdf?key=s3cret")
    fetch(url, tenant)
    row = CallLog.unscoped.get(tenant=tenant)
    assert (row.url, row.status, row.status_code) == (url.partition("?")[0], "success", 200)
    assert (row.request_body, row.response_body) == ("", "")


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "said"),
    [
        (302, {"Location": "http://169.254.169.254/"}, b"", InvalidRequest, "redirects elsewhere"),
        (404, {}, b"gone", InvalidRequest, "refused with 404"),
        (503, {}, b"later", ProviderUnavailable, "answered 503"),
        (429, {}, b"later", ProviderUnavailable, "answered 429"),
        (200, {}, b"", InvalidRequest, "empty"),
        (200, {"Content_Type": "text/html"}, b"<h1>Log in", InvalidRequest, "A web page came"),
        (200, {"Content_Length": "10"}, b"half", ProviderUnavailable, ""),
        (200, {}, b"x" * (fetching.LARGEST + 1), InvalidRequest, "larger than 10 MB"),
    ],
)
def test_what_is_no_file_is_an_error(
    tenant: Tenant,
    serve: Callable[..., str],
    status: int,
    headers: dict[str, str],
    body: bytes,
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        fetch(serve(body, status=status, **headers), tenant)
    assert CallLog.unscoped.get(tenant=tenant).status == "failed"


def test_a_file_that_drips_is_not_waited_for(
    tenant: Tenant, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WHOLE_SECONDS", 0.0)
    with pytest.raises(ProviderUnavailable, match="too slowly"):
        fetch(serve(b"%PDF-"), tenant)


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
        (b"HTTP/1.1 200 OK\r\nX-A: b\r\n", b"X-B: c\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["a header", "headers", "continue", "bytes", "chunks"],
)
def test_a_peer_that_drips_anything_is_cut_off(
    tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch, first: bytes, drip: bytes
) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.OUTBOUND_HTTPS_ONLY = False
    monkeypatch.setattr(fetching, "WHOLE_SECONDS", 1.0)  # time enough for the first drip on a busy machine
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                peer.recv(4096)
                peer.sendall(first)
                peer.settimeout(0.05)
                while len(sent) < 500 and not gone(peer):
                    sent.append(peer.send(drip))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(ProviderUnavailable, match="too slowly"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/fees.pdf", tenant)
        thread.join(10)
    assert 0 < len(sent) < 100
    assert CallLog.unscoped.get(tenant=tenant).error == fetching.SLOW


def gone(peer: socket.socket) -> bool:
    """Tell whether the other side has hung up; wait for it as long as the socket's timeout says."""
    try:
        return peer.recv(1) == b""
    except TimeoutError:
        return False


def test_a_handshake_that_never_ends_is_cut_off(tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setattr(fetching, "WHOLE_SECONDS", 0.2)
    monkeypatch.setattr(fetching, "READ_SECONDS", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ProviderUnavailable, match="too slowly"):
        fetch(f"https://127.0.0.1:{server.getsockname()[1]}/fees.pdf", tenant)


def test_no_timer_and_no_connection_is_left(tenant: Tenant, serve: Callable[..., str]) -> None:
    before = set(threading.enumerate())  # other tests' threads may end at any moment
    line = fetching._Line(60.0)
    assert set(threading.enumerate()) - before == {line._timer}
    line.close()
    line._timer.join(60)
    assert set(threading.enumerate()) - before == set()
    line = fetching._Line(60.0)
    with closing(line), requests.Session() as plain:
        plain.mount("http://", line)
        plain.get(serve(b"%PDF-"))
        watched = list(line._sockets)
        assert len(watched) == 1
    assert [each.fileno() for each in watched] == [-1]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://0x7f.1/",
        "ftp://files.example/fees.pdf",
        "http://user:pass@files.example/fees.pdf",
        "http://localhost/fees.pdf",
    ],
)
def test_an_address_inside_is_not_dialled(tenant: Tenant, settings: Any, url: str) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    with pytest.raises(InvalidRequest) as refused:
        fetch(url, tenant)
    assert refused.value.attr == "attachment_url"


@pytest.mark.django_db(transaction=True)
def test_nothing_is_fetched_inside_of_a_transaction(tenant: Tenant, serve: Callable[..., str]) -> None:
    url = serve(b"%PDF-")
    with transaction.atomic(), pytest.raises(NetworkInsideTransaction):
        fetch(url, tenant)
    assert not connection.in_atomic_block
