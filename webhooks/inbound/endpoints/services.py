"""Making, changing, rotating and removing a tenant's ways in. All of it within the tenant's scope, and written to the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.ids import new_token
from integrations.models import Config, Tenant
from integrations.tenancy import audit
from webhooks.inbound.endpoints import checks
from webhooks.inbound.locate import ENDPOINT, has_way_in
from webhooks.inbound.models import DEFAULT_TOLERANCE, InboundEndpoint, SourceSecret

MAX_OVERLAP = timedelta(days=7)
MAX_SECRETS = 10
"""A source's secrets at most, those in their overlap included."""

OF_ALL = frozenset({"name", "events", "allowed_ips", "is_active"})
OF_SOURCES = frozenset({"options", "tolerance", "dedupe_path", "type_path", "event_types", "fields"})
SECRET_FIELDS = frozenset({"options", "sealed_verify_token"})


@dataclass(frozen=True, slots=True)
class Rotated:
    """`secret` is the one that we made, to be shown once; empty where it was brought along, or the path was changed."""

    endpoint: InboundEndpoint
    secret: str = ""


def create_source(*, tenant: Tenant, scheme: str, secret: str = "", **settings: Any) -> tuple[InboundEndpoint, str]:
    """Store a generic source and return it with its secret, where we made that (else with ""). `settings` are those of
    `OF_ALL` and `OF_SOURCES`. Raises `InvalidRequest` naming the field."""
    kind = checks.scheme(scheme)
    used = checks.secret(kind, secret)
    endpoint = InboundEndpoint(tenant=tenant, scheme=kind, tolerance=DEFAULT_TOLERANCE)
    for name, value in checked_settings(endpoint, {"options": {}, **settings}).items():
        setattr(endpoint, name, value)
    endpoint.set_secrets([_secret(used)])
    with transaction.atomic():
        endpoint.save(force_insert=True)
        _record(endpoint, "created", {"scheme": [None, kind.value]})
    return endpoint, "" if secret else used


def create_for_config(*, config: Config, **settings: Any) -> InboundEndpoint:
    """Store the row of a provider account. Raises `Conflict` where it has one, `InvalidRequest` where it needs none."""
    if not has_way_in(config.provider_id):
        raise InvalidRequest("This provider calls no address of an account.", attr="config")
    endpoint = InboundEndpoint(tenant_id=config.tenant_id, config=config, name=str(config)[:100])
    for name, value in checked_settings(endpoint, settings).items():
        setattr(endpoint, name, value)
    with transaction.atomic():
        if InboundEndpoint.unscoped.select_for_update().filter(config=config).exists():
            raise Conflict("This account has its inbound endpoint already.", attr="config")
        endpoint.save(force_insert=True)
        _record(endpoint, "created", {})
    return endpoint


def ensure_rows(*, tenants: Iterable[Tenant]) -> None:
    """Give each provider account that has an address of its own its row. Called before they are listed."""
    bare = Config.unscoped.filter(tenant__in=list(tenants), inbound_endpoint__isnull=True)
    rows = [
        InboundEndpoint(tenant_id=config.tenant_id, config=config, name=str(config)[:100])
        for config in bare
        if has_way_in(config.provider_id)
    ]
    if rows:
        InboundEndpoint.unscoped.bulk_create(rows, ignore_conflicts=True)


def update_endpoint(*, endpoint_id: str, changes: Mapping[str, Any]) -> InboundEndpoint:
    """Change what is given and return the stored row. Raises `InvalidRequest`, `InboundEndpoint.DoesNotExist`."""
    with transaction.atomic():
        endpoint = locked(endpoint_id)
        given = dict(changes)
        if given.pop("scheme", endpoint.scheme) != endpoint.scheme:
            raise InvalidRequest("The scheme stays: make another source.", attr="scheme")
        checked = checked_settings(endpoint, given)
        before = {name: getattr(endpoint, name) for name in checked}
        for name, value in checked.items():
            setattr(endpoint, name, value)
        endpoint.updated = clock.now()
        endpoint.save(update_fields=[*checked, "updated"])
        changed = audit.differences(before, checked, secret=SECRET_FIELDS)
        if changed:
            _record(endpoint, "updated", changed)
    return endpoint


def delete_endpoint(*, endpoint_id: str) -> None:
    """Remove a source: its path is unknown from now on, its requests stay readable. Raises `Conflict` for a provider's."""
    with transaction.atomic():
        endpoint = locked(endpoint_id)
        if endpoint.config_id is not None:
            raise Conflict("It belongs to the provider account: switch it off, or remove the account.")
        endpoint.is_active, endpoint.deleted_at, endpoint.updated = False, clock.now(), clock.now()
        endpoint.save(update_fields=["is_active", "deleted_at", "updated"])
        _record(endpoint, "deleted", {})


def rotate(*, endpoint_id: str, overlap: timedelta, secret: str = "") -> Rotated:
    """Give a source a new secret, a provider account a new path; the old one counts for `overlap` beside it.

    A provider account keeps one former path: rotating again within the overlap ends the one before. The provider must be
    told the new address. Raises `InvalidRequest`, `InboundEndpoint.DoesNotExist`.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidRequest("Choose 0 seconds to 7 days.", attr="overlap_seconds")
    with transaction.atomic():
        endpoint = locked(endpoint_id)
        if endpoint.config_id is not None:
            return _rotate_path(endpoint, overlap, secret)
        kind, now = checks.scheme(endpoint.scheme), clock.now()
        used = checks.secret(kind, secret)
        current = [each for each in endpoint.secrets() if _counts(each, now)]
        if any(each["secret"] == used for each in current):
            raise InvalidRequest("This secret is in use already.", attr="secret")
        end = now + overlap
        kept = [_ending(each, end) for each in current] if overlap else []
        if len(kept) >= MAX_SECRETS:
            raise InvalidRequest(f"At most {MAX_SECRETS} secrets may be in use at once.", attr="overlap_seconds")
        endpoint.set_secrets([_secret(used), *kept])
        endpoint.updated = now
        endpoint.save(update_fields=["sealed_secrets", "updated"])
        _record(endpoint, "secret_rotated", {"secret": [audit.MASKED, audit.MASKED]})
    return Rotated(endpoint, "" if secret else used)


def _rotate_path(endpoint: InboundEndpoint, overlap: timedelta, secret: str) -> Rotated:
    if secret:
        raise InvalidRequest("The provider's secrets are part of its account: change them there.", attr="secret")
    now = clock.now()
    config: Config = Config.objects.select_for_update().get(inbound_endpoint=endpoint)
    endpoint.previous_token = config.hook_token if overlap else ""
    endpoint.previous_until = now + overlap if overlap else None
    endpoint.updated = now
    config.hook_token = new_token()
    config.save(update_fields=["hook_token", "updated"])
    endpoint.save(update_fields=["previous_token", "previous_until", "updated"])
    endpoint.config = config
    _record(endpoint, "path_rotated", {"path": [audit.MASKED, audit.MASKED]})
    return Rotated(endpoint)


def locked(endpoint_id: str) -> InboundEndpoint:
    """Return the endpoint with its row locked; raise `InboundEndpoint.DoesNotExist` for one that is not there or deleted."""
    found: InboundEndpoint = InboundEndpoint.objects.select_for_update().get(pk=endpoint_id, deleted_at__isnull=True)
    return found


def checked_settings(endpoint: InboundEndpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as they are stored; raise `InvalidRequest` for a bad one, or one that this kind does not have."""
    generic = endpoint.config_id is None
    for name in given:
        if name not in OF_ALL and not (generic and name in OF_SOURCES):
            raise InvalidRequest("The provider's own folder says this: it can't be set here.", attr=name)
    found = dict(given)
    tenant_id = endpoint.tenant_id
    if "options" in given:
        kind = checks.scheme(endpoint.scheme)
        word = endpoint.sealed_verify_token
        found["options"], found["sealed_verify_token"] = checks.options(
            kind, given["options"], tenant_id=tenant_id, stored_word=word
        )
    if "tolerance" in given:
        found["tolerance"] = checks.tolerance(given["tolerance"])
    if "events" in given:
        found["events"] = checks.patterns(given["events"])
    for name in ("dedupe_path", "type_path"):
        if name in given:
            found[name] = checks.path(given[name], name)
    if "event_types" in given:
        found["event_types"] = checks.event_types(given["event_types"], tenant_id=tenant_id)
    if "fields" in given:
        found["fields"] = checks.fields(given["fields"])
    if "allowed_ips" in given:
        found["allowed_ips"] = checks.networks(given["allowed_ips"])
    return found


def _secret(value: str) -> SourceSecret:
    return SourceSecret(secret=value, created=clock.now().isoformat(), expires_at=None)


def _counts(secret: SourceSecret, now: datetime) -> bool:
    return secret["expires_at"] is None or datetime.fromisoformat(secret["expires_at"]) > now


def _ending(secret: SourceSecret, end: datetime) -> SourceSecret:
    given = datetime.fromisoformat(secret["expires_at"]) if secret["expires_at"] else end
    return SourceSecret(secret=secret["secret"], created=secret["created"], expires_at=min(end, given).isoformat())


def _record(endpoint: InboundEndpoint, what: str, changes: Mapping[str, Any]) -> None:
    audit.record(
        tenant_id=endpoint.tenant_id,
        action=f"{ENDPOINT}.{what}",
        object_type=ENDPOINT,
        object_id=endpoint.pk,
        object_name=str(endpoint),
        changes=changes,
    )
