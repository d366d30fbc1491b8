"""What a kind of message may do: the tenant's own rows, and the kinds that come with the hub."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.messaging.models import MessageCategory

ORDINARY_PRIORITY = 5
OPERATIONAL = "operational"
"""What the hub tells a tenant's own admins. People do not choose it for what they write."""


@dataclass(frozen=True, slots=True)
class Category:
    """`is_critical`: in spite of preferences and quiet hours. `can_unsubscribe`: e-mails say how (never where it is critical,
    for that would be an empty promise). `priority`: 1 first."""

    name: str
    is_critical: bool = False
    can_unsubscribe: bool = True
    priority: int = ORDINARY_PRIORITY
    label: str = ""


BUILT_IN = {
    "": Category("", can_unsubscribe=False),
    "otp": Category("otp", is_critical=True, can_unsubscribe=False, priority=1, label="One-time codes"),
    "receipt": Category("receipt", is_critical=True, can_unsubscribe=False, priority=3, label="Receipts"),
    OPERATIONAL: Category(OPERATIONAL, is_critical=True, can_unsubscribe=False, priority=3, label="Notices of the hub"),
    "bulk": Category("bulk", priority=8, label="Announcements"),
}


def category_of(tenant_id: int, name: str) -> Category:
    """Return the tenant's own category, else the hub's, else an ordinary one that can be unsubscribed from."""
    row = MessageCategory.unscoped.filter(tenant_id=tenant_id, name=name).first() if name else None
    if row is None:
        return BUILT_IN.get(name) or Category(name, label=name.replace("_", " ").replace("-", " ").capitalize())
    return Category(
        name,
        is_critical=row.is_critical,
        can_unsubscribe=row.can_unsubscribe and not row.is_critical,
        priority=row.priority,
        label=str(row),
    )
