"""A real SMTP server on loopback that takes mail, refuses it, or goes away in the middle."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

ACCEPTED = "250 2.0.0 queued as 4CxQ"


class MailServer:
    """What the server does with a step (`answers[step]`: its reply, or `hang up`), and what it got.

    `received`: messages whose text came in whole; `offered`: how often a text was begun.
    """

    def __init__(self) -> None:
        # Held to the end, without listening: while the server is away nobody else can be there in its place.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]
        self.answers: dict[str, str] = {}
        self.received: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.connections = 0
        self._controller: Controller | None = None

    def start(self, **options: Any) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)
        self._controller.start()
        self.connections = 0  # the controller has tried it once

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def close(self) -> None:
        self.stop()
        self._place.close()

    # --- what the server asks its handler ------------------------------------------------------------------------------

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> list[str]:  # noqa: N802
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self._answer(server, "MAIL", "250 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        answer = self._answer(server, "RCPT", "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.received.append(message)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
        return self._answer(server, "DATA", ACCEPTED)

    def _answer(self, server: Any, step: str, usual: str) -> str:
        answer = self.answers.get(step, usual)
        if answer == "hang up":
            server.transport.abort()
            return usual
        return answer


def refuse_login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=False, handled=False, message="535 5.7.8 bad password")


@contextmanager
def running_mail_server(settings: Any) -> Iterator[MailServer]:
    """A server that the hub is set up to use."""
    server = MailServer()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    settings.MAIL_ENABLED = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_TIMEOUT = 5
    settings.DEFAULT_FROM_EMAIL = "The hub <receipts@hub.example.org>"
    try:
        yield server
    finally:
        server.close()
