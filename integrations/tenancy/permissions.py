"""Roles and scopes. Admin may all; an auditor reads what an admin reads; staff do what is marked for staff."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from integrations.models import Role
from integrations.tenancy.authentication import Principal


class _TenantRole(BasePermission):
    staff = False

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
        needed = f"{resource}:{'read' if reading else 'write'}"
        if principal.scopes and not principal.scopes & {resource, needed, "*"}:
            self.message = f"The key lacks the scope {needed}."
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


class IsTenantStaff(_TenantRole):
    """Staff and admins; auditors for reading."""

    staff = True
