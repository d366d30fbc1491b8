"""Meta's error codes and statuses, and what the hub makes of them (provider sheet of November 2026).

Meta says to judge by `error.code` alone. Meanings of 131005, 131008, 131021, 131052, 132005 and 132007 are unconfirmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from integrations.contracts.messaging import MessageState, SuppressReason


class Fate(StrEnum):
    """What an error means for the call. RECIPIENT: only for this person. AGAIN: for this person, and worth another try."""

    CONFIG = "config"
    RATE = "rate"
    UNAVAILABLE = "unavailable"
    UNSURE = "unsure"
    REQUEST = "request"
    TEMPLATE = "template"
    RECIPIENT = "recipient"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a code means. `detail` is for the tenant's people; `retry_after` in seconds."""

    fate: Fate
    detail: str
    retry_after: float | None = None
    suppress: SuppressReason | None = None


PERMISSION = Problem(Fate.CONFIG, "the access token lacks a permission")
TOKEN = Problem(Fate.CONFIG, "the access token is not valid, or not any more")

PROBLEMS: dict[int, Problem] = {
    0: TOKEN,
    102: TOKEN,
    104: TOKEN,
    190: TOKEN,
    3: PERMISSION,
    10: PERMISSION,
    # 1 is Meta's word for "something broke here": with a 5xx it says nothing about whether the message went out.
    1: Problem(Fate.UNSURE, "unknown error at Meta"),
    2: Problem(Fate.UNAVAILABLE, "Meta's service is down or overloaded"),
    131000: Problem(Fate.UNAVAILABLE, "the message could not be sent for an unknown reason"),
    131016: Problem(Fate.UNAVAILABLE, "a service at Meta is not available at the moment"),
    4: Problem(Fate.RATE, "the app has made too many calls", retry_after=60.0),
    80007: Problem(Fate.RATE, "the WhatsApp business account has made too many calls", retry_after=60.0),
    130429: Problem(Fate.RATE, "more messages a second than the number may send", retry_after=2.0),
    131048: Problem(Fate.RATE, "too many recipients blocked or reported this number: slow down", retry_after=900.0),
    131056: Problem(Fate.AGAIN, "too many messages to this recipient in a short time", retry_after=6.0),
    131052: Problem(Fate.AGAIN, "the file could not be downloaded"),
    131053: Problem(Fate.AGAIN, "the file could not be uploaded"),
    131026: Problem(Fate.RECIPIENT, "undeliverable: no WhatsApp on this number, an old app, or the sender is blocked"),
    131047: Problem(Fate.RECIPIENT, "more than 24 hours since the recipient last wrote: only a template may be sent"),
    131049: Problem(Fate.RECIPIENT, "not delivered by Meta to keep marketing messages few; not before a day has passed"),
    131050: Problem(Fate.RECIPIENT, "the recipient has stopped marketing messages", suppress=SuppressReason.OPT_OUT),
    130472: Problem(Fate.RECIPIENT, "the recipient is part of an experiment of Meta and gets no marketing messages"),
    130497: Problem(Fate.RECIPIENT, "the account may not write to recipients in this country"),
    131021: Problem(Fate.RECIPIENT, "the recipient is the sender's own number"),
    131005: Problem(Fate.CONFIG, "access denied"),
    131031: Problem(Fate.CONFIG, "the account is locked"),
    368: Problem(Fate.CONFIG, "the account is blocked for breaking a policy"),
    131042: Problem(Fate.CONFIG, "Meta has no valid means of payment for the account"),
    133010: Problem(Fate.CONFIG, "the phone number is not registered with the Cloud API"),
    100: Problem(Fate.REQUEST, "a parameter is wrong"),
    131008: Problem(Fate.REQUEST, "a parameter is missing"),
    131009: Problem(Fate.REQUEST, "a parameter has a wrong value"),
    131051: Problem(Fate.REQUEST, "this kind of message is not supported"),
    132000: Problem(Fate.TEMPLATE, "the number of parameters is not the template's"),
    132001: Problem(Fate.TEMPLATE, "there is no such approved template in this language"),
    132005: Problem(Fate.TEMPLATE, "the template is too long once filled in"),
    132007: Problem(Fate.TEMPLATE, "the template breaks a policy"),
    132012: Problem(Fate.TEMPLATE, "a parameter has not the template's format"),
    132015: Problem(Fate.TEMPLATE, "the template is paused for its low quality"),
    132016: Problem(Fate.TEMPLATE, "the template is disabled for its low quality"),
}


def problem_of(code: int) -> Problem | None:
    """Return what a code means, None for one that is not in the sheet."""
    found = PROBLEMS.get(code)
    return PERMISSION if found is None and 200 <= code <= 299 else found


STATES = {
    "sent": MessageState.SENT,
    "delivered": MessageState.DELIVERED,
    "read": MessageState.READ,
    "played": MessageState.READ,  # a voice message was listened to
    "failed": MessageState.FAILED,
}

HELD = {
    "held_for_quality_assessment": "held by Meta until it has judged the template",
    "paused": "paused by Meta while it judges the template",  # unconfirmed
}
"""`message_status` of an accepted template message that is not on its way yet; a report tells what became of it."""

TEMPLATE_STATES = {
    "approved": "approved",
    "pending": "pending",
    "in_appeal": "rejected",
    "rejected": "rejected",
    "paused": "paused",
}
"""All others (disabled, being deleted, over a limit, ...) can't be sent either: `disabled`."""
