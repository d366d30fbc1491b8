"""The adapter and the hub's client against a mail server that others wrote (aiosmtpd), and against peers that misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from integrations.contracts.adapter import ConfigView, MailServer
from integrations.contracts.email import Envelope
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from integrations.contracts.messaging import MessageState, SuppressReason, Target
from integrations.http import client, mail
from integrations.http.client import HttpClient, NetworkInsideTransaction
from integrations.http.masking import Mask
from integrations.providers.smtp.tests import certificates
from integrations.providers.smtp.tests.conftest import (
    ANN,
    BOUNCE_SECRET,
    JANE,
    JOE,
    PASSWORD,
    Recorded,
    make_adapter,
    message,
    target,
    view,
)
from tests.payments.mail_server import ACCEPTED
from tests.payments.mail_server import MailServer as Server

SENT, FAILED, UNKNOWN = MessageState.SENT, MessageState.FAILED, MessageState.UNKNOWN


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.stop()


@pytest.fixture
def recorder() -> Recorded:
    return Recorded()


def config(server: Server, **changes: Any) -> ConfigView:
    return view(**{"base_url": f"127.0.0.1:{server.port}", "security": "none", **changes})


def check_login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = (data.login, data.password) == (b"hub", PASSWORD.encode())
    return AuthResult(success=good, handled=False, message=None if good else "535 5.7.8 bad login")


# --- TLS and login


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    def trust(file: Path) -> None:
        monkeypatch.setattr(mail, "tls_context", lambda: ssl.create_default_context(cafile=str(file)))

    return trust


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_secured_and_logged_in_connection(
    server: Server, trusted: Callable[[Path], None], tmp_path: Path, security: str, recorder: Recorded
) -> None:
    context, file = certificates.make(tmp_path)
    trusted(file)
    if security == "starttls":
        server.start(tls_context=context, require_starttls=True, authenticator=check_login)
    else:
        server.start(ssl_context=context, authenticator=check_login, auth_require_tls=False)
    adapter = make_adapter(config(server, security=security, username="hub", password=PASSWORD), recorder)
    assert adapter.send(message()).recipients[0].state is SENT
    assert server.envelopes == [("office@school.example", [JANE])]
    scheme = "smtps" if security == "tls" else "smtp"
    assert {each.url for each in recorder.exchanges} == {f"{scheme}://127.0.0.1:{server.port}"}
    words = {"tls": "by TLS", "starttls": "by STARTTLS"}[security]
    assert adapter.test_connection().detail.startswith(f"Signed in as hub at 127.0.0.1:{server.port}, {words}.")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for(server: Server, tmp_path: Path, security: str) -> None:
    context, _file = certificates.make(tmp_path)
    options: dict[str, Any] = {"tls_context": context} if security == "starttls" else {"ssl_context": context}
    server.start(authenticator=check_login, auth_require_tls=False, **options)
    with pytest.raises(ProviderUnavailable, match="certificate is not trusted: self"):
        make_adapter(config(server, security=security, username="hub", password=PASSWORD)).send(message())
    assert server.received == []


def test_a_certificate_of_another_host(
    server: Server, trusted: Callable[[Path], None], tmp_path: Path, recorder: Recorded
) -> None:
    context, file = certificates.make(tmp_path, address="127.0.0.9")
    trusted(file)
    server.start(tls_context=context)
    with pytest.raises(ProviderUnavailable, match="certificate is not trusted: IP address mismatch"):
        make_adapter(config(server, security="starttls"), recorder).send(message())
    assert (server.received, recorder.marks) == ([], 0)


def test_without_starttls_nothing_goes_out_in_the_clear(server: Server) -> None:
    server.start(authenticator=check_login, auth_require_tls=False)
    with pytest.raises(ProviderUnavailable, match="no STARTTLS"):
        make_adapter(config(server, security="starttls", username="hub", password=PASSWORD)).send(message())
    assert server.received == []


def test_a_refused_login(server: Server, recorder: Recorded) -> None:
    server.start(authenticator=check_login, auth_require_tls=False)
    with pytest.raises(AuthenticationFailed) as caught:
        make_adapter(config(server, username="hub", password="canary-wrong-77"), recorder).send(message())
    assert (caught.value.message, caught.value.provider_code) == (
        "The mail server refused the login: 535 5.7.8 bad login", "5.7.8",
    )  # fmt: skip
    assert "canary" not in str([recorder.exchanges[0].error, recorder.exchanges[0].request_headers])
    assert (server.received, recorder.marks) == ([], 0)


def test_a_server_that_knows_no_login(server: Server) -> None:
    server.start()
    with pytest.raises(AuthenticationFailed, match="No login is possible"):
        make_adapter(config(server, username="hub", password=PASSWORD)).send(message())


# --- verdicts


class Choosy(Server):
    """Answers each recipient as `verdicts` says."""

    def __init__(self) -> None:
        super().__init__()
        self.verdicts: dict[str, str] = {}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        answer = self.verdicts.get(address, "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer


@pytest.fixture
def choosy() -> Iterator[Choosy]:
    found = Choosy()
    found.start()
    yield found
    found.stop()


def test_a_partial_refusal_is_never_silent(choosy: Choosy) -> None:
    choosy.verdicts = {JOE: "550 5.1.1 no such user", ANN: "450 4.2.0 greylisted"}
    envelope = Envelope(to=(Target(JANE), Target(JOE)), cc=(Target(ANN),), message_id="a@school.example")
    results = make_adapter(config(choosy)).send(message(envelopes=(envelope,))).recipients
    assert [(each.address, each.state, each.retryable, each.suppress) for each in results] == [
        (JANE, SENT, False, None),
        (JOE, FAILED, False, SuppressReason.HARD_BOUNCE),
        (ANN, FAILED, True, None),
    ]
    assert choosy.envelopes == [("office@school.example", [JANE])]
    assert choosy.received[0]["To"] == f"{JANE}, {JOE}"
    assert choosy.received[0]["Cc"] == ANN


def test_nobody_taken_means_nothing_offered(choosy: Choosy, recorder: Recorded) -> None:
    choosy.verdicts = dict.fromkeys((JANE, JOE), "550 5.7.1 not welcome")
    results = make_adapter(config(choosy), recorder).send(message(JANE, JOE)).recipients
    assert [(each.state, each.retryable, each.suppress) for each in results] == [(FAILED, False, None)] * 2
    assert (choosy.received, recorder.marks, choosy.connections) == ([], 0, 1)
    assert [each.status_code for each in recorder.of("MAIL")] == [550, 550]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("530 5.7.0 log in first", AuthenticationFailed),
        ("550 5.7.1 sender not allowed", InvalidRequest),
        ("552 5.3.4 too large", InvalidRequest),
        ("451 4.3.0 later", ProviderUnavailable),
        ("421 4.3.2 shutting down", ProviderUnavailable),
        ("450 4.7.1 too many", RateLimited),
    ],
)
def test_a_refused_sender_concerns_everybody(
    server: Server, recorder: Recorded, reply: str, error: type[ProviderError]
) -> None:
    server.start()
    server.answers["MAIL"] = reply
    with pytest.raises(error) as caught:
        make_adapter(config(server), recorder).send(message(JANE, JOE))
    assert type(caught.value) is error
    assert reply in caught.value.message
    assert caught.value.provider_code == reply.split()[1]
    assert (server.received, recorder.marks) == ([], 0)


@pytest.mark.parametrize(
    ("reply", "retryable", "suppress"),
    [
        ("451 4.3.0 later", True, None),
        ("554 5.7.1 spam", False, None),
        ("550 5.1.1 it was nobody after all", False, SuppressReason.HARD_BOUNCE),
        ("552 mailbox full", False, None),
    ],
)
def test_a_refused_text(server: Server, reply: str, retryable: bool, suppress: SuppressReason | None) -> None:
    server.start()
    server.answers["DATA"] = reply
    (result,) = make_adapter(config(server)).send(message()).recipients
    assert (result.state, result.detail, result.retryable, result.suppress) == (FAILED, reply, retryable, suppress)
    both = Envelope(to=(Target(JANE), Target(JOE)), message_id="a@school.example")
    results = make_adapter(config(server)).send(message(envelopes=(both,))).recipients
    assert [each.suppress for each in results] == [None, None], "the answer to a text names nobody"


def test_a_connection_lost_after_the_text(server: Server, recorder: Recorded) -> None:
    server.start()
    server.answers["DATA"] = "hang up"
    with pytest.raises(OutcomeUnknown) as caught:
        make_adapter(config(server), recorder).send(message())
    assert caught.value.message == "The message was sent, but the mail server did not answer (SMTPServerDisconnected)."
    assert (len(server.received), recorder.marks, server.connections) == (1, 1, 1)


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
def test_a_connection_lost_before_the_text(server: Server, recorder: Recorded, step: str) -> None:
    server.start()
    server.answers[step] = "hang up"
    with pytest.raises(ProviderUnavailable):
        make_adapter(config(server), recorder).send(message(JANE, JOE))
    assert (server.received, recorder.marks) == ([], 0)


def test_the_return_address_carries_the_note_only_with_a_bounce_domain(server: Server) -> None:
    server.start()
    with_domain = {"bounce_domain": "bounce.school.example", "bounce_secret": BOUNCE_SECRET}
    make_adapter(config(server, **with_domain)).send(message(target(JANE, "rcp_1"), JOE, target(ANN, "x" * 64)))
    make_adapter(config(server)).send(message(target(JANE, "rcp_1")))
    senders = [sender for sender, _to in server.envelopes]
    assert senders[0].startswith("b+rcp_1.")
    assert senders[0].endswith("@bounce.school.example")
    assert senders[1:] == ["office@school.example"] * 3, "no note, a note that does not fit, no bounce domain"
    assert {each["From"] for each in server.received} == {"Springfield School <office@school.example>"}


def test_the_servers_answer_is_kept(server: Server) -> None:
    server.start()
    (result,) = make_adapter(config(server)).send(message()).recipients
    assert (result.detail, result.provider_code, result.provider_ref) == (ACCEPTED, "2.0.0", "msg_1.0@school.example")


# --- the client's own promises


def test_private_addresses_are_refused(server: Server, settings: Any, recorder: Recorded) -> None:
    server.start()
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    for host in ("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "0x7f.1", "2130706433"):
        with pytest.raises(InvalidRequest, match="not allowed"):
            make_adapter(config(server, base_url=f"{host}:{server.port}"), recorder).send(message())
    assert (server.connections, recorder.marks) == (0, 0)


@pytest.mark.parametrize("port", [22, 80 + 30, 5432, 6379, 11211])
def test_ports_of_other_services_are_refused(server: Server, port: int) -> None:
    with pytest.raises(InvalidRequest, match="not allowed"):
        make_adapter(config(server, base_url=f"127.0.0.1:{port}")).send(message())


@pytest.mark.parametrize("port", [25, 465, 587])
def test_mail_ports_are_allowed(port: int) -> None:
    mail.check_server(MailServer("mail.example.org", port, "tls"))


def test_where_the_operator_wants_tls_nothing_goes_in_the_clear(server: Server, settings: Any) -> None:
    server.start()
    settings.OUTBOUND_HTTPS_ONLY = True
    with pytest.raises(InvalidRequest, match="in the clear"):
        make_adapter(config(server)).send(message())
    assert server.connections == 0


def test_never_inside_a_transaction(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NetworkInsideTransaction("a transaction is open")

    server.start()
    monkeypatch.setattr(client, "refuse_inside_transaction", refuse)
    with pytest.raises(NetworkInsideTransaction):
        make_adapter(config(server)).send(message())
    assert server.connections == 0


def test_a_mark_that_fails_stops_the_mail(server: Server) -> None:
    server.start()

    def lost_lease() -> None:
        raise RuntimeError("another worker has it")

    view_ = config(server)
    http = HttpClient(provider="smtp", base_url="", mask=Mask(), recorder=Recorded(), timeout=(2, 2), before_effect=lost_lease)
    adapter = make_adapter(view_)
    adapter.http = http
    with pytest.raises(RuntimeError):
        adapter.send(message())
    assert server.received == []


class Peer:
    """A peer that says what `script` does with the accepted connection, then closes it."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._script = script
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _address = self._listener.accept()
        with closing(connection), closing(self._listener):
            try:
                self._script(connection)
            except OSError:
                return


def test_a_peer_that_drips_does_not_hold_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"220-")
        while not over.wait(0.05):
            connection.sendall(b"x")

    monkeypatch.setattr(mail, "OPENING_SECONDS", 0.5)
    peer = Peer(drip)
    with pytest.raises(ProviderUnavailable):
        make_adapter(view(base_url=f"127.0.0.1:{peer.port}", security="none")).send(message())
    over.set()


def test_a_peer_that_talks_without_end(recorder: Recorded) -> None:
    def flood(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"220-welcome\r\n" * 1000)

    peer = Peer(flood)
    with pytest.raises(ProviderUnavailable):
        make_adapter(view(base_url=f"127.0.0.1:{peer.port}", security="none"), recorder).send(message())


def test_a_peer_that_is_no_mail_server() -> None:
    peer = Peer(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"))
    with pytest.raises(ProviderUnavailable):
        make_adapter(view(base_url=f"127.0.0.1:{peer.port}", security="none")).send(message())


def test_lines_that_begin_with_a_dot_arrive_whole(server: Server) -> None:
    server.start()
    make_adapter(config(server)).send(message(text="one\n.\n.two\n..three\nend\n"))
    assert server.received[0].get_content() == "one\r\n.\r\n.two\r\n..three\r\nend\r\n"
