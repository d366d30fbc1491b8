"""Who may send on which channel. An admin may on all; staff on those that their membership names; an auditor on none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from integrations.models import Membership, Role, Tenant, User


def channels_of(membership: Membership) -> frozenset[str]:
    """Return the channels that a membership names; none where the row holds anything but a list of names."""
    named: Any = membership.channels
    return frozenset(each for each in named if isinstance(each, str)) if isinstance(named, list) else frozenset()


def role_may_send(role: str, channels: Iterable[str], channel: str) -> bool:
    """Tell whether somebody with this role, and these channels in the membership, may send on a channel."""
    return role == Role.ADMIN or (role == Role.STAFF and channel in channels)


def may_send(user: User, tenant: Tenant, channel: str) -> bool:
    """Tell whether a person may send on a channel of a tenant; an operator may in every active tenant."""
    if not user.is_active or not tenant.is_active:
        return False
    if user.is_superuser:
        return True
    mine = Membership.unscoped.filter(user_id=user.pk, tenant_id=tenant.pk, is_active=True).first()
    return mine is not None and role_may_send(mine.role, channels_of(mine), channel)
