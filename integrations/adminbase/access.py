"""Who may do what in the admin. It follows from memberships alone; Django's permission rows are not used."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest

from integrations.models import Membership, Role

READERS = frozenset({Role.ADMIN, Role.AUDITOR})
"""Who sees the pages that are not marked for staff."""


def is_operator(request: HttpRequest) -> bool:
    """Tell whether this person runs the installation."""
    return bool(request.user.is_active and request.user.is_superuser)


def roles(request: HttpRequest) -> dict[int, str]:
    """Return {tenant id: role} of the person's active memberships in active tenants; asked once per request."""
    known: dict[int, str] | None = getattr(request, "_hub_roles", None)
    if known is None:
        user = request.user
        rows = Membership.unscoped.filter(user_id=user.pk, is_active=True, tenant__is_active=True)
        known = dict(rows.values_list("tenant_id", "role")) if user.is_active and user.is_staff else {}
        request._hub_roles = known  # type: ignore[attr-defined]
    return known


def tenants_with_role(request: HttpRequest, wanted: Iterable[str]) -> set[int] | None:
    """Return the tenants where the person has one of these roles; None means all (the operator)."""
    if is_operator(request):
        return None
    asked = set(wanted)
    return {tenant_id for tenant_id, role in roles(request).items() if role in asked}


def has_role_somewhere(request: HttpRequest, wanted: Iterable[str]) -> bool:
    """Tell whether the person is an operator or has one of these roles in any tenant."""
    found = tenants_with_role(request, wanted)
    return found is None or bool(found)
