"""Twilio's vocabularies and what the hub makes of them.

Statuses: messaging/api/message-resource; error codes: the provider sheet (November 2026), those from 63001 on and 2165x from
Twilio's own error pages (twilio.com/docs/api/errors). Twilio refines codes over time: an unlisted one is judged by HTTP status.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from integrations.contracts.messaging import MessageState, SuppressReason

# Twilio has taken a message from `accepted` on. Not every carrier reports: `sent` may stay the last word.
STATES = {
    "accepted": MessageState.SENT,
    "scheduled": MessageState.SENT,
    "queued": MessageState.SENT,
    "sending": MessageState.SENT,
    "sent": MessageState.SENT,
    "delivered": MessageState.DELIVERED,
    "read": MessageState.READ,
    "undelivered": MessageState.FAILED,
    "failed": MessageState.FAILED,
    "canceled": MessageState.CANCELLED,
}
INBOUND_STATUSES = frozenset({"receiving", "received"})


class Whose(StrEnum):
    """What a code is about. LATER: nothing is wrong, there was just no room."""

    RECIPIENT = "recipient"
    REQUEST = "request"
    ACCOUNT = "account"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error code means. `detail` is for the tenant's people, `attr` the field of a wrong request, `wait` in seconds."""

    whose: Whose
    detail: str
    attr: str | None = None
    suppress: SuppressReason | None = None
    wait: float | None = None


def _recipient(detail: str, suppress: SuppressReason | None = None) -> Meaning:
    return Meaning(Whose.RECIPIENT, detail, suppress=suppress)


def _request(attr: str, detail: str) -> Meaning:
    return Meaning(Whose.REQUEST, detail, attr=attr)


def _later(detail: str, wait: float) -> Meaning:
    return Meaning(Whose.LATER, detail, wait=wait)


MINUTE, SIX_HOURS = 60.0, 21_600.0
OUTSIDE_WINDOW = 63016

MEANINGS = {
    20003: Meaning(Whose.ACCOUNT, "the account SID, auth token or API key was refused"),
    20008: Meaning(Whose.ACCOUNT, "these are test credentials: they can't do this"),
    20404: Meaning(Whose.ACCOUNT, "Twilio knows no such account"),
    20429: Meaning(Whose.LATER, "too many requests at once"),
    21211: _recipient("not a valid phone number", SuppressReason.INVALID),
    21212: _request("from", "the sender is not a valid number"),
    21408: _recipient("the account may not send to this country (geo permissions)"),
    21602: _request("message", "the message is empty"),
    21603: _request("from", "there is nothing to send from"),
    21604: _request("to", "there is no recipient"),
    21606: _request("from", "the sender is not a number of this account that can send"),
    21608: _recipient("a trial account can only write to verified numbers"),
    21609: _request("callback_url", "Twilio refuses the address for delivery reports"),
    21610: _recipient("the recipient has opted out (STOP)", SuppressReason.OPT_OUT),
    21611: _later("the sender's queue at Twilio is full", MINUTE),
    21612: _recipient("there is no route from this sender to this number"),
    21614: _recipient("not a mobile number", SuppressReason.INVALID),
    21617: _request("message", "the message is longer than 1600 characters"),
    21619: _request("message", "the message has neither text nor a file"),
    21620: _request("media", "Twilio refuses the file's address"),
    21655: _request("template", "Twilio knows no such content template"),
    21656: _request("template", "the template's variables were refused"),
    21910: _request("from", "sender and recipient are of different channels"),
    30001: _later("the queue at Twilio overflowed", MINUTE),
    30002: Meaning(Whose.ACCOUNT, "the account is suspended"),
    30003: _recipient("the phone is off or out of coverage"),
    30004: _recipient("the number is blocked from receiving this message"),
    30005: _recipient("the number does not exist or is not in use", SuppressReason.INVALID),
    30006: _recipient("a landline, or a network that can't be reached", SuppressReason.INVALID),
    30007: _recipient("filtered as spam by Twilio or the network"),
    30008: _recipient("not delivered, the network does not say why"),
    30017: _later("the network is congested", MINUTE),
    30018: _recipient("the sender is not registered in the recipient's country"),
    30019: _request("message", "too large for the network"),
    30022: _later("the sender's rate at the network is used up", MINUTE),
    30023: _later("the day's limit of this sender is used up", SIX_HOURS),
    30027: _later("the day's limit at this network is used up", SIX_HOURS),
    30410: _recipient("the network did not answer in time"),
    63001: Meaning(Whose.ACCOUNT, "WhatsApp refused the sender's credentials"),
    63003: _recipient("the number is not on WhatsApp"),
    63005: _recipient("WhatsApp did not take this content"),
    63007: _request("from", "the sender is not registered for WhatsApp at Twilio"),
    63013: _recipient("against WhatsApp's policy"),
    63015: _recipient("the number has not joined the WhatsApp sandbox"),
    OUTSIDE_WINDOW: _recipient("more than 24 hours since the customer's last message: use an approved template"),
    63018: _later("WhatsApp's rate limit", MINUTE),
    63024: _recipient("not a valid WhatsApp recipient"),
    63032: _recipient("WhatsApp does not deliver this message to this user"),
    63033: _recipient("the recipient is blocked"),
    63049: _recipient("Meta chose not to deliver this marketing message"),
}


def detail_of(code: int) -> str:
    """Return what an error code says, for people, with the code; '' for 0 (none)."""
    if not code:
        return ""
    known = MEANINGS.get(code)
    return f"{known.detail} ({code})" if known else f"Twilio's error {code}"


def suppression_of(code: int) -> SuppressReason | None:
    known = MEANINGS.get(code)
    return known.suppress if known else None


def may_be_tried_again(code: int) -> bool:
    """Tell whether a message that ended so was never sent and only lacked room."""
    known = MEANINGS.get(code)
    return known is not None and known.whose is Whose.LATER
