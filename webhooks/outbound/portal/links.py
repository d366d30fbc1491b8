"""Links that open the portal without a login. Called inside the tenant's scope unless said otherwise."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.models import ApiKey, Tenant
from integrations.tenancy import audit
from integrations.tenancy.keys import in_state, state_of
from integrations.tenancy.network import is_listed
from webhooks.outbound.models import Endpoint, PortalLink

TOKEN = r"plt_[A-Za-z0-9_-]{43}"  # noqa: S105 the shape of tokens, none itself
SHORTEST, LONGEST, USUAL = 60, 86_400, 3_600
"""Seconds that a link may live."""
MAX_ORIGINS = 10
USED_EVERY = timedelta(minutes=1)
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def create_link(
    *,
    tenant: Tenant,
    created_by: str,
    key: ApiKey | None = None,
    label: str = "",
    endpoint: Endpoint | None = None,
    can_write: bool = False,
    expires_in: int = USUAL,
    frame_ancestors: Sequence[str] = (),
) -> tuple[PortalLink, str]:
    """Return the link and its token, which is shown now and never again. `expires_in` is in seconds, `frame_ancestors` what
    `origin` returns. A link that a `key` makes lives no longer than the key, and is held to its addresses. Raises
    `InvalidRequest` for a time outside of `SHORTEST` to `LONGEST`, or too many origins."""
    if not SHORTEST <= expires_in <= LONGEST:
        raise InvalidRequest(f"A link lives {SHORTEST} to {LONGEST} seconds.", attr="expires_in")
    if len(frame_ancestors) > MAX_ORIGINS:
        raise InvalidRequest(f"At most {MAX_ORIGINS} origins.", attr="frame_ancestors")
    token, now = _new_token(), clock.now()
    ends = now + timedelta(seconds=expires_in)
    link = PortalLink(
        tenant=tenant,
        label=label,
        token_hash=_hash(token),
        endpoint=endpoint,
        can_write=can_write,
        frame_ancestors=list(dict.fromkeys(frame_ancestors)),
        created_by=created_by[:150],
        created_by_key=key.pk if key is not None else "",
        created=now,
        expires_at=min(ends, key.expires_at) if key is not None and key.expires_at else ends,
    )
    with transaction.atomic():
        link.save(force_insert=True)
        fields = {
            "endpoint": endpoint.pk if endpoint else None,
            "can_write": can_write,
            "expires_at": link.expires_at.isoformat(),
            "frame_ancestors": link.frame_ancestors,
        }
        _record(link, "portal_link.created", {name: [None, value] for name, value in fields.items()})
    return link, token


def renew_token(*, link: PortalLink) -> str:
    """Give the link another token and return it: for one whose token was lost before anybody saw it."""
    token = _new_token()
    with transaction.atomic():
        PortalLink.objects.filter(pk=link.pk).update(token_hash=_hash(token))
        _record(link, "portal_link.token_replaced", {"token": [audit.MASKED, audit.MASKED]})
    return token


def revoke_link(*, link_id: str) -> PortalLink:
    """Let the link open nothing any more, from now on; revoking it again changes nothing. Raises `PortalLink.DoesNotExist`."""
    with transaction.atomic():
        link: PortalLink = PortalLink.objects.select_for_update(of=("self",)).get(pk=link_id)
        if link.revoked_at is None:
            link.revoked_at = clock.now()
            link.save(update_fields=["revoked_at"])
            _record(link, "portal_link.revoked", {"revoked_at": [None, link.revoked_at.isoformat()]})
    return link


def good_link(token: str, address: str) -> PortalLink | None:
    """Return the link that a token opens now for a visitor from this address, or None: unknown, expired, revoked, its endpoint
    deleted, the key that made it at its end or not for this address. Needs no scope."""
    found = PortalLink.unscoped.select_related("tenant", "endpoint").filter(token_hash=_hash(token)).first()
    now = clock.now()
    if found is None or found.revoked_at is not None or found.expires_at <= now or not found.tenant.is_active:
        return None
    if found.endpoint is not None and found.endpoint.deleted_at is not None:
        return None
    if found.created_by_key and not _key_allows(found, address):
        return None
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_EVERY)
    PortalLink.unscoped.filter(stale, pk=found.pk).update(last_used_at=now)
    link: PortalLink = found
    return link


def _key_allows(link: PortalLink, address: str) -> bool:
    key: ApiKey | None = ApiKey.unscoped.filter(pk=link.created_by_key, tenant_id=link.tenant_id).first()
    if key is None or state_of(key) != "active":
        return False
    return not key.allowed_ips or is_listed(address, key.allowed_ips)


def are_good() -> Q:
    """Return the condition of links that open the portal now."""
    alive = in_state(ApiKey.unscoped.all(), "active").values("pk")
    mine = Q(created_by_key="") | Q(created_by_key__in=alive)
    return Q(revoked_at__isnull=True, expires_at__gt=clock.now()) & mine


def url_of(token: str) -> str:
    """Return the address that a link's holder opens."""
    return f"{settings.PUBLIC_BASE_URL}/portal/l/{token}/"


def origin(text: str) -> str:
    """Return an origin as `frame-ancestors` takes it (`https://app.example`, a port behind it or not); raise `ValueError`.

    Plain http only for this machine itself, in the demo. No paths and no wildcards: the text goes into a header.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError("This is not an origin.") from error
    surplus = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    literal = _address(host)
    if surplus or not (literal or _HOST.fullmatch(host)) or len(host) > 253:
        raise ValueError("Write an origin such as https://app.example.com, without a path.")
    local = host == "localhost" or (literal is not None and literal.is_loopback)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.DEMO and local):
        raise ValueError("The origin must be https.")
    name = f"[{host}]" if literal is not None and literal.version == 6 else host
    usual = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{name}" + (f":{port}" if port is not None and port != usual else "")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def _new_token() -> str:
    return "plt_" + secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _record(link: PortalLink, action: str, changes: dict[str, object]) -> None:
    audit.record(
        tenant_id=link.tenant_id,
        action=action,
        object_type="portal_link",
        object_id=link.pk,
        object_name=link.label,
        changes=changes,
    )
