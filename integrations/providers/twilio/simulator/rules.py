"""What the fake accepts: accounts, senders, templates, magic numbers, and how Twilio words a refusal.

Twilio's own magic numbers hold for any credentials; other recipients' last three digits choose an outcome
(own convention).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from integrations.simulators import DemoAccount, Magic, Refusal, SimReply, derived

API_VERSION = "2010-04-01"
HIDDEN = "X" * 4
ROOT = f"/{API_VERSION}/Accounts"
ANYBODYS_SENDER = "+15005550006"
BAD_SENDERS = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
BAD_RECIPIENTS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
UNREACHABLE, UNKNOWN_NUMBER, SILENT, DISORDERED, TWICE, BUSY = "900", "901", "902", "903", "904", "429"
STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
HELP_WORDS = frozenset({"HELP", "INFO"})
TEMPLATES = {
    f"HX{1:032x}": "Hello {{1}}, your balance at {{2}} is {{3}}.",
    f"HX{2:032x}": "Your pictures are ready.",
}
MAGIC = (
    *(Magic(f"to {number}", f"refused: error {code}") for number, code in BAD_RECIPIENTS.items()),
    *(Magic(f"from {number}", f"refused: error {code}") for number, code in BAD_SENDERS.items()),
    Magic(f"from {ANYBODYS_SENDER}", "a sender that every account may use"),
    Magic(f"to …{UNREACHABLE}", "sent, then undelivered with 30003"),
    Magic(f"to …{UNKNOWN_NUMBER}", "sent, then undelivered with 30005"),
    Magic(f"to …{SILENT}", "delivered, no callback"),
    Magic(f"to …{DISORDERED}", "the callback delivered comes before sent"),
    Magic(f"to …{TWICE}", "each callback comes twice"),
    Magic(f"to …{BUSY}", "HTTP 429 (20429) once, then 201; and so on in turn"),
    Magic("WhatsApp text to who has not written within 24 hours", "accepted, then failed with 63016"),
    *(Magic(f"ContentSid {sid}", text) for sid, text in TEMPLATES.items()),
    Magic("any other number", "sent after report_delay (0.5 s), delivered after twice that"),
)
WORDS = {
    20001: "Invalid parameter",
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    21211: "Invalid 'To' Phone Number",
    21212: "Invalid From Number (caller ID)",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' number is not a valid, message-capable Twilio phone number for this destination/account",
    21609: "The 'StatusCallback' URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21612: "Message cannot be sent with the current combination of 'To' and/or 'From' parameters",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit",
    21620: "Invalid media URL(s)",
    21655: "The ContentSid is Invalid",
    21656: "The Content Variables parameter is invalid",
    21910: "'From' and 'To' must be of the same channel",
    30409: "This message cannot be canceled",
    63007: "Twilio could not find a Channel with the specified From address",
}


@dataclass(frozen=True, slots=True)
class Order:
    """A message to be made, checked. `sender` is empty where a Messaging Service is to choose it."""

    to: str
    sender: str
    service: str
    body: str
    media: str
    callback: str
    template: str
    send_at: str

    @property
    def channel(self) -> str:
        return "whatsapp" if self.to.startswith("whatsapp:") else "sms"


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return `school`, which uses its auth token, and `studio`, which has an API key."""
    return [_demo(state_dir, "school", "+15017122661", key=False), _demo(state_dir, "studio", "+15017122662", key=True)]


def _demo(state_dir: Path, label: str, sender: str, *, key: bool) -> DemoAccount:
    values = {
        "account_sid": "AC" + derived(state_dir, f"twilio {label} account"),
        "sender": sender,
        "whatsapp_sender": sender,
    }
    secrets = {"auth_token": derived(state_dir, f"twilio {label} token")}
    if key:
        values["api_key_sid"] = "SK" + derived(state_dir, f"twilio {label} key")
        values["messaging_service_sid"] = "MG" + derived(state_dir, f"twilio {label} service")
        secrets["api_key_secret"] = derived(state_dir, f"twilio {label} key secret")
    return DemoAccount(label, values, secrets)


def problem(code: int, status: int = 400, detail: str = "") -> SimReply:
    """Return an error in Twilio's form."""
    text = detail or WORDS[code]
    body = {"code": code, "message": text, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status}
    return SimReply.of_json(body, status)


def refuse(code: int, status: int = 400, detail: str = "") -> Refusal:
    return Refusal(problem(code, status, detail))


def read_order(form: Mapping[str, str], account: DemoAccount) -> Order:
    """Check the form of a send and return what is to be made; raise the refusal."""
    to, service = form.get("To", ""), form.get("MessagingServiceSid", "")
    sender, template = form.get("From", ""), form.get("ContentSid", "")
    if not to:
        raise refuse(21604)
    if not sender and not service:
        raise refuse(21603)
    _check_sender(sender, service, account, whatsapp=to.startswith("whatsapp:"))
    number = to.removeprefix("whatsapp:")
    if number in BAD_RECIPIENTS:
        raise refuse(BAD_RECIPIENTS[number])
    if not re.fullmatch(r"\+[1-9]\d{6,14}", number):
        raise refuse(21211, detail=f"Invalid 'To' Phone Number: {number[:4]}{HIDDEN}")
    body, media = form.get("Body", ""), form.get("MediaUrl", "")
    if template:
        body = _rendered(template, form.get("ContentVariables", ""))
    elif not body.strip() and not media:
        raise refuse(21602)
    if len(body) > 1600:
        raise refuse(21617)
    if media and urlsplit(media).scheme not in {"http", "https"}:
        raise refuse(21620)
    callback = form.get("StatusCallback", "")
    if callback and not _is_callback(callback):
        raise refuse(21609)
    _check_times(form)
    # Without a Messaging Service Twilio drops the schedule and sends at once.
    send_at = form.get("SendAt", "") if service else ""
    return Order(to, sender, service, body, media, callback, template, send_at)


def opt_out_type(text: str) -> str:
    """Return how Advanced Opt-Out reads a whole text; '' where it is no keyword."""
    word = text.strip().upper()
    return "STOP" if word in STOP_WORDS else "START" if word in START_WORDS else "HELP" if word in HELP_WORDS else ""


def _check_sender(sender: str, service: str, account: DemoAccount, *, whatsapp: bool) -> None:
    if service and service != account.values.get("messaging_service_sid"):
        raise refuse(20404, 404, f"The Messaging Service {service} was not found")
    if not sender:
        return
    if sender.startswith("whatsapp:") is not whatsapp:
        raise refuse(21910)
    number = sender.removeprefix("whatsapp:")
    if number in BAD_SENDERS:
        raise refuse(BAD_SENDERS[number])
    if whatsapp and number != account.values["whatsapp_sender"]:
        raise refuse(63007)
    if not whatsapp and number not in (account.values["sender"], ANYBODYS_SENDER):
        raise refuse(21606)


def _rendered(sid: str, variables: str) -> str:
    text = TEMPLATES.get(sid)
    if text is None:
        raise refuse(21655)
    try:
        given = json.loads(variables or "{}")
    except ValueError:
        raise refuse(21656) from None
    wanted = set(re.findall(r"\{\{(\d+)\}\}", text))
    if (
        not isinstance(given, dict)
        or set(given) != wanted
        or not all(isinstance(each, str) and each for each in given.values())
    ):
        raise refuse(21656)
    return re.sub(r"\{\{(\d+)\}\}", lambda found: str(given[found[1]]), text)


def _is_callback(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "_" not in str(parts.hostname)


def _check_times(form: Mapping[str, str]) -> None:
    validity = form.get("ValidityPeriod")
    if validity is not None and not (validity.isdigit() and 1 <= int(validity) <= 36_000):
        raise refuse(20001, detail="ValidityPeriod must be between 1 and 36000")
    if form.get("SendAt") and form.get("ScheduleType") != "fixed":
        raise refuse(20001, detail="ScheduleType must be 'fixed'")
