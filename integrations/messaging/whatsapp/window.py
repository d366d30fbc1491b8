"""The 24 hours after a customer's own message in which free text and files may go to him on WhatsApp."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Max

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.whatsapp import WINDOW
from integrations.messaging.models import Channel, InboundMessage, Message, Recipient

REFUSAL = "outside_window"
HOURS = int(WINDOW.total_seconds() // 3600)


class OutsideWindow(Conflict):
    """Nobody of those asked for has written to this account within the window: only an approved template may go to them."""

    code = REFUSAL


def refusal_text() -> str:
    return f"Outside of the {HOURS} h window: the recipient has not written within that time, so only a template may be sent."


def open_until(
    *, tenant_id: int, provider: str, config_id: int | None, addresses: Collection[str], sender: str = ""
) -> dict[str, datetime]:
    """Return when each address's window closes, for those that have written to the account within the last 24 hours.

    Unsigned messages open nothing. A `sender` that is a phone number has windows of its own.
    """
    rows = InboundMessage.unscoped.filter(
        tenant_id=tenant_id,
        channel=Channel.WHATSAPP,
        provider=provider,
        config_id=config_id,
        address__in=list(addresses),
        trusted=True,
        received_at__gt=clock.now() - WINDOW,
    )
    if sender.startswith("+"):
        rows = rows.filter(to=sender)
    return {address: last + WINDOW for address, last in rows.values_list("address").annotate(last=Max("received_at"))}


def keep_window(message: Message, recipient: Recipient) -> None:
    """Raise `OutsideWindow` where this message needs an open window and the recipient's has closed meanwhile: it may have
    waited for its time, for the morning, or for a provider that was down."""
    if message.content.get("template"):
        return
    found = open_until(
        tenant_id=message.tenant_id,
        provider=message.provider,
        config_id=message.config_id,
        addresses=[recipient.address],
        sender=message.sender,
    )
    if recipient.address not in found:
        raise OutsideWindow(refusal_text(), provider=message.provider)
