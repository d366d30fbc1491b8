"""How a recipient stands with the tenant, in the words of his page."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.messaging.models import Channel, Recipient
from integrations.messaging.safety.categories import category_of
from integrations.messaging.safety.engagements import wants

NOUNS = {
    Channel.EMAIL: "e-mails",
    Channel.SMS: "text messages",
    Channel.WHATSAPP: "WhatsApp messages",
    Channel.PUSH: "notifications",
}
HIDDEN = "•••"


@dataclass(frozen=True, slots=True)
class Standing:
    """`category` is the label of what can be stopped by itself, empty where there is no such thing. `anything` and `this` tell
    whether he wants messages at all, and those of the category."""

    tenant: str
    address: str
    noun: str
    category: str
    anything: bool
    this: bool

    @property
    def stopped(self) -> bool:
        return not (self.anything and self.this)


def standing_of(recipient: Recipient) -> Standing:
    """Return how it stands now."""
    message = recipient.message
    category = category_of(recipient.tenant_id, message.category)
    anything, this = wants(recipient)
    separable = bool(message.category) and not category.is_critical
    return Standing(
        tenant=recipient.tenant.name,
        address=masked(message.channel, recipient.address),
        noun=NOUNS[Channel(message.channel)],
        category=category.label if separable else "",
        anything=anything,
        this=this if separable else anything,
    )


def masked(channel: str, address: str) -> str:
    """Return an address as its owner knows it again and nobody else learns it."""
    if channel == Channel.EMAIL:
        local, _at, domain = address.rpartition("@")
        return f"{local[:1]}{HIDDEN}@{domain}"
    if channel == Channel.PUSH:
        return "this device"
    return f"{address[:4]}{HIDDEN}{address[-3:]}"
