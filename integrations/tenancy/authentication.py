"""API keys and browser sessions. Either fixes the tenant of the request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from integrations.contracts import clock
from integrations.models import ApiKey, Membership, Role, Tenant, User
from integrations.tenancy.channels import channels_of
from integrations.tenancy.keys import create_api_key, find_key, grant_of, hash_key, state_of
from integrations.tenancy.network import address_of, is_listed
from integrations.tenancy.scopes import Grant

__all__ = ["ApiKeyAuthentication", "Principal", "TenantSessionAuthentication", "create_api_key", "hash_key", "principal_of"]

SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes the request: a key of a tenant's system, or a person in one of her tenants. `tenant` None: an operator
    (superuser) who picked none. `scopes` empty: all that the role may. `channels`: those on which a person on the staff may
    send. `key`: the row of the key; `rate`: its own limit of requests a minute; `previous`: what was sent is the key's value
    from before its last rotation, in its grace."""

    tenant: Tenant | None
    role: str
    name: str
    user: User | None = None
    key_id: str = ""
    scopes: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    rate: int | None = None
    key: ApiKey | None = None
    previous: bool = False

    is_authenticated = True
    is_active = True
    is_anonymous = False

    @property
    def pk(self) -> str:
        return self.key_id or str(self.user.pk if self.user else "")

    @property
    def grant(self) -> Grant:
        """The most that this one may hand on to others."""
        return grant_of(self.key) if self.key is not None else Grant(self.role, self.scopes)


class TwoCredentials(APIException):
    """`Authorization` and `X-API-Key` name different keys: which one is meant, nobody can tell."""

    status_code = 400
    default_code = "two_credentials"
    default_detail = "Authorization and X-API-Key hold different keys: send one of them."


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>` or `X-API-Key: <key>`; both only where they are the same. A key in an address is refused
    before it comes to this."""

    def authenticate(self, request: Request) -> tuple[Principal, ApiKey] | None:
        value = _value(request)
        if not value:
            return None
        row = find_key(value)
        if row is None or not row.tenant.is_active:
            raise AuthenticationFailed("The API key is not valid.")
        # Counted as use of the key, whatever comes of it.
        request._request.api_key = row  # type: ignore[attr-defined]
        if state_of(row) != "active":
            raise AuthenticationFailed("The API key is not valid.")
        ip = address_of(request._request)
        if row.allowed_ips and not is_listed(ip, row.allowed_ips):
            raise PermissionDenied("This API key can't be used from this address.", code="ip_not_allowed")
        now = clock.now()
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - SEEN_EVERY)
        ApiKey.unscoped.filter(stale, pk=row.pk).update(last_used_at=now, last_used_ip=ip or None)
        principal = Principal(
            tenant=row.tenant,
            role=row.role,
            name=f"key {row.name}",
            key_id=row.pk,
            scopes=frozenset(row.scopes),
            rate=row.rate_per_minute,
            key=row,
            previous=row.key_hash != hash_key(value),
        )
        return principal, row

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _value(request: Request) -> str:
    key = request.headers.get("X-API-Key", "").strip()
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    bearer = credential.strip() if scheme.lower() == "bearer" else ""
    if key and bearer and key != bearer:
        raise TwoCredentials
    return key or bearer


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
