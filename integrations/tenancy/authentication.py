"""API keys and browser sessions. Either fixes the tenant of the request."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from integrations.contracts import clock
from integrations.models import ApiKey, Membership, Role, Tenant, User
from integrations.tenancy.channels import channels_of

SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes the request: a key of a tenant's system, or a person in one of her tenants. `tenant` None: an operator
    (superuser) who picked none. `scopes` empty: all that the role may. `channels`: those on which a person on the staff may
    send."""

    tenant: Tenant | None
    role: str
    name: str
    user: User | None = None
    key_id: str = ""
    scopes: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()

    is_authenticated = True
    is_active = True
    is_anonymous = False

    @property
    def pk(self) -> str:
        return self.key_id or str(self.user.pk if self.user else "")


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def create_api_key(
    *, tenant: Tenant, name: str, role: str = Role.ADMIN, scopes: list[str] | None = None, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Return the stored row and the key itself, which is shown now and never again."""
    key = ApiKey.PREFIX + secrets.token_hex(20)
    row = ApiKey(
        tenant=tenant,
        name=name,
        prefix=key[:12],
        key_hash=hash_key(key),
        role=role,
        scopes=scopes or [],
        expires_at=expires_at,
    )
    row.save(force_insert=True)
    return row, key


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`. Keys in the URL are not read."""

    def authenticate(self, request: Request) -> tuple[Principal, ApiKey] | None:
        key = request.headers.get("X-API-Key", "")
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        if not key and scheme.lower() == "bearer":
            key = credential.strip()
        if not key:
            return None
        row = ApiKey.unscoped.select_related("tenant").filter(key_hash=hash_key(key)).first()
        now = clock.now()
        if row is None or row.revoked_at or (row.expires_at and row.expires_at <= now) or not row.tenant.is_active:
            raise AuthenticationFailed("The API key is not valid.")
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - SEEN_EVERY)
        ApiKey.unscoped.filter(stale, pk=row.pk).update(last_used_at=now)
        principal = Principal(
            tenant=row.tenant, role=row.role, name=f"key {row.name}", key_id=row.pk, scopes=frozenset(row.scopes)
        )
        return principal, row

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class TenantSessionAuthentication(SessionAuthentication):
    """A logged-in person. `X-Tenant: <slug>` picks one of several tenants; with one there is nothing to pick."""

    def authenticate(self, request: Request) -> tuple[Principal, None] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        return principal_of(found[0], request.headers.get("X-Tenant", "")), None


def principal_of(user: Any, slug: str = "") -> Principal:
    """Return what this person may do in the tenant picked by `slug`; raise `PermissionDenied` where she has no place."""
    if user.is_superuser:
        tenant = Tenant.objects.filter(slug=slug, is_active=True).first() if slug else None
        if slug and tenant is None:
            raise PermissionDenied("There is no such tenant.")
        if tenant is None:
            first = list(Tenant.objects.filter(is_active=True).order_by("id")[:2])
            tenant = first[0] if len(first) == 1 else None
        return Principal(tenant=tenant, role=Role.ADMIN, name=user.get_username(), user=user)
    memberships = Membership.unscoped.filter(user=user, is_active=True, tenant__is_active=True).select_related("tenant")
    mine = list(memberships.filter(tenant__slug=slug) if slug else memberships.order_by("id"))
    if not mine:
        raise PermissionDenied("You are not a member of this tenant." if slug else "You are not a member of any tenant.")
    if len(mine) > 1:
        raise PermissionDenied("You belong to several tenants: name one in the X-Tenant header.")
    return Principal(
        tenant=mine[0].tenant, role=mine[0].role, name=user.get_username(), user=user, channels=channels_of(mine[0])
    )
