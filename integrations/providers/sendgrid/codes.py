"""SendGrid's vocabularies and what the hub makes of them (Event Webhook reference and error pages, November 2026)."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts.messaging import Engagement, MessageState, SuppressReason


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event says: a state, or something that happened beside it."""

    state: MessageState | None = None
    engagement: Engagement | None = None
    suppress: SuppressReason | None = None


MEANINGS = {
    "processed": Meaning(MessageState.SENT),
    "deferred": Meaning(engagement=Engagement.DEFERRED),
    "delivered": Meaning(MessageState.DELIVERED),
    "bounce": Meaning(MessageState.BOUNCED, suppress=SuppressReason.HARD_BOUNCE),
    # `bounce` with the type `blocked`: the receiving server would not have this message; the next may pass.
    "blocked": Meaning(MessageState.FAILED),
    "dropped": Meaning(MessageState.FAILED),
    "open": Meaning(engagement=Engagement.OPENED),
    "click": Meaning(engagement=Engagement.CLICKED),
    "spamreport": Meaning(MessageState.COMPLAINED, suppress=SuppressReason.COMPLAINT),
    "unsubscribe": Meaning(engagement=Engagement.UNSUBSCRIBED, suppress=SuppressReason.OPT_OUT),
    # Out of one group of the account's, not out of everything.
    "group_unsubscribe": Meaning(engagement=Engagement.UNSUBSCRIBED),
    "group_resubscribe": Meaning(engagement=Engagement.RESUBSCRIBED),
}

# Reasons of `dropped` (the full list is unconfirmed). Others, as spam content, are about the message or the account.
DROPPED_FOR = {
    "bounced address": SuppressReason.HARD_BOUNCE,
    "unsubscribed address": SuppressReason.OPT_OUT,
    "spam reporting address": SuppressReason.COMPLAINT,
    "invalid": SuppressReason.INVALID,
}

LISTS = {
    "bounces": SuppressReason.HARD_BOUNCE,
    "invalid_emails": SuppressReason.INVALID,
    "spam_reports": SuppressReason.COMPLAINT,
    "unsubscribes": SuppressReason.OPT_OUT,
}
"""The lists whose addresses SendGrid writes to no more. Not `blocks`: those are tried again with the next message."""

RESERVED_HEADERS = frozenset(
    {
        "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to", "from",
        "subject", "reply-to", "cc", "bcc",
    }
)  # fmt: skip

OUT_OF_CREDITS = "maximum credits exceeded"
"""What SendGrid says, with a 401, when the plan's e-mails are used up (sendgrid-nodejs issue 1032)."""

# The first word of an error's `field` -> what the caller calls it.
ATTRS = {
    "from": "from",
    "subject": "subject",
    "content": "message",
    "template_id": "template",
    "attachments": "attachments",
    "reply_to": "reply_to",
    "reply_to_list": "reply_to",
    "headers": "headers",
    "categories": "category",
}
# The last word that counts within `personalizations.N`.
PERSONAL_ATTRS = {
    "to": "to",
    "cc": "to",
    "bcc": "to",
    "subject": "subject",
    "headers": "headers",
    "dynamic_template_data": "template",
}


def attr_of(field: str) -> str | None:
    """Return what an error's `field` (`personalizations.0.to.0.email`, `from.email`) is called here; None for others."""
    parts = field.split(".")
    if parts[0] == "personalizations":
        return next((PERSONAL_ATTRS[each] for each in parts[1:] if each in PERSONAL_ATTRS), "to")
    return ATTRS.get(parts[0])
