"""What recipients do with a message besides getting it: opening, clicking, unsubscribing at the provider."""

from __future__ import annotations

from datetime import datetime

from integrations.contracts.messaging import Engagement, SuppressReason
from integrations.messaging.models import MessageEvent, Recipient
from integrations.messaging.screening import prefer, suppress


def engage(recipient: Recipient, engagement: Engagement, *, at: datetime, detail: str, source: str) -> None:
    """Write it into the (locked) recipient's story; the first opening and click are kept. Unsubscribing at the provider
    counts as here: from the message's category, or from everything where it has none."""
    MessageEvent.unscoped.create(
        tenant_id=recipient.tenant_id,
        recipient=recipient,
        at=at,
        detail=detail or engagement.value,
        source=source,
        engagement=engagement.value,
    )
    if engagement in {Engagement.OPENED, Engagement.CLICKED}:
        recipient.opened_at = recipient.opened_at or at
        if engagement is Engagement.CLICKED:
            recipient.clicked_at = recipient.clicked_at or at
        recipient.save(update_fields=["opened_at", "clicked_at"])
    elif engagement in {Engagement.UNSUBSCRIBED, Engagement.RESUBSCRIBED}:
        unsubscribe(recipient, wanted=engagement is Engagement.RESUBSCRIBED, source=recipient.message.provider)


def unsubscribe(recipient: Recipient, *, wanted: bool, source: str, everything: bool = False) -> None:
    """Write down that the recipient wants no more (or again) messages of this one's category; without a category, or with
    `everything`, nothing at all."""
    message = recipient.message
    category = "" if everything else message.category
    prefer(
        tenant_id=recipient.tenant_id,
        channel=message.channel,
        address=recipient.address,
        category=category,
        allowed=wanted,
        source=source,
    )
    if not wanted and not category:
        suppress(
            tenant_id=recipient.tenant_id,
            channel=message.channel,
            address=recipient.address,
            reason=SuppressReason.OPT_OUT,
            detail="unsubscribed",
            source=source,
        )
