"""Mailgun's vocabularies and what the hub makes of them (documentation.mailgun.com, read November 2026)."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts.messaging import Engagement, MessageState, SuppressReason

QUEUED = "Queued"
"""How the text of an accepted send begins."""

WEBHOOK_TYPES = ("delivered", "permanent_fail", "temporary_fail", "complained", "unsubscribed", "opened", "clicked")
"""The webhook types that are registered. `accepted` says no more than the answer to the send."""

URLS_PER_TYPE = 3
"""Unconfirmed: Mailgun calls at most so many URLs for each type."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event says of its recipient. `detail` is for people, where the event itself says nothing."""

    state: MessageState | None
    suppress: SuppressReason | None = None
    engagement: Engagement | None = None
    detail: str = ""


EVENTS = {
    "accepted": Meaning(MessageState.SENT),
    "delivered": Meaning(MessageState.DELIVERED),
    "rejected": Meaning(MessageState.FAILED, detail="Mailgun refused the message"),
    "complained": Meaning(MessageState.COMPLAINED, SuppressReason.COMPLAINT, detail="the recipient reported it as spam"),
    "unsubscribed": Meaning(None, SuppressReason.OPT_OUT, Engagement.UNSUBSCRIBED),
    "opened": Meaning(None, engagement=Engagement.OPENED),
    "clicked": Meaning(None, engagement=Engagement.CLICKED),
}

DEFERRED = Meaning(None, engagement=Engagement.DEFERRED)

# `reason` of a permanent failure. The documentation shows them in examples only; `old`: given up after trying for days.
FAILURES = {
    "bounce": Meaning(MessageState.BOUNCED, SuppressReason.HARD_BOUNCE, detail="the receiving server sent it back"),
    "suppress-bounce": Meaning(
        MessageState.FAILED, SuppressReason.HARD_BOUNCE, detail="not tried: the address bounced before (Mailgun's list)"
    ),
    "suppress-complaint": Meaning(
        MessageState.FAILED, SuppressReason.COMPLAINT, detail="not tried: the recipient complained before (Mailgun's list)"
    ),
    "suppress-unsubscribe": Meaning(
        MessageState.FAILED, SuppressReason.OPT_OUT, detail="not tried: the recipient has unsubscribed (Mailgun's list)"
    ),
    "old": Meaning(MessageState.FAILED, detail="Mailgun gave up after trying for a long time"),
}
FAILED = Meaning(MessageState.FAILED, detail="Mailgun could not deliver it")
DELAYED_BOUNCE = Meaning(MessageState.BOUNCED, detail="the receiving server sent it back later")
UNKNOWN = Meaning(None)

# Suppression lists: path below the domain -> why their addresses are on it.
LISTS = {
    "bounces": SuppressReason.HARD_BOUNCE,
    "complaints": SuppressReason.COMPLAINT,
    "unsubscribes": SuppressReason.OPT_OUT,
}

# Further than: what is known of a recipient is never taken back by a weaker event.
RANKS = {
    MessageState.SENT: 0,
    MessageState.DELIVERED: 1,
    MessageState.FAILED: 2,
    MessageState.BOUNCED: 3,
    MessageState.COMPLAINED: 4,
}


def meaning_of(event: str, severity: str, reason: str, *, is_delayed_bounce: bool) -> Meaning:
    """Return what an event means; one that is not known means nothing. A failure of unknown severity moves no state."""
    if event != "failed":
        return EVENTS.get(event, UNKNOWN)
    if severity == "temporary":
        return DEFERRED
    if severity != "permanent":
        return UNKNOWN
    if is_delayed_bounce and reason not in FAILURES:
        return DELAYED_BOUNCE
    return FAILURES.get(reason, FAILED)
