"""Mail to a tenant's own admins: what the hub has to tell the people who look after it, each notice once."""

from __future__ import annotations

import hashlib

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from integrations.events import AdminNotice
from integrations.models import Membership, QueueItem, Role
from integrations.runtime.queue import enqueue

KIND = "admin_notice"
REFERENCE = "admin_notice"


def take(notice: AdminNotice) -> None:
    """Queue a notice, in the caller's transaction; one that was taken before under its key is passed over."""
    key = folded(notice.key)
    if QueueItem.unscoped.filter(tenant_id=notice.tenant_id, reference_type=REFERENCE, reference_id=key, kind=KIND).exists():
        return
    enqueue(
        tenant_id=notice.tenant_id,
        kind=KIND,
        payload={"subject": notice.subject, "text": notice.text},
        reference=(REFERENCE, key),
        key=key,
        priority=4,
    )


def folded(key: str) -> str:
    """Return a key of any length as one that fits a queue item's reference: the same for the same notice."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def admins_addresses(tenant_id: int) -> list[str]:
    """Return the e-mail addresses of the tenant's active admins, each once. One that is no address is passed over."""
    members = Membership.unscoped.filter(tenant_id=tenant_id, role=Role.ADMIN, is_active=True, user__is_active=True)
    found: dict[str, str] = {}
    for address in members.exclude(user__email="").order_by("id").values_list("user__email", flat=True):
        try:
            validate_email(address)
        except ValidationError:
            continue
        found.setdefault(address.casefold(), address)
    return list(found.values())
