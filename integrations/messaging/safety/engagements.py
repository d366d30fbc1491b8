"""What recipients do with a message besides getting it: opening, clicking, unsubscribing at the provider."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.messaging import Engagement, SuppressReason
from integrations.messaging.models import MessageEvent, Preference, Recipient
from integrations.messaging.safety.screening import fold, listing, prefer, release, suppress


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
        unsubscribe(recipient, wanted=engagement is Engagement.RESUBSCRIBED, source=recipient.message.provider, at=at)


def unsubscribe(
    recipient: Recipient, *, wanted: bool, source: str, everything: bool = False, at: datetime | None = None
) -> bool:
    """Write down that the recipient wants no more (or again) messages of this one's category; without a category, or with
    `everything`, nothing at all (or all again). Said `at` that moment, which is now if left out. Tell whether it is news."""
    message = recipient.message
    category = "" if everything else message.category
    who = {"tenant_id": recipient.tenant_id, "channel": message.channel, "address": recipient.address}
    with transaction.atomic():
        news = prefer(**who, category=category, allowed=wanted, source=source, at=at)
        if category or _wants_all(**who) is not wanted:
            return news  # the narrower wish is all there is to it, or he has thought better of it since
        if not wanted:
            listed = suppress(**who, reason=SuppressReason.OPT_OUT, detail="unsubscribed", source=source, at=at)
            return news or listed is not None
        held = listing(**who)
        if held is not None and held.reason == SuppressReason.OPT_OUT:
            return release(held, by=source, reason="subscribed again") or news
        return news


def _wants_all(*, tenant_id: int, channel: str, address: str) -> bool:
    row = Preference.unscoped.get(tenant_id=tenant_id, channel=channel, address=fold(channel, address), category="")
    return bool(row.allowed)


def decide(recipient: Recipient, *, wanted: bool, everything: bool, how: str) -> bool:
    """Do what the recipient himself said through his link (`how` he did), and tell it in his story where it is news and he has
    one still (his message may be gone)."""
    with transaction.atomic():
        news = unsubscribe(recipient, wanted=wanted, source=how, everything=everything)
        if news and recipient.pk is not None:
            what = "everything" if everything or not recipient.message.category else recipient.message.category
            MessageEvent.unscoped.create(
                tenant_id=recipient.tenant_id,
                recipient=recipient,
                at=clock.now(),
                detail=f"wants {what} again" if wanted else f"wants no more of {what}",
                source="recipient",
                engagement=(Engagement.RESUBSCRIBED if wanted else Engagement.UNSUBSCRIBED).value,
            )
        return news


def wants(recipient: Recipient) -> tuple[bool, bool]:
    """Return whether he wants messages on this channel at all, and those of this one's category."""
    message = recipient.message
    address = fold(message.channel, recipient.address)
    rows = Preference.unscoped.filter(
        tenant_id=recipient.tenant_id, channel=message.channel, address=address, category__in={"", message.category}
    )
    said = {row.category: row.allowed for row in rows}
    held = listing(recipient.tenant_id, message.channel, address)
    anything = said.get("", True) and (held is None or held.reason != SuppressReason.OPT_OUT)
    return anything, said.get(message.category, anything) if message.category else anything
