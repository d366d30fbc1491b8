"""Mail through the installation's own server. One message, one try; whoever calls decides about another.

A mail server can't be asked afterwards whether it took a message, so that everything hangs on where a try broke off: before
the message's text was offered nothing can have been sent, after it only the server's answer tells.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable
from email.utils import formataddr, parseaddr
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

from integrations.contracts.adapter import MailReply
from integrations.contracts.errors import (
    AuthenticationFailed,
    Declined,
    NotConfigured,
    OutcomeUnknown,
    ProviderUnavailable,
)
from integrations.http.client import refuse_inside_transaction
from integrations.http.smtp import Dialogue, one_line, read_reply

NAME = "mail server"
_SEND = attrgetter("_send")
GREETING_SECONDS = 40.0
"""How long the conversation may take before the text is offered: a try must end well before the worker's own time does."""
ANSWER_SECONDS = 45.0
"""How long to wait for the answer to the text. Servers look for spam and viruses meanwhile; not to wait means not to know."""


def is_set_up() -> bool:
    """Tell whether this installation can send mail at all."""
    return bool(settings.MAIL_ENABLED)


def check_set_up() -> None:
    """Raise `NotConfigured` where no mail server is set up."""
    if not is_set_up():
        raise NotConfigured("No mail server is set up.", attr="channel")


def sender(name: str) -> str:
    """Return the installation's address under `name`, for a From header."""
    return formataddr((one_line(name), sender_address()))


def sender_address() -> str:
    """Return the bare address that mail comes from."""
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1]


def send(message: EmailMessage, begin: Callable[[], None]) -> str:
    """Hand `message` to the mail server and return its answer (empty where the backend gives none).

    `begin` is called once, right before the message's text is offered; what it raises stops the try with nothing sent. Called
    outside of any transaction. Raises `NotConfigured`; `ProviderUnavailable` (certainly not sent, worth another try);
    `AuthenticationFailed`; `Declined` (the server refuses this message or its recipient for good); `OutcomeUnknown`.
    """
    refuse_inside_transaction()
    check_set_up()
    connection = get_connection(fail_silently=False)
    # A subclass that sends in a way of its own is left to it: what it does between the lines is not known here.
    if isinstance(connection, EmailBackend) and _SEND(type(connection)) is _SEND(EmailBackend):
        return _send_by_smtp(connection, message, begin)
    begin()
    try:
        taken = connection.send_messages([message])
    except Exception as error:
        raise OutcomeUnknown(f"The mail backend broke off ({type(error).__name__}).", provider=NAME) from error
    if not taken:
        raise OutcomeUnknown("The mail backend did not say that it took the message.", provider=NAME)
    return ""


def _send_by_smtp(backend: EmailBackend, message: EmailMessage, begin: Callable[[], None]) -> str:
    encoding = message.encoding or settings.DEFAULT_CHARSET
    recipients = [sanitize_address(address, encoding) for address in message.recipients()]
    whole: Any = message.message()  # of Django's own class, whose `as_bytes` takes line ends
    text = whole.as_bytes(linesep="\r\n")
    begun = time.monotonic()
    dialogue = Dialogue(_open(backend), name=NAME)
    try:
        _accepted(dialogue.sender(sanitize_address(sender_address(), encoding), len(text)), "the sender")
        for recipient in recipients:
            _accepted(dialogue.recipient(recipient), "the recipient")
        if not dialogue.is_open or time.monotonic() - begun > GREETING_SECONDS:
            raise ProviderUnavailable("The mail server is too slow.", provider=NAME)
        begin()
        answer = dialogue.offer(text, seconds=ANSWER_SECONDS)
        _accepted(answer, "the message")
        return str(answer)
    finally:
        dialogue.goodbye()


def _open(backend: EmailBackend) -> smtplib.SMTP:
    """Connect, with TLS and login as set up."""
    try:
        backend.open()
    except smtplib.SMTPAuthenticationError as error:
        failure = AuthenticationFailed if error.smtp_code >= 500 else ProviderUnavailable
        text = f"The mail server refused the login: {read_reply(error.smtp_code, error.smtp_error)}"
        raise failure(text, provider=NAME) from error
    except OSError as error:
        raise ProviderUnavailable(f"The mail server can't be reached ({type(error).__name__}).", provider=NAME) from error
    smtp = backend.connection
    assert smtp is not None  # noqa: S101 tells the type checker that `open` raises instead
    return smtp


def _accepted(answer: MailReply, what: str) -> None:
    """Raise what a refusal means: 5xx is for good (RFC 5321, 4.2.1), everything else may be better later."""
    if not answer.ok:
        failure = Declined if 500 <= answer.code < 600 else ProviderUnavailable
        raise failure(f"The mail server refused {what}: {answer}", provider=NAME, provider_code=str(answer.code))
