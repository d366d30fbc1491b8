"""The life of API keys: made, changed, rotated with a grace period, revoked. Each change is in the audit.

Nobody hands on more than he has: `grant` is what the one who asks may himself.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from rest_framework.exceptions import PermissionDenied

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import ApiKey, Role, Tenant
from integrations.tenancy import audit
from integrations.tenancy.network import normal_network
from integrations.tenancy.scopes import Grant, bad_scopes

GRACE = timedelta(days=1)
LONGEST_GRACE = timedelta(days=30)
LONGEST_LIFE = timedelta(days=3660)
MAX_NAME, MAX_SCOPES, MAX_IPS = 100, 200, 100
CHANGEABLE = ("name", "allowed_ips", "rate_per_minute", "expires_at")
STATES = ("active", "expired", "revoked")
_SHOWN = 12


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def create_api_key(
    *,
    tenant: Tenant,
    name: str,
    role: str = Role.ADMIN,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    **fields: Any,
) -> tuple[ApiKey, str]:
    """Store a key as it is told, unchecked (see `issue_key`); return the row and the key itself, shown now and never again."""
    key = _fresh()
    row = ApiKey(
        tenant=tenant,
        name=name,
        prefix=key[:_SHOWN],
        key_hash=hash_key(key),
        role=role,
        scopes=scopes or [],
        expires_at=expires_at,
        **fields,
    )
    row.save(force_insert=True)
    return row, key


def issue_key(*, tenant: Tenant, grant: Grant, values: Mapping[str, Any]) -> tuple[ApiKey, str]:
    """Make a key with the `name`, `role`, `scopes`, `expires_at`, `allowed_ips` and `rate_per_minute` in `values`; return the
    row and the key, which is shown this once.

    Raises `InvalidRequest` naming the field, `PermissionDenied` (`exceeds_own_grant`) for more than `grant`.
    """
    cleaned = clean(values)
    row = ApiKey(tenant=tenant, **cleaned)
    _within(grant, row)
    with transaction.atomic():
        row, key = create_api_key(tenant=tenant, created_by=audit.current_actor().name[:150], **cleaned)
        after = {name: value for name, value in _facts(row).items() if value not in (None, [])}
        _record(row, "created", audit.differences({}, after))
    return row, key


def change_key(*, key: ApiKey, grant: Grant, changes: Mapping[str, Any]) -> ApiKey:
    """Change name, addresses, rate or end of a key; role and scopes stay as they were made.

    Raises as `issue_key`, and `Conflict` for a revoked key.
    """
    cleaned = {name: value for name, value in clean(changes).items() if name in CHANGEABLE}
    with transaction.atomic():
        row = _locked(key)
        _within(grant, row)
        before = _facts(row)
        for name, value in cleaned.items():
            setattr(row, name, value)
        _within(grant, row)
        row.save(update_fields=list(CHANGEABLE))
        if changed := audit.differences(before, _facts(row)):
            _record(row, "updated", changed)
    return row


def rotate_key(*, key: ApiKey, grant: Grant, grace: timedelta = GRACE) -> tuple[ApiKey, str]:
    """Give the row a new key and return both; the key before works on for `grace`, one still older no more.

    Raises `InvalidRequest` (attr `grace_seconds`), `PermissionDenied` as `issue_key`, `Conflict` for a revoked or expired key.
    """
    if not timedelta(0) <= grace <= LONGEST_GRACE:
        raise InvalidRequest(f"From 0 to {int(LONGEST_GRACE.total_seconds())} seconds.", attr="grace_seconds")
    with transaction.atomic():
        row, now = _locked(key), clock.now()
        if state_of(row) == "expired":
            raise Conflict("This key has expired: make a new one, or give it a later end first.")
        _within(grant, row)
        fresh, old = _fresh(), row.prefix
        row.previous_hash, row.previous_prefix = (row.key_hash, old) if grace else (None, "")
        row.previous_until = now + grace if grace else None
        row.prefix, row.key_hash, row.rotated_at = fresh[:_SHOWN], hash_key(fresh), now
        row.save(update_fields=["prefix", "key_hash", "previous_hash", "previous_prefix", "previous_until", "rotated_at"])
        until = row.previous_until.isoformat() if row.previous_until else None
        _record(row, "rotated", {"key": [f"{old}…", f"{row.prefix}…"], "previous_until": [None, until]})
    return row, fresh


def reissue(key: ApiKey) -> str:
    """Return a new value for a key whose own nobody was shown, since the answer with it was never given."""
    fresh = _fresh()
    key.prefix, key.key_hash = fresh[:_SHOWN], hash_key(fresh)
    key.save(update_fields=["prefix", "key_hash"])
    return fresh


def revoke_key(*, key: ApiKey) -> ApiKey:
    """Shut the key out, from the next request on. What it did and how often it was used stays; again changes nothing."""
    with transaction.atomic():
        row: ApiKey = ApiKey.unscoped.select_for_update(no_key=True).get(pk=key.pk)
        if row.revoked_at is None:
            row.revoked_at = clock.now()
            row.save(update_fields=["revoked_at"])
            _record(row, "revoked", {"state": ["active", "revoked"]})
    return row


def find_key(value: str) -> ApiKey | None:
    """Return the row that this key, or the one before it during its grace, belongs to, in whatever state. By hash alone: how
    long it takes tells nothing of the key."""
    digest = hash_key(value)
    before = Q(previous_hash=digest, previous_until__gt=clock.now())
    row: ApiKey | None = ApiKey.unscoped.select_related("tenant").filter(Q(key_hash=digest) | before).first()
    return row


def state_of(key: ApiKey) -> str:
    """Return one of `STATES`."""
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= clock.now() else "active"


def previous_works(key: ApiKey) -> bool:
    """Tell whether the key before the last rotation is still good."""
    return state_of(key) == "active" and bool(key.previous_hash and key.previous_until and key.previous_until > clock.now())


def in_state(keys: QuerySet[ApiKey], state: str) -> QuerySet[ApiKey]:
    """Return those of the keys that are in this state."""
    if state == "revoked":
        return keys.filter(revoked_at__isnull=False)
    alive, over = keys.filter(revoked_at__isnull=True), Q(expires_at__lte=clock.now())
    return alive.filter(over) if state == "expired" else alive.exclude(expires_at__isnull=False, expires_at__lte=clock.now())


def grant_of(key: ApiKey) -> Grant:
    """Return what this key may."""
    rate = key.rate_per_minute or int(settings.API_RATE_PER_MINUTE)
    return Grant(key.role, frozenset(key.scopes), key.expires_at, tuple(key.allowed_ips), rate)


def highest_rate() -> int:
    """Return the most requests a minute that a key can be given."""
    return max(int(settings.API_RATE_PER_MINUTE), int(settings.API_RATE_MAX_PER_MINUTE))


def clean(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as they are stored; raise `InvalidRequest` naming the first that is wrong."""
    found = dict(values)
    if "name" in found:
        found["name"] = str(found["name"]).strip()
        if not found["name"] or len(found["name"]) > MAX_NAME or not found["name"].isprintable():
            raise InvalidRequest(f"From 1 to {MAX_NAME} printable characters.", attr="name")
    if "role" in found and found["role"] not in Role.values:
        raise InvalidRequest(f"One of {', '.join(Role.values)}.", attr="role")
    if "scopes" in found:
        found["scopes"] = list(dict.fromkeys(found["scopes"]))
        if bad := bad_scopes(found["scopes"]):
            raise InvalidRequest(f"Unknown: {', '.join(bad)[:200]}. GET /api/v1/apikeys/scopes lists them.", attr="scopes")
        if len(found["scopes"]) > MAX_SCOPES:
            raise InvalidRequest(f"At most {MAX_SCOPES}.", attr="scopes")
    if "allowed_ips" in found:
        found["allowed_ips"] = _networks(found["allowed_ips"])
    if (rate := found.get("rate_per_minute")) is not None and not 1 <= rate <= highest_rate():
        raise InvalidRequest(f"From 1 to {highest_rate()} requests a minute.", attr="rate_per_minute")
    if (until := found.get("expires_at")) is not None and not timedelta(0) < until - clock.now() <= LONGEST_LIFE:
        raise InvalidRequest("A time to come, within ten years; null for no end.", attr="expires_at")
    return found


def _networks(texts: list[str]) -> list[str]:
    if len(texts) > MAX_IPS:
        raise InvalidRequest(f"At most {MAX_IPS}.", attr="allowed_ips")
    try:
        return list(dict.fromkeys(normal_network(each) for each in texts))
    except ValueError as error:
        raise InvalidRequest(str(error), attr="allowed_ips") from error


def _fresh() -> str:
    return ApiKey.PREFIX + secrets.token_hex(20)


def _locked(key: ApiKey) -> ApiKey:
    row: ApiKey = ApiKey.unscoped.select_for_update(no_key=True).get(pk=key.pk, tenant_id=key.tenant_id)
    if row.revoked_at is not None:
        raise Conflict("This key is revoked.")
    return row


def _within(grant: Grant, key: ApiKey) -> None:
    if part := grant.excess(grant_of(key)):
        raise PermissionDenied(f"This is more than you may yourself ({part}).", code="exceeds_own_grant")


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "role": key.role,
        "scopes": list(key.scopes),
        "allowed_ips": list(key.allowed_ips),
        "rate_per_minute": key.rate_per_minute,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }


def _record(key: ApiKey, what: str, changes: Mapping[str, Any]) -> None:
    audit.record(
        tenant_id=key.tenant_id,
        action=f"api_key.{what}",
        object_type="api_key",
        object_id=key.pk,
        object_name=key.name,
        changes=changes,
    )
