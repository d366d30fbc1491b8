"""SMTP as an e-mail provider (RFC 5321, RFC 6409): every recipient's own verdict, nothing ever sent twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime

from integrations.contracts.adapter import AnswerLost, MailOutcome, MailPort, MailReply, MailServer, MailSession, TestResult
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import EmailAdapter, EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, SuppressReason, Target
from integrations.contracts.wire import WireError
from integrations.providers.smtp import verp
from integrations.providers.smtp.codes import AUTHENTICATION, code_of, meaning_of
from integrations.providers.smtp.compose import BadAddress, compose, wire_address
from integrations.providers.smtp.provider import DEFAULT_SECURITY, PORTS, split_server

LATER = 60.0
"""Seconds after which a recipient whose turn did not come is tried again."""
BATCH_SECONDS = 30.0
"""No further message is begun so long after the first. With a server that is slow at every step a call so takes two and a half
minutes at most: connecting 20 s, these 30 s, then 20 s for addresses and 80 s for text and answer of the last message."""


@dataclass(frozen=True, slots=True)
class _Mail:
    """One transaction: what is said to the server at once. `slots` are the recipients' places in the result."""

    envelope: Envelope
    sender: str
    message_id: str
    recipients: tuple[str, ...]
    slots: tuple[int, ...]


@dataclass(slots=True)
class _Verdicts:
    """The results as they come in, in the order of the message's recipients; `begun`: the server has had
    its say on somebody, so that the call must return what is known."""

    targets: Sequence[Target]
    found: dict[int, RecipientResult] = field(default_factory=dict)
    begun: bool = False

    def failed(self, slot: int, detail: str, **more: object) -> None:
        address = self.targets[slot].address
        self.found[slot] = RecipientResult(address, MessageState.FAILED, detail=detail, **more)  # type: ignore[arg-type]

    def later(self, slots: Sequence[int], detail: str) -> None:
        for slot in slots:
            self.failed(slot, detail, retryable=True, retry_after=LATER)


@dataclass(slots=True)
class _Composer:
    """Builds texts when their turn comes: a batch with attachments is never in memory whole. All bear the time of the call."""

    message: EmailMessage
    sender: Mailbox
    provider: str
    at: datetime
    _last: tuple[str, bytes] = ("", b"")

    def text_of(self, mail: _Mail) -> bytes:
        """Return the text of a transaction; those of one envelope follow each other and share it. Raises `InvalidRequest`."""
        if self._last[0] != mail.message_id:
            text = compose(
                self.message,
                mail.envelope,
                sender=self.sender,
                message_id=mail.message_id,
                at=self.at,
                provider=self.provider,
            )
            self._last = (mail.message_id, text)
        return self._last[1]


class SmtpEmail(EmailAdapter):
    """One connection a call, one message after the other. Without a bounce domain an envelope is one message to all of its
    recipients; with one, each recipient's copy has a return address of its own, and so a transaction of its own.

    SMTP has no idempotency key and can't be asked: a recipient whose answer was lost is UNKNOWN until a bounce or a person
    tells.
    """

    batch_size = 20

    def send(self, message: EmailMessage) -> SendResult:
        """Send once. `provider_ref` is the Message-ID.

        Raises `InvalidRequest`, `AuthenticationFailed`, `ProviderUnavailable` where nothing was sent to anybody;
        `OutcomeUnknown` where that is so of a message with a single transaction. Else each recipient has its verdict.
        """
        self._check(message)
        verdicts = _Verdicts(message.recipients)
        sender = self._sender(message)
        mails = self._mails(message, sender.address, verdicts)
        if mails:
            self._send_all(mails, _Composer(message, sender, self._provider, self.clock()), verdicts)
        return SendResult(tuple(verdicts.found[slot] for slot in range(len(verdicts.targets))))

    def test_connection(self) -> TestResult:
        """Connect, secure, log in, ask whether the server listens; send nothing."""
        server = self._server()
        with self._mail(server, "test_connection") as session:
            answer = session.noop()
        if not answer.ok:
            raise ProviderUnavailable(f"The mail server does not listen: {answer}", provider=self._provider)
        who = f"Signed in as {server.username}" if server.username else "Connected without a login"
        how = {"tls": "by TLS", "starttls": "by STARTTLS", "none": "in the clear"}[server.security]
        bounces = "" if self.config.get("bounce_domain") else " No bounce domain is set: bounces are not seen."
        return TestResult(ok=True, status="ok", detail=f"{who} at {server.host}:{server.port}, {how}.{bounces}")

    # --- what is sent

    @property
    def _provider(self) -> str:
        return self.config.provider

    def _check(self, message: EmailMessage) -> None:
        provider = self._provider
        if message.template_id:
            raise InvalidRequest("A mail server knows no templates.", provider=provider, attr="template")
        if not 1 <= len(message.envelopes) <= self.batch_size:
            raise InvalidRequest(f"Between 1 and {self.batch_size} envelopes.", provider=provider, attr="to")
        if not all(each.recipients for each in message.envelopes) or len(message.recipients) > self.recipient_limit:
            raise InvalidRequest(f"Between 1 and {self.recipient_limit} recipients.", provider=provider, attr="to")
        if any(media.url and not media.content for media in message.attachments):
            raise InvalidRequest("A mail server fetches no files: attach them.", provider=provider, attr="attachments")
        if sum(len(media.content) for media in message.attachments) > self.attachment_limit:
            raise InvalidRequest("The attachments are too large.", provider=provider, attr="attachments")

    def _sender(self, message: EmailMessage) -> Mailbox:
        address = message.sender.address or str(self.config.get("sender_address") or "")
        if not address:
            raise InvalidRequest("The message has no sender.", provider=self._provider, attr="from")
        try:
            return Mailbox(wire_address(address), message.sender.name)
        except BadAddress as error:
            raise InvalidRequest(f"The sender can't be used: {error}.", provider=self._provider, attr="from") from error

    def _mails(self, message: EmailMessage, sender: str, verdicts: _Verdicts) -> list[_Mail]:
        """Return the transactions to make. Recipients who can't be written to at all have their verdict after this."""
        domain = sender.rpartition("@")[2]
        mails: list[_Mail] = []
        slot = 0
        for number, envelope in enumerate(message.envelopes):
            # The core names every envelope; should it not, the id still must differ among them and be the same at each try.
            message_id = envelope.message_id or f"{message.message_id}.{number}@{domain}"
            named: list[tuple[int, str, str]] = []
            for target in envelope.recipients:
                try:
                    named.append((slot, wire_address(target.address), self._return_address(target)))
                except BadAddress as error:
                    verdicts.failed(
                        slot, f"The address can't be used: {error}.", provider_code="5.1.3", suppress=SuppressReason.INVALID
                    )
                slot += 1
            mails += self._transactions(envelope, named, sender, message_id)
        return mails

    def _transactions(self, envelope: Envelope, named: list[tuple[int, str, str]], sender: str, message_id: str) -> list[_Mail]:
        shared = [each for each in named if not each[2]]
        mails = [_Mail(envelope, back, message_id, (to,), (slot,)) for slot, to, back in named if back]
        if shared:
            slots, addresses = tuple(each[0] for each in shared), tuple(each[1] for each in shared)
            mails.append(_Mail(envelope, sender, message_id, addresses, slots))
        return mails

    def _return_address(self, target: Target) -> str:
        domain, secret = str(self.config.get("bounce_domain") or ""), str(self.config.get("bounce_secret") or "")
        return verp.address(target.ref, domain=domain, secret=secret)

    # --- how

    def _send_all(self, mails: list[_Mail], composer: _Composer, verdicts: _Verdicts) -> None:
        server = self._server()
        begun = self.clock()
        composer.text_of(mails[0])  # what is wrong with the message shows before anybody is called
        with self._mail(server, "send") as session:
            for number, mail in enumerate(mails):
                rest = [slot for each in mails[number:] for slot in each.slots]
                if number and (self.clock() - begun).total_seconds() > BATCH_SECONDS:
                    verdicts.later(rest, "The mail server is slow: this one's turn did not come.")
                    return
                try:
                    text = composer.text_of(mail)
                    outcome = session.send(
                        sender=mail.sender, recipients=mail.recipients, text=text, message_id=f"<{mail.message_id}>"
                    )
                except InvalidRequest as error:
                    if not verdicts.begun:
                        raise
                    for slot in mail.slots:
                        verdicts.failed(slot, error.message, provider_code=error.code)
                    continue
                except ProviderUnavailable as error:
                    if not verdicts.begun:
                        raise
                    verdicts.later(rest, error.message)
                    return
                except AnswerLost as error:
                    if len(mails) == 1 and all(each.ok for each in error.outcome.recipients):
                        raise
                    self._judge(mail, error.outcome, verdicts, lost=error.message)
                    verdicts.later(rest[len(mail.slots) :], "The connection broke before this one's turn came.")
                    return
                self._judge(mail, outcome, verdicts)

    def _judge(self, mail: _Mail, outcome: MailOutcome, verdicts: _Verdicts, *, lost: str = "") -> None:
        """Write down what one transaction came to. Raises what concerns every recipient, as long as nobody has a verdict."""
        nobody = not any(each.ok for each in outcome.recipients)
        wants_login = [each for each in outcome.recipients if each.code in AUTHENTICATION]
        if not verdicts.begun and nobody and (wants_login or not outcome.sender.ok):
            raise self._refusal(outcome.sender if not outcome.sender.ok else wants_login[0])
        verdicts.begun = True
        if not outcome.sender.ok:
            for slot in mail.slots:
                self._refused(slot, outcome.sender, verdicts, about_recipient=False)
            return
        taken = [slot for slot, said in zip(mail.slots, outcome.recipients, strict=False) if said.ok]
        for slot, said in zip(mail.slots, outcome.recipients, strict=False):
            if not said.ok:
                self._refused(slot, said, verdicts, about_recipient=True)
        verdicts.later(
            mail.slots[len(outcome.recipients) :], "The mail server closed the connection before this one's turn came."
        )
        for slot in taken:
            self._settle(slot, mail, outcome.text, verdicts, lost=lost, alone=len(taken) == 1)

    def _settle(self, slot: int, mail: _Mail, answer: MailReply | None, verdicts: _Verdicts, *, lost: str, alone: bool) -> None:
        """Give a recipient whom the server took the verdict on the text."""
        address = verdicts.targets[slot].address
        if lost:
            state, code, detail = MessageState.UNKNOWN, "", lost
        elif answer is None:
            verdicts.later([slot], "The mail server closed the connection before the text was offered.")
            return
        elif answer.ok:
            state, code, detail = MessageState.SENT, code_of(answer), str(answer)
        else:
            # An answer to the text speaks of all recipients at once: only where there is one is it about his mailbox.
            self._refused(slot, answer, verdicts, about_recipient=alone)
            return
        verdicts.found[slot] = RecipientResult(address, state, provider_ref=mail.message_id, provider_code=code, detail=detail)

    def _refused(self, slot: int, reply: MailReply, verdicts: _Verdicts, *, about_recipient: bool) -> None:
        meaning = meaning_of(reply)
        verdicts.failed(
            slot,
            str(reply),
            provider_code=code_of(reply),
            retryable=meaning.temporary,
            retry_after=meaning.retry_after,
            suppress=meaning.suppress if about_recipient else None,
        )

    def _refusal(self, reply: MailReply) -> ProviderError:
        """Return what it means that the server takes nothing from us at all."""
        provider, code = self._provider, code_of(reply)
        if reply.code in AUTHENTICATION:
            return AuthenticationFailed(f"The mail server wants a login: {reply}", provider=provider, provider_code=code)
        if code.startswith("4.7."):
            text = f"The mail server takes no more for now: {reply}"
            return RateLimited(text, provider=provider, provider_code=code, retry_after=LATER)
        if not code.startswith("5"):
            return ProviderUnavailable(f"The mail server refused the sender: {reply}", provider=provider, provider_code=code)
        if code in {"5.3.4", "552"}:
            text = f"The message is too large for the mail server: {reply}"
            return InvalidRequest(text, provider=provider, provider_code=code, attr="message")
        text = f"The mail server refused the sender: {reply}"
        return InvalidRequest(text, provider=provider, provider_code=code, attr="from")

    def _mail(self, server: MailServer, operation: str) -> AbstractContextManager[MailSession]:
        if not isinstance(self.http, MailPort):
            raise UnsupportedOperation("This client speaks no SMTP.", provider=self._provider)
        return self.http.mail(server, operation=operation)

    def _server(self) -> MailServer:
        """Return where to send; in the simulator's environment the simulator tells (its port is any free one)."""
        config = self.config
        security = str(config.get("security") or DEFAULT_SECURITY)
        helo = str(config.get("sender_address") or "").rpartition("@")[2] or str(config.get("bounce_domain") or "")
        if config.environment is Environment.SIMULATOR:
            host, port, security = *self._simulated(), "none"
        else:
            host, given = split_server(str(config.get("base_url")))
            port = given or PORTS[security]
        return MailServer(
            host=host,
            port=port,
            security=security,
            username=str(config.get("username") or ""),
            password=str(config.get("password") or ""),
            helo=helo or "localhost.localdomain",
        )

    def _simulated(self) -> tuple[str, int]:
        reply = self.http.request("GET", "server", operation="server", safe=True)
        try:
            found = reply.json()
            return found["host"].text(max_length=253), found["port"].integer()
        except WireError as error:
            raise ProviderUnavailable(
                f"The simulator does not tell its mail server: {error}", provider=self._provider
            ) from None
