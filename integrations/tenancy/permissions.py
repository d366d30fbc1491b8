"""Roles and scopes. Admin may all; an auditor reads what an admin reads; staff do what is marked for staff."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from integrations.models import Role
from integrations.tenancy.authentication import Principal
from integrations.tenancy.channels import role_may_send
from integrations.tenancy.scopes import READ, WRITE, permits


class _TenantRole(BasePermission):
    staff = False
    message: str
    code: str | None = None

    def has_permission(self, request: Request, view: Any) -> bool:
        principal = request.user
        if not isinstance(principal, Principal):
            return False
        if principal.tenant is None:
            self.message = "Name a tenant in the X-Tenant header."
            return False
        reading = request.method in SAFE_METHODS
        if not self._role_allows(principal.role, reading):
            self.message = "Your role does not allow this."
            return False
        resource = getattr(view, "key_scope", "")
        action = READ if reading else WRITE
        if not permits(principal.scopes, resource, action):
            self.message = f"The key lacks the scope {resource}:{action}."
            return False
        if principal.previous and not reading and getattr(view, "current_key_only", False):
            self.message = "This takes the key's new value: the one sent is from before its last rotation."
            self.code = "previous_key"
            return False
        return True

    def _role_allows(self, role: str, reading: bool) -> bool:
        if role == Role.ADMIN:
            return True
        if role == Role.AUDITOR:
            return reading
        return self.staff


class IsTenantAdmin(_TenantRole):
    """Admins; auditors for reading."""


def may_send_as(principal: object, channel: str) -> bool:
    """Tell whether who asks may send on a channel: people on the staff need it in their membership, API keys a scope alone."""
    if not isinstance(principal, Principal):
        return False
    return bool(principal.key_id) or role_may_send(principal.role, principal.channels, channel)


def require_channel(request: Request, channel: str) -> None:
    """Raise `PermissionDenied` where who asks may not send on the channel: for views that learn it from their object."""
    if not may_send_as(request.user, channel):
        raise PermissionDenied(_refusal(channel))


def is_plain_member(principal: object) -> bool:
    """Tell whether who asks is a person, not a system with a key, and no admin: some things want more trust than that."""
    return isinstance(principal, Principal) and not principal.key_id and principal.role != Role.ADMIN


class IsTenantStaff(_TenantRole):
    """Staff and admins; auditors for reading. A view with `send_channel` sends on that channel (`may_send_as`)."""

    staff = True

    def has_permission(self, request: Request, view: Any) -> bool:
        if not super().has_permission(request, view):
            return False
        channel = getattr(view, "send_channel", "")
        if channel and request.method not in SAFE_METHODS and not may_send_as(request.user, channel):
            self.message = _refusal(channel)
            return False
        return True


def _refusal(channel: str) -> str:
    return f"You may not send on this channel ({channel}): an admin can allow it in your membership."
