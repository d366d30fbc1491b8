"""What happens to a message after it was made, and the signed webhooks that tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urldefrag, urlencode

from integrations.providers.twilio.signature import sign
from integrations.providers.twilio.simulator import rules
from integrations.simulators import CallbackReply, DemoAccount, Part, SimRequest, action, on_reply

if TYPE_CHECKING:
    from integrations.providers.twilio.simulator.fake import TwilioSimulator

Json = dict[str, Any]
MESSAGE = "message"
RANKS = {"scheduled": 0, "accepted": 1, "queued": 2, "sending": 3, "sent": 4, "delivered": 5, "read": 6}
ENDED = frozenset({"undelivered", "failed", "canceled"})
NAMES = ("status_callback", "send")


class Reports(Part):
    """Moves messages on and calls back. Callbacks follow the URL's own overrides (`#rc=3&rp=all`) or Twilio's one retry."""

    def __init__(self, fake: TwilioSimulator) -> None:
        self.fake = fake

    def plan(self, message: Json, request: SimRequest) -> None:
        """Plan what becomes of a message just made."""
        tail, delay = message["to"][-3:], float(self.fake.setting("report_delay"))
        if self.fake.take_fault(NAMES, "early_callback"):
            self.move(message["sid"], "delivered", early=request)
            return
        steps = [("queued", 0)] if message["status"] == "accepted" else []
        if message["refused_code"]:
            steps.append(("failed", message["refused_code"]))
        elif tail in (rules.UNREACHABLE, rules.UNKNOWN_NUMBER):
            steps += [("sent", 0), ("undelivered", 30003 if tail == rules.UNREACHABLE else 30005)]
        elif tail == rules.DISORDERED:
            steps += [("delivered", 0), ("sent", 0)]
        else:
            steps += [("sent", 0), ("delivered", 0)]
        for number, (status, code) in enumerate(steps, 1):
            self.fake.later("move", {"sid": message["sid"], "status": status, "code": code}, number * delay)

    @action("move")
    def planned(self, context: Json) -> None:
        message = self.fake.store.get(self.fake.slug, MESSAGE, context["sid"])
        if message is not None and message["status"] != "canceled":
            self.move(context["sid"], context["status"], context["code"])

    @action("begin")
    def begin(self, context: Json) -> None:
        """A scheduled message's time has come."""
        message = self.fake.store.get(self.fake.slug, MESSAGE, context["sid"])
        if message is not None and message["status"] == "scheduled":
            delay = float(self.fake.setting("report_delay"))
            for number, status in enumerate(("queued", "sent", "delivered")):
                self.fake.later("move", {"sid": message["sid"], "status": status, "code": 0}, number * delay)

    def move(self, sid: str, status: str, code: int = 0, *, early: SimRequest | None = None) -> None:
        """Bring a message to a status (never back) and report it; KeyError where there is none."""
        message = self.fake.store.get(self.fake.slug, MESSAGE, sid)
        if message is None:
            raise KeyError(sid)
        now, before = self.fake.clock.now(), message["status"]
        if before not in ENDED and (status in ENDED or RANKS[status] > RANKS[before]):
            message["status"], message["error_code"] = status, code or None
            message["updated"] = now
            if RANKS.get(status, 0) >= RANKS["sent"] and message["sent"] is None:
                message["sent"], message["price"] = now, f"-{message['cost'] / 10_000:.4f}"
            self.fake.store.put(self.fake.slug, MESSAGE, sid, message, ref=message["to"])
        if message["to"].endswith(rules.SILENT):
            return
        account = self.fake.account(message["account"])
        url = message["callback"] or self.fake.setup(account)["webhook_url"]
        if url:
            copies = 2 if message["to"].endswith(rules.TWICE) else 1
            self.post(account, url, _status_fields(account, message, status, code), early=early, copies=copies)

    def incoming(self, account: DemoAccount, fields: dict[str, str]) -> None:
        """Report a message that a customer sent."""
        url = self.fake.setup(account)["webhook_url"]
        if url:
            self.post(account, url, fields, operation="incoming")

    def post(
        self,
        account: DemoAccount,
        url: str,
        fields: dict[str, str],
        *,
        operation: str = "status_callback",
        early: SimRequest | None = None,
        copies: int = 1,
        attempt: int = 0,
    ) -> None:
        bare, _overrides = urldefrag(url)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "X-Twilio-Signature": sign(account.secrets["auth_token"], bare, fields.items()),
        }
        names = (operation, "send") if operation == "status_callback" else (operation,)
        context = {"account": account.label, "url": url, "fields": fields, "operation": operation, "attempt": attempt}
        # Told apart here: a callback that a tester loses is not one that failed, and is not tried again.
        lost = self.fake.take_fault(names, "lose_callback") is not None
        self.fake.callback(
            names, bare, urlencode(fields), headers, timeout=15.0, reply_to="" if lost else "reported", context=context,
            early=early, lost=lost, copies=copies,
        )  # fmt: skip

    @on_reply("reported")
    def reported(self, context: Json, reply: CallbackReply | None) -> None:
        overrides = dict(parse_qsl(urldefrag(context["url"]).fragment))
        count, policy = overrides.get("rc", "1"), set(overrides.get("rp", "ct").split(","))
        most = min(int(count), 5) if count.isdigit() else 1
        what = {"ct", "rt"} if reply is None else {f"{reply.status // 100}xx"}
        failed = reply is None or reply.status >= 400
        if failed and context["attempt"] < most and (what | {"all"}) & policy:
            self.fake.later("retry", {**context, "attempt": context["attempt"] + 1}, float(self.fake.setting("retry_delay")))

    @action("retry")
    def retry(self, context: Json) -> None:
        self.post(
            self.fake.account(context["account"]),
            context["url"],
            context["fields"],
            operation=context["operation"],
            attempt=context["attempt"],
        )


def _status_fields(account: DemoAccount, message: Json, status: str, code: int) -> dict[str, str]:
    fields = {
        "AccountSid": str(account.values["account_sid"]),
        "ApiVersion": rules.API_VERSION,
        "From": message["from"],
        "MessageSid": message["sid"],
        "MessageStatus": status,
        "SmsSid": message["sid"],
        "SmsStatus": status,
        "To": message["to"],
    }
    if message["service"]:
        fields["MessagingServiceSid"] = message["service"]
    if message["channel"] == "whatsapp":
        fields |= {"ChannelPrefix": "whatsapp", "ChannelToAddress": f"{message['to'][9:-4]}{rules.HIDDEN}"}
    if code:
        fields["ErrorCode"] = str(code)
    return fields


def incoming_fields(
    account: DemoAccount, sid: str, *, channel: str, sender: str, to: str, text: str, name: str = "", reply_to: str = ""
) -> dict[str, str]:
    """Return the form of an incoming message. Twilio reads STOP, START and HELP itself (Advanced Opt-Out), in SMS."""
    prefix = "whatsapp:" if channel == "whatsapp" else ""
    fields = {
        "AccountSid": str(account.values["account_sid"]),
        "ApiVersion": rules.API_VERSION,
        "Body": text,
        "From": f"{prefix}{sender}",
        "MessageSid": sid,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsMessageSid": sid,
        "SmsSid": sid,
        "SmsStatus": "received",
        "To": f"{prefix}{to}",
    }
    if channel == "whatsapp":
        fields |= {"MessageType": "text", "ProfileName": name or "Customer", "WaId": sender.removeprefix("+")}
    elif kind := rules.opt_out_type(text):
        fields["OptOutType"] = kind
    if reply_to:
        fields["OriginalRepliedMessageSid"] = reply_to
    return fields
