"""The file that goes along with a recurring message: fetched through the guard, whole, in time, outside of transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
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
