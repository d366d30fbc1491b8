"""A fake mail server: real SMTP on a port of its own, logins, refusals by magic names, bounces that come back.

`GET /smtp/server` tells the port. In reality bounces arrive as mail at the bounce domain and a pipe posts them to the hub; here
they are posted to what `PUT /control/smtp/accounts/<label> {"webhook_url": "http://..."}` sets.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict

from integrations.providers.smtp import simulated_reports, verp
from integrations.providers.smtp.mail_server import Answer, Delivery, MailServer
from integrations.simulators import DemoAccount, Magic, Mail, SimReply, SimRequest, Simulator, control, derived, route
from integrations.simulators.wire import Json

SETUP, MESSAGE, GREY = "setup", "message", "grey"
ACCOUNTS = (("school", "school.example"), ("studio", "studio.example"))
DEFAULT_DELAY = 5.0
REFUSALS = {
    "bad": "550 5.1.1 <{to}>: user unknown",
    "full": "552 5.2.2 <{to}>: mailbox full",
    "busy": "421 4.3.2 Service shutting down",
}
MAGIC = (
    Magic("bad…@", "refused: 550 5.1.1 user unknown"),
    Magic("full…@", "refused: 552 5.2.2 mailbox full"),
    Magic("grey…@", "451 4.7.1 on the first try of a sender and recipient, taken on the second"),
    Magic("busy…@", "421 4.3.2, and the server hangs up"),
    Magic("spam…@", "the text is refused: 554 5.7.1"),
    Magic("drop…@", "taken, but the server hangs up instead of answering the text"),
    Magic("bounce…@", "taken, then a bounce to the return address after bounce_delay (0.5 s)"),
    Magic("any other address", "taken"),
)
STATES = {"failed": "bounced", "delivered": "delivered", "complaint": "complained"}


class SmtpSimulator(Simulator):
    """Two accounts; any other login is a 535, none a 530. Faults of the operation `send` mean: `refuse` hangs up at MAIL,
    `error_500` answers 451 and `error_429` 450 to MAIL, `error_500_after` answers nonsense after the text was taken."""

    slug = "smtp"
    title = "SMTP"
    settings = {"bounce_delay": 0.5}
    extra_operations = frozenset({"send"})
    magic = MAGIC

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._server = MailServer(self, urlsplit(self.public_url).hostname or "127.0.0.1")

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return [
            DemoAccount(
                label,
                {
                    "base_url": "smtp.simulator.invalid",
                    "username": f"hub@{domain}",
                    "sender_address": f"office@{domain}",
                    "bounce_domain": f"bounce.{domain}",
                },
                {
                    "password": derived(state_dir, f"smtp {label} password", 32),
                    "bounce_secret": derived(state_dir, f"smtp {label} bounces", 32),
                },
            )
            for label, domain in ACCOUNTS
        ]

    def begin(self) -> None:
        """Listen where the last server of this state folder did, if that is free: people note down ports."""
        self._server.start(int((self.store.get(self.slug, SETUP, "server") or {"port": 0})["port"]))
        self.store.put(self.slug, SETUP, "server", {"port": self._server.port})

    def end(self) -> None:
        self._server.stop()

    def state(self) -> Json:
        return {
            "port": self._server.port,
            "accounts": [self._account_state(each) for each in self.accounts],
            "messages": self._messages(),
            "settings": self.all_settings(),
        }

    def mailbox(self) -> list[Mail]:
        return [
            Mail(each["from"], each["to"], each["subject"], each["text"], each["state"], each["at"])
            for each in self._messages()[::-1]
        ]

    # --- HTTP

    @route("GET", "/server", operation="server")
    def where(self, request: SimRequest) -> SimReply:
        """Tell where the mail server is, by the name under which this server was called."""
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or "127.0.0.1"
        return SimReply.of_json({"host": host, "port": self._server.port})

    # --- control

    @control("PUT", "/accounts/<label>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url`, where mail to the bounce domain is posted ('' for nowhere)."""
        account = self._account(request.params["label"])
        for name, value in request.data().items():
            if name != "webhook_url":
                raise ValueError(f"unknown: {name}; webhook_url is the only one")
            if value and (not isinstance(value, str) or urlsplit(value).scheme not in ("http", "https")):
                raise ValueError("webhook_url is an http(s) URL")
            self.store.put(self.slug, SETUP, account.label, {"webhook_url": value or ""})
        return self._account_state(account)

    @control("GET", "/messages")
    def messages(self, request: SimRequest) -> Json:
        """Return what arrived, oldest first: one row for each recipient of each accepted message."""
        return {"messages": self._messages()}

    @control("POST", "/report")
    def report(self, request: SimRequest) -> Json:
        """Have a receiving server report on message `id`: `status` is failed, delayed, delivered, relayed or expanded (with
        `code`, an enhanced status code, and `detail`), complaint, or auto_reply."""
        data = request.data()
        message = self.store.get(self.slug, MESSAGE, str(data.get("id", "")))
        if message is None:
            raise KeyError(data.get("id"))
        if not self._webhook_url(message["account"]):
            raise ValueError("the account has no webhook_url")
        self._report(message, str(data.get("status", "")), str(data.get("code", "")), str(data.get("detail", "")), 0.0)
        return {"planned": True}

    # --- what the mail server asks (in threads of its own)

    def login(self, username: str, password: str) -> str:
        for account in self.accounts:
            if (account.values["username"], account.secrets["password"]) == (username, password):
                return account.label
        return ""

    def start_mail(self, account: str, sender: str) -> None:
        request = self._request("send", sender, [], {})
        if self.take_fault(("send",), "refuse"):
            self.record(request, None, "refuse")
            raise Answer("", hang_up=True)
        broken = self.take_fault(("send",), "error_500", "error_429")
        if broken:
            busy = broken.fault == "error_429"
            self.record(request, 450 if busy else 451, broken.fault)
            raise Answer("450 4.7.0 Too many messages, slow down" if busy else "451 4.3.0 Temporary local problem")

    def take(self, account: str, sender: str, recipient: str) -> None:
        local = recipient.lower().partition("@")[0]
        refusal = next((text for name, text in REFUSALS.items() if local.startswith(name)), "")
        if local.startswith("grey"):
            key = f"{account} {recipient.lower()}"
            with self.store.transaction():
                if self.store.get(self.slug, GREY, key) is None:
                    self.store.put(self.slug, GREY, key, {"at": self.clock.now()})
                    refusal = "451 4.7.1 Greylisted, try again later"
        if refusal:
            answer = refusal.format(to=recipient)
            self.record(self._request("recipient", sender, [recipient], {}), int(answer[:3]), "")
            raise Answer(answer, hang_up=answer.startswith("421"))

    def deliver(self, account: str, sender: str, recipients: Sequence[str], content: bytes) -> Delivery:
        mail = message_from_bytes(content, policy=policy.default)
        said = {"subject": str(mail["Subject"] or ""), "text": _text(mail)}
        request = self._request("send", sender, recipients, said)
        problem = _problem(mail, content)
        if not problem and any(each.lower().startswith("spam") for each in recipients):
            problem = "554 5.7.1 Message looks like spam"
        if problem:
            self.record(request, int(problem[:3]), "")
            raise Answer(problem)
        slow = self.take_fault(("send",), "delay")
        cut = self.take_fault(("send",), "drop_after_accept")
        nonsense = self.take_fault(("send",), "error_500_after")
        queue_id = secrets.token_hex(5).upper()
        with self.store.transaction():
            for number, recipient in enumerate(recipients):
                self._arrived(account, sender, recipient, mail, said, f"{queue_id}.{number}", request)
        fired = " ".join(fault.fault for fault in (slow, cut, nonsense) if fault)
        dropped = cut or any(each.lower().startswith("drop") for each in recipients)
        self.record(request, None if dropped else 250, fired)

        def before() -> None:
            for job in request.before_answer:
                self.scheduler.send_now(job)

        answer = "999 what?" if nonsense else f"250 2.0.0 Ok: queued as {queue_id}"
        seconds = 0.0 if slow is None else DEFAULT_DELAY if slow.seconds is None else slow.seconds
        return Delivery(answer, before, seconds, bool(dropped))

    # --- inside

    def _request(self, operation: str, sender: str, recipients: Sequence[str], said: Json) -> SimRequest:
        body = json.dumps({"from": sender, "to": list(recipients), **said}, ensure_ascii=False).encode()
        return SimRequest("MAIL", "/", {}, CaseInsensitiveDict(), body, operation=operation)

    def _arrived(
        self, account: str, sender: str, recipient: str, mail: EmailMessage, said: Json, id: str, request: SimRequest
    ) -> None:
        notes = verp.notes_in(sender)
        message = {
            "id": id,
            "account": account,
            "channel": "email",
            "from": str(mail["From"] or ""),
            "return_path": sender,
            "to": recipient,
            "subject": said["subject"],
            "text": said["text"],
            "html": _text(mail, "html"),
            "attachments": [part.get_filename() or "" for part in mail.iter_attachments()],
            "message_id": str(mail["Message-ID"]),
            "ref": notes[0][0] if notes else "",
            "state": "delivered",
            "at": self.clock.now(),
        }
        self.store.put(self.slug, MESSAGE, id, message, ref=recipient)
        if recipient.lower().startswith("bounce") and self._webhook_url(account):
            early = request if self.take_fault(("bounce", "send"), "early_callback") else None
            self._report(message, "failed", "", "", float(self.setting("bounce_delay")), early=early)

    def _report(
        self, message: Json, status: str, code: str, detail: str, delay: float, *, early: SimRequest | None = None
    ) -> None:
        common = {"back": message["return_path"], "to": message["to"], "at": self.clock.now()}
        if status in simulated_reports.ACTIONS:
            code = code or simulated_reports.ACTIONS[status]
            if not re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", code):
                raise ValueError("code is an enhanced status code like 5.1.1")
            words = " ".join((detail or f"{code[0]}50 {code} <{message['to']}>: {status}").split())
            body = simulated_reports.delivery_report(
                **common, message_id=message["message_id"], action=status, status=code, words=words
            )
        elif status == "complaint":
            body = simulated_reports.complaint(**common, message_id=message["message_id"])
        elif status == "auto_reply":
            body = simulated_reports.automatic_reply(**common)
        else:
            names = ", ".join((*simulated_reports.ACTIONS, "complaint", "auto_reply"))
            raise ValueError(f"unknown status {status!r}: one of {names}")
        if status in STATES:
            self.store.put(self.slug, MESSAGE, message["id"], {**message, "state": STATES[status]}, ref=message["to"])
        url, headers = self._webhook_url(message["account"]), {"Content-Type": "message/rfc822"}
        self.callback(("bounce", "send"), url, body, headers, delay=delay, early=early)

    def _messages(self) -> list[Json]:
        return [found.data for found in self.store.find(self.slug, MESSAGE, limit=1000)][::-1]

    def _account(self, label: str) -> DemoAccount:
        return next((each for each in self.accounts if each.label == label), None) or _unknown(label)

    def _webhook_url(self, label: str) -> str:
        return str((self.store.get(self.slug, SETUP, label) or {}).get("webhook_url", ""))

    def _account_state(self, account: DemoAccount) -> Json:
        return {"label": account.label, **account.values, "webhook_url": self._webhook_url(account.label)}


def _unknown(label: str) -> DemoAccount:
    raise KeyError(label)


def _text(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


def _problem(mail: EmailMessage, content: bytes) -> str:
    """Return the refusal of a message that strict servers refuse, '' where it is fine (RFC 5322, 3.6; RFC 5321, 2.3.8)."""
    missing = [name for name in ("From", "Date", "Message-ID") if mail[name] is None]
    if missing:
        return f"554 5.6.0 Message has no {missing[0]}"
    if re.search(rb"(?<!\r)\n|\r(?!\n)", content):
        return "554 5.6.0 Message has bare line breaks"
    return ""
