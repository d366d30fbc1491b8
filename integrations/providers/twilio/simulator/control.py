"""What a tester does: where webhooks go, later reports, messages from customers."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from integrations.providers.twilio.simulator import rules
from integrations.providers.twilio.simulator.reports import ENDED, MESSAGE, RANKS, Reports, incoming_fields
from integrations.simulators import DemoAccount, Part, SimRequest, control

if TYPE_CHECKING:
    from integrations.providers.twilio.simulator.fake import TwilioSimulator

Json = dict[str, Any]
TEXTS = {"stop": "STOP", "start": "START"}


class Controls(Part):
    """Paths below `/control/<slug>`."""

    def __init__(self, fake: TwilioSimulator, reports: Reports) -> None:
        self.fake = fake
        self.reports = reports

    @control("PUT", "/accounts/<label>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` ('' for none): where customers' messages go, and reports of messages that name no place."""
        account, data = self.fake.account(request.params["label"]), request.data()
        if set(data) != {"webhook_url"}:
            raise ValueError("webhook_url is what can be set")
        url = data["webhook_url"] or ""
        if url and (not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https")):
            raise ValueError("webhook_url is an http(s) URL")
        self.fake.store.put(self.fake.slug, "setup", account.label, {"webhook_url": url})
        return self.fake.account_state(account)

    @control("GET", "/messages")
    def messages(self, request: SimRequest) -> Json:
        """What was accepted, one row each, newest first."""
        return {"messages": self.fake.message_rows()}

    @control("POST", "/report")
    def report(self, request: SimRequest) -> Json:
        """Report on message `id`: a `status` (with `error_code`), or the recipient's `reply` (`text`), `stop`, `start`."""
        data = request.data()
        message = self.fake.store.get(self.fake.slug, MESSAGE, str(data.get("id") or ""))
        if message is None:
            raise KeyError(data.get("id"))
        status = str(data.get("status") or "")
        if status == "reply" or status in TEXTS:
            text = TEXTS.get(status) or str(data.get("text") or "")
            return self._write(
                self.fake.account(message["account"]),
                message["channel"],
                message["to"].removeprefix("whatsapp:"),
                message["from"].removeprefix("whatsapp:"),
                text,
                # In SMS nobody can say which message he answers.
                reply_to=message["sid"] if message["channel"] == "whatsapp" and status == "reply" else "",
            )
        if status not in ENDED | RANKS.keys():
            raise ValueError(f"status is one of {', '.join(sorted({*ENDED, *RANKS, *TEXTS, 'reply'}))}")
        self.reports.move(message["sid"], status, int(data.get("error_code") or 0))
        return self._row(message["sid"])

    @control("POST", "/incoming")
    def incoming(self, request: SimRequest) -> Json:
        """Let a customer write: `from`, `text`, `account` (default school), `channel` (default sms)."""
        return self.write(request.data())

    def write(self, data: Json) -> Json:
        account, channel = self.fake.account(str(data.get("account") or "school")), str(data.get("channel") or "sms")
        sender, text = str(data.get("from") or ""), str(data.get("text") or "")
        if channel not in ("sms", "whatsapp") or not re.fullmatch(r"\+[1-9]\d{6,14}", sender):
            raise ValueError("from is an E.164 number, channel is sms or whatsapp")
        to = str(account.values["whatsapp_sender" if channel == "whatsapp" else "sender"])
        return self._write(account, channel, sender, to, text, name=str(data.get("name") or ""))

    def _write(
        self, account: DemoAccount, channel: str, sender: str, to: str, text: str, *, name: str = "", reply_to: str = ""
    ) -> Json:
        if not text:
            raise ValueError("text is empty")
        if channel == "whatsapp":
            self.fake.store.put(self.fake.slug, "window", f"{account.label}:{sender}", {"at": self.fake.clock.now()})
        elif (kind := rules.opt_out_type(text)) in ("STOP", "START"):
            self.fake.store.put(self.fake.slug, "stopped", f"{account.label}:{sender}", {"on": kind == "STOP"})
        sid = "SM" + secrets.token_hex(16)
        fields = incoming_fields(account, sid, channel=channel, sender=sender, to=to, text=text, name=name, reply_to=reply_to)
        self.reports.incoming(account, fields)
        return {"id": sid, "from": sender, "to": to, "channel": channel, "text": text}

    def _row(self, sid: str) -> Json:
        return next(row for row in self.fake.message_rows() if row["id"] == sid)
