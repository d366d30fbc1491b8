"""The URL guard in the connectors: hostile names, and that what was checked is what is dialled."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import aiohttp
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from integrations.http import guard
from integrations.http.guard import (
    BlockedAddress,
    GuardedAdapter,
    blocked_cause,
    guarded_connector,
    resolve,
)


@pytest.fixture(autouse=True)
def _closed(settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    settings.OUTBOUND_HTTPS_ONLY = False


# --- Names ----------------------------------------------------------------------------------------------------------------

Answers = Callable[..., None]


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Let names under `.example` resolve to what the test says; several answers are given one after the other."""
    table: dict[str, list[list[str]]] = {}

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        answers = table[host]
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        kind = {False: socket.AF_INET, True: socket.AF_INET6}
        return [(kind[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in now]

    real = socket.getaddrinfo

    def dispatch(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return getaddrinfo(name, port) if str(name).endswith(".example") else real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", dispatch)

    def answer(host: str, *answers: list[str]) -> None:
        table[host] = list(answers)

    return answer


def test_resolve_returns_all_addresses_of_a_good_name(name_server: Answers) -> None:
    name_server("good.example", ["1.1.1.1", "2606:4700:4700::1111", "1.1.1.1"])
    assert resolve("good.example", 443) == ["1.1.1.1", "2606:4700:4700::1111"]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["2606:4700:4700::1111", "::1"]])
def test_a_name_with_one_bad_address_is_refused_whole(name_server: Answers, addresses: list[str]) -> None:
    name_server("mixed.example", addresses)
    with pytest.raises(BlockedAddress):
        resolve("mixed.example", 443)


def test_an_unknown_name_is_an_oserror(name_server: Answers) -> None:
    with pytest.raises(OSError, match="unknown name"):
        resolve("unknown.example", 443)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "127.0.0.1", "[::1]", "::1", "a" * 64 + "..x"])
def test_resolve_refuses_numbers_in_disguise(host: str) -> None:
    with pytest.raises(BlockedAddress):
        resolve(host, 80)


# --- Dialling -------------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])  # type: ignore[attr-defined]
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://inside.example:{self.server.server_port}/")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: Any) -> None:
        return None


def _serve(context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hosts = []  # type: ignore[attr-defined]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def server() -> Iterator[Any]:
    running = _serve()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        made.mount("http://", GuardedAdapter())
        made.mount("https://", GuardedAdapter())
        yield made


def _refused(error: BaseException) -> BlockedAddress:
    cause = blocked_cause(error)
    assert cause is not None
    return cause


def test_requests_dials_the_checked_address_under_the_name(
    server: Any, session: requests.Session, name_server: Answers, settings: Any
) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    # Rebinding: a second look-up, were there one, would lead elsewhere.
    name_server("hook.example", ["127.0.0.1"], ["127.0.0.2"])
    answer = session.get(f"http://hook.example:{server.server_port}/", timeout=5)
    assert (answer.status_code, answer.text) == (200, "ok")
    assert server.hosts == [f"hook.example:{server.server_port}"]


@pytest.mark.parametrize("answers", [[["127.0.0.1"]], [["1.1.1.1", "127.0.0.1"]]])
def test_requests_refuses_a_name_that_leads_inside(
    server: Any, session: requests.Session, name_server: Answers, answers: list[list[str]]
) -> None:
    name_server("evil.example", *answers)
    with pytest.raises(requests.exceptions.InvalidURL) as caught:
        session.get(f"http://evil.example:{server.server_port}/", timeout=5)
    _refused(caught.value)
    assert server.hosts == []


def test_requests_refuses_literals_and_user_info(server: Any, session: requests.Session) -> None:
    for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "x@127.0.0.1"):
        with pytest.raises(requests.RequestException) as caught:
            session.get(f"http://{host}:{server.server_port}/", timeout=5)
        _refused(caught.value)
    assert server.hosts == []


def test_requests_checks_each_hop_of_a_redirect(
    server: Any, session: requests.Session, name_server: Answers, settings: Any
) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    name_server("hook.example", ["127.0.0.1"])
    name_server("inside.example", ["127.0.0.3"])
    with pytest.raises(requests.RequestException) as caught:
        session.get(f"http://hook.example:{server.server_port}/away", timeout=5)
    _refused(caught.value)
    assert server.hosts == [f"hook.example:{server.server_port}"]


def test_requests_ignores_proxies(server: Any, session: requests.Session, name_server: Answers, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    name_server("hook.example", ["127.0.0.1"])
    url = f"http://hook.example:{server.server_port}/"
    assert session.get(url, timeout=5, proxies={"http": "http://127.0.0.1:1"}).status_code == 200


def test_requests_reports_a_refused_connection_and_an_unknown_name_as_such(
    session: requests.Session, name_server: Answers, settings: Any
) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/", "http://unknown.example/"):
            with pytest.raises(requests.ConnectionError) as caught:
                session.get(url, timeout=5)
            assert blocked_cause(caught.value) is None


async def _get(url: str, **options: Any) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(connector=guarded_connector(), trust_env=False) as client,
        client.get(url, allow_redirects=False, **options) as answer,
    ):
        return answer.status, await answer.text()


def test_aiohttp_dials_the_checked_address_under_the_name(server: Any, name_server: Answers, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    name_server("hook.example", ["127.0.0.1"], ["127.0.0.2"])
    assert asyncio.run(_get(f"http://hook.example:{server.server_port}/")) == (200, "ok")
    assert server.hosts == [f"hook.example:{server.server_port}"]


@pytest.mark.parametrize(
    "host", ["evil.example", "mixed.example", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost"]
)
def test_aiohttp_refuses_what_leads_inside(server: Any, name_server: Answers, host: str) -> None:
    name_server("evil.example", ["127.0.0.1"])
    name_server("mixed.example", ["1.1.1.1", "127.0.0.1"])
    with pytest.raises((BlockedAddress, aiohttp.ClientError)):
        asyncio.run(_get(f"http://{host}:{server.server_port}/"))
    assert server.hosts == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
def test_aiohttp_says_that_it_was_the_guard(server: Any, name_server: Answers, host: str) -> None:
    name_server("evil.example", ["127.0.0.1"])
    with pytest.raises((BlockedAddress, aiohttp.ClientError)) as caught:
        asyncio.run(_get(f"http://{host}:{server.server_port}/"))
    _refused(caught.value)


# --- Names that hang ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(name_server: Answers, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[list[str]]:
    """Names that begin with `slow` answer only after the test; what was asked for is in the list."""
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    name_server("good.example", ["127.0.0.1"])
    asked: list[str] = []
    release, answer = Flag(), socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(str(host))
        if str(host).startswith("slow"):
            release.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return answer(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(guard, "LOOKUP_SECONDS", 0.1)
    monkeypatch.setattr(guard, "THREAD_SECONDS", 0.1)
    yield asked
    release.set()


def test_a_name_that_hangs_fails_and_takes_no_further_thread(hanging: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(guard, "monotonic", lambda: now[0])

    async def look_up() -> None:
        resolver = guard.GuardedResolver()
        for seconds in (0, 29.9, 0.2):
            now[0] += seconds
            with pytest.raises(guard.NameTimeout, match="did not answer in time"):
                await resolver.resolve("slow.example", 80)
        monkeypatch.setattr(guard, "LOOKUP_SECONDS", 20.0)  # this one answers, however busy the machine is
        assert [each["host"] for each in await resolver.resolve("good.example", 80)] == ["127.0.0.1"]
        await resolver.close()

    asyncio.run(look_up())
    assert hanging == ["slow.example", "slow.example", "good.example"]


def test_names_that_hang_leave_threads_to_others(hanging: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up() -> None:
        resolver = guard.GuardedResolver()
        slow = [asyncio.create_task(resolver.resolve(f"slow{number}.example", 80)) for number in range(100)]
        await asyncio.sleep(0)  # they all begin, and hang
        monkeypatch.setattr(guard, "LOOKUP_SECONDS", 20.0)  # this one answers, however busy the machine is
        assert await resolver.resolve("good.example", 80)
        ends = await asyncio.gather(*slow, return_exceptions=True)
        assert {type(each) for each in ends} == {guard.NameTimeout}
        await resolver.close()

    asyncio.run(look_up())


def test_without_a_free_thread_nothing_is_said_about_the_name(hanging: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RESOLVER_THREADS", 2)

    async def look_up() -> None:
        resolver = guard.GuardedResolver()
        for number in range(2):
            with pytest.raises(guard.NameTimeout):
                await resolver.resolve(f"slow{number}.example", 80)
        with pytest.raises(guard.ResolverBusy):
            await resolver.resolve("good.example", 80)
        await resolver.close()

    asyncio.run(look_up())
    assert hanging == ["slow0.example", "slow1.example"]


# --- TLS ------------------------------------------------------------------------------------------------------------------


def _certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return pem, context


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Any, str, list[str | None]]]:
    pem, context = _certificate(tmp_path, "secure.example")
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)  # type: ignore[assignment]
    running = _serve(context)
    yield running, str(pem), names
    running.shutdown()
    running.server_close()


def test_the_certificate_is_checked_against_the_name_not_the_address(
    tls: tuple[Any, str, list[str | None]], session: requests.Session, name_server: Answers, settings: Any
) -> None:
    running, pem, names = tls
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    name_server("secure.example", ["127.0.0.1"])
    name_server("other.example", ["127.0.0.1"])
    port = running.server_port
    trusting = ssl.create_default_context(cafile=pem)

    assert session.get(f"https://secure.example:{port}/", timeout=5, verify=pem).status_code == 200
    assert asyncio.run(_get(f"https://secure.example:{port}/", ssl=trusting)) == (200, "ok")
    assert names == ["secure.example", "secure.example"]

    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"https://other.example:{port}/", timeout=5, verify=pem)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        asyncio.run(_get(f"https://other.example:{port}/", ssl=trusting))
    with pytest.raises(aiohttp.ClientConnectorCertificateError):  # nobody vouches for it
        asyncio.run(_get(f"https://secure.example:{port}/"))
    assert len(running.hosts) == 2
