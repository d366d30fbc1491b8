"""Mail through a server that a tenant named: the SMTP conversation under the rules of the outbound client."""

from __future__ import annotations

import io
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from integrations.contracts.adapter import AnswerLost, MailOutcome, MailReply, MailServer
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
)
from integrations.http.client import Exchange, Recorder
from integrations.http.guard import BlockedAddress, check_url, resolve
from integrations.http.masking import Mask
from integrations.http.smtp import Dialogue, read_reply

MAIL_PORTS = frozenset({25, 465, 587})
"""Ports that the URL guard closes, because a mail server listens there."""
OPENING_SECONDS = 20.0
"""How long greeting, TLS and login may take together."""
ADDRESSING_SECONDS = 20.0
"""How long sender and recipients of one message may take together; the time for the answer to its text comes on top."""
DEFERRED_CODES = range(400, 500)
MAX_REPLY_BYTES = 64 * 1024


def tls_context() -> ssl.SSLContext:
    """Return the context of all connections: the system's certificate authorities, host names checked."""
    return ssl.create_default_context()


def check_server(server: MailServer) -> None:
    """Raise `BlockedAddress` unless this server may be dialled as far as its name and port say. Names are resolved later.

    Where the operator wants https only, mail goes by TLS only too.
    """
    if server.security == "none" and settings.OUTBOUND_HTTPS_ONLY:
        raise BlockedAddress("connections in the clear are not allowed here")
    host = f"[{server.host}]" if ":" in server.host else server.host
    check_url(f"https://{host}" if server.port in MAIL_PORTS else f"https://{host}:{server.port}")


class _Replies(io.RawIOBase):
    """The server's side of a connection, read up to a moment: one that drips bytes must not hold a worker for as long as it
    likes, which a timeout for each read alone would let it."""

    def __init__(self, smtp: _GuardedSMTP) -> None:
        self._smtp = smtp

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        sock = self._smtp.sock
        left = self._smtp.deadline - time.monotonic()
        if sock is None or left <= 0:
            raise TimeoutError("the mail server is too slow")
        sock.settimeout(min(left, self._smtp.step_seconds))
        count = sock.recv_into(buffer)
        self._smtp.received += count
        if self._smtp.received > MAX_REPLY_BYTES:
            raise ConnectionAbortedError("the mail server's answer is too long")
        return count


class _GuardedSMTP(smtplib.SMTP):
    """Dials checked addresses only. No answer is waited for longer than `step_seconds`, nor beyond `deadline` (monotonic)."""

    def __init__(self, server: MailServer, *, connect_seconds: float, step_seconds: float) -> None:
        self.deadline = time.monotonic() + OPENING_SECONDS
        self.step_seconds = step_seconds
        self.received = 0
        super().__init__(local_hostname=server.helo, timeout=connect_seconds)
        self._host = server.host  # the name that the certificate must bear; smtplib takes it from its constructor

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        failure: OSError | None = None
        for address in resolve(host, port):
            try:
                left = self.deadline - time.monotonic()
                return socket.create_connection((address, port), max(0.1, min(timeout, left)))
            except OSError as error:
                failure = error
        raise failure or OSError(f"no address for {host}")

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(_Replies(self))
        self.received = 0
        return super().getreply()


class _GuardedSMTPS(_GuardedSMTP):
    """The same, with TLS from the first byte."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return tls_context().wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)


def _connected(server: MailServer, *, provider: str, timeout: tuple[float, float]) -> _GuardedSMTP:
    """Return a connection, greeted, secured and logged in. Raises `ProviderError` and `BlockedAddress`."""
    check_server(server)
    kind = _GuardedSMTPS if server.security == "tls" else _GuardedSMTP
    smtp = kind(server, connect_seconds=timeout[0], step_seconds=timeout[1])
    try:
        _greet(smtp, server, provider)
        return smtp
    except ssl.SSLCertVerificationError as error:
        smtp.close()
        said = f"The mail server's certificate is not trusted: {error.verify_message}."
        raise ProviderUnavailable(said, provider=provider) from error
    except smtplib.SMTPResponseException as error:
        smtp.close()
        said = f"The mail server refused the connection: {read_reply(error.smtp_code, error.smtp_error)}"
        raise ProviderUnavailable(said, provider=provider, provider_code=str(error.smtp_code)) from error
    except smtplib.SMTPNotSupportedError as error:
        smtp.close()
        raise ProviderUnavailable(
            "The mail server offers no STARTTLS; nothing is sent in the clear.", provider=provider
        ) from error
    except OSError as error:
        smtp.close()
        raise ProviderUnavailable(f"The mail server can't be reached ({type(error).__name__}).", provider=provider) from error
    except BaseException:
        smtp.close()
        raise


def _greet(smtp: _GuardedSMTP, server: MailServer, provider: str) -> None:
    code, words = smtp.connect(server.host, server.port)
    if code != 220:
        raise smtplib.SMTPConnectError(code, words)
    smtp.ehlo_or_helo_if_needed()
    if server.security == "starttls":
        smtp.starttls(context=tls_context())
        smtp.ehlo_or_helo_if_needed()
    if server.username:
        _log_in(smtp, server, provider)


def _log_in(smtp: smtplib.SMTP, server: MailServer, provider: str) -> None:
    try:
        smtp.login(server.username, server.password)
    except smtplib.SMTPAuthenticationError as error:
        reply = read_reply(error.smtp_code, error.smtp_error)
        failure = ProviderUnavailable if reply.code in DEFERRED_CODES else AuthenticationFailed
        said = f"The mail server refused the login: {reply}"
        raise failure(said, provider=provider, provider_code=reply.enhanced or str(reply.code)) from error
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPException as error:  # no AUTH, or none of the kinds that we speak
        raise AuthenticationFailed(f"No login is possible at the mail server: {error}", provider=provider) from error
    except UnicodeError as error:
        raise AuthenticationFailed("User name and password must be plain ASCII.", provider=provider) from error


class RecordedSession:
    """The `MailSession` of one connection; see there. Each message is one exchange in the log, its text left out."""

    def __init__(
        self,
        smtp: _GuardedSMTP,
        *,
        provider: str,
        url: str,
        operation: str,
        mask: Mask,
        recorder: Recorder,
        before_effect: Callable[[], None] | None,
    ) -> None:
        self._smtp = smtp
        self._dialogue = Dialogue(smtp, name=provider)
        self._provider = provider
        self._url = url
        self._operation = operation
        self._mask = mask
        self._recorder = recorder
        self._before_effect = before_effect
        self._begun = False

    def send(self, *, sender: str, recipients: Sequence[str], text: bytes, message_id: str) -> MailOutcome:
        if not self._dialogue.is_open:
            raise ProviderUnavailable("The mail server has closed the connection.", provider=self._provider)
        exchange = Exchange(
            operation=self._operation,
            method="MAIL",
            url=self._url,
            request_headers=self._mask.headers({"From": sender, "To": ", ".join(recipients), "Message-ID": message_id}),
            request_body=f"[a message of {len(text)} bytes]",
        )
        with _recorded(exchange, self._recorder, self._mask):
            try:
                outcome = self._exchange(sender, recipients, text)
            except AnswerLost as error:
                exchange.response_body = self._said(recipients, error.outcome)
                raise
            said = [outcome.text, *outcome.recipients, outcome.sender]
            # What the message came to: the answer to its text; else to whom it could not go, or from whom it could not come.
            exchange.status_code = next((each.code for each in said if each is not None), None)
            exchange.response_body = self._said(recipients, outcome)
        return outcome

    def _said(self, recipients: Sequence[str], outcome: MailOutcome) -> str:
        """Return the server's answers for the log, a line for each step."""
        lines = [f"MAIL: {outcome.sender}"]
        lines += [f"RCPT {to}: {each}" for to, each in zip(recipients, outcome.recipients, strict=False)]
        lines += [f"DATA: {outcome.text}"] if outcome.text else []
        return self._mask.body("\n".join(lines), "text/plain")

    def noop(self) -> MailReply:
        self._smtp.deadline = time.monotonic() + ADDRESSING_SECONDS
        return self._dialogue.noop()

    def close(self) -> None:
        self._smtp.deadline = time.monotonic() + 2
        self._dialogue.goodbye()

    def _exchange(self, sender: str, recipients: Sequence[str], text: bytes) -> MailOutcome:
        self._smtp.deadline = time.monotonic() + ADDRESSING_SECONDS
        if self._begun:
            self._dialogue.reset()
        self._begun = True
        from_ = self._dialogue.sender(sender, len(text))
        if not from_.ok:
            return MailOutcome(from_)
        answers: list[MailReply] = []
        for recipient in recipients:
            answers.append(self._dialogue.recipient(recipient))
            if not self._dialogue.is_open:
                return MailOutcome(from_, tuple(answers))
        if not any(each.ok for each in answers):
            return MailOutcome(from_, tuple(answers))
        if time.monotonic() > self._smtp.deadline:
            raise ProviderUnavailable("The mail server is too slow.", provider=self._provider)
        if self._before_effect is not None:
            self._before_effect()
        # Sending a large text over a slow line, and the answer to it, may each take as long as one answer may.
        self._smtp.deadline = time.monotonic() + 2 * self._smtp.step_seconds
        try:
            answer = self._dialogue.offer(text, seconds=self._smtp.step_seconds)
        except OutcomeUnknown as error:
            self._dialogue.hang_up()
            said = MailOutcome(from_, tuple(answers))
            raise AnswerLost(error.message, provider=self._provider, outcome=said) from error
        return MailOutcome(from_, tuple(answers), answer)


@contextmanager
def _recorded(exchange: Exchange, recorder: Recorder, mask: Mask) -> Iterator[None]:
    """Write the exchange down before and after the block, with the error that it ends in."""
    recorder.started(exchange)
    begun = time.monotonic()
    try:
        yield
    except ProviderError as error:
        error.message = mask.text(error.message)
        error.args = (error.message,)
        exchange.error = error.message
        exchange.timed_out = _timed_out(error)
        raise
    except BaseException as error:
        exchange.error = type(error).__name__
        raise
    finally:
        exchange.duration_ms = int((time.monotonic() - begun) * 1000)
        recorder.finished(exchange)


def _timed_out(error: BaseException | None) -> bool:
    """Tell whether a timeout is behind this error; smtplib puts errors of its own around those of the socket."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def session(
    server: MailServer,
    *,
    provider: str,
    operation: str,
    mask: Mask,
    recorder: Recorder,
    timeout: tuple[float, float],
    before_effect: Callable[[], None] | None,
) -> Iterator[RecordedSession]:
    """See `MailPort.mail`. Connecting and logging in are an exchange of their own in the log."""
    if server.password:
        mask.add(server.password)
    scheme = "smtps://" if server.security == "tls" else "smtp://"
    url = f"{scheme}{server.host}:{server.port}"
    login = {"Security": server.security, "Login": server.username}
    exchange = Exchange(operation, "CONNECT", url, mask.headers({name: value for name, value in login.items() if value}), "")
    with _recorded(exchange, recorder, mask):
        try:
            smtp = _connected(server, provider=provider, timeout=timeout)
        except BlockedAddress as error:
            raise InvalidRequest(f"The address is not allowed: {error}", provider=provider) from error
        exchange.status_code = 220
    opened = RecordedSession(
        smtp, provider=provider, url=url, operation=operation, mask=mask, recorder=recorder, before_effect=before_effect
    )
    try:
        yield opened
    finally:
        opened.close()
