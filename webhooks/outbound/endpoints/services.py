"""What people, and the hub itself, do to endpoints. Called inside the tenant's scope unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.ids import new_id
from integrations.models import Tenant
from integrations.secrets import SecretUnreadable
from integrations.tenancy import audit
from webhooks.outbound import signing
from webhooks.outbound.delivery import notices
from webhooks.outbound.endpoints import owed
from webhooks.outbound.endpoints.headers import headers_after
from webhooks.outbound.endpoints.owed import Move
from webhooks.outbound.endpoints.owed import bury as bury
from webhooks.outbound.endpoints.urls import masked_url
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import Breaker, Delivery, DeliveryState, Endpoint, EndpointHealth, SigningKey
from webhooks.outbound.publishing.publish import nudge, publish
from webhooks.outbound.publishing.reordering import reorder

PLAIN_FIELDS = (
    "name",
    "url",
    "events",
    "channels",
    "filter",
    "payload_format",
    "ordering",
    "batch_size",
    "batch_wait",
    "max_in_flight",
    "rate_per_second",
    "retry_delays",
)
"""What `update_endpoint` sets as given; `headers` and `is_active` take more than that."""

RESTED = {
    "failures": 0,
    "failing_since": None,
    "warned": 0,
    "breaker": Breaker.CLOSED,
    "breaker_until": None,
    "openings": 0,
    "paused_until": None,
}
"""A health without a past: what an endpoint that was switched on again begins with."""


def create_endpoint(
    *,
    tenant: Tenant,
    url: str,
    events: list[str],
    headers: Mapping[str, str] | None = None,
    is_active: bool = True,
    secret: str = "",
    scheme: str = signing.SYMMETRIC,
    **fields: Any,
) -> tuple[Endpoint, str]:
    """Return the endpoint and its signing secret, which is shown now and never again. The values are validated already.

    `secret` is one that the tenant brings along; else a fresh one of `scheme` is made. `fields` are of `PLAIN_FIELDS`.
    Raises `Conflict` as `require_room` does.
    """
    endpoint = Endpoint(tenant=tenant, url=url, events=list(events), is_active=is_active, **fields)
    key = signing.new_key(signing.check_secret(secret) if secret else scheme, secret=secret)
    endpoint.created = datetime.fromisoformat(key["created"])  # equal: what tells its first key from later ones
    endpoint.set_signing_keys([key])
    endpoint.set_headers(dict(headers or {}))
    with transaction.atomic():
        require_room(tenant.pk)
        endpoint.save(force_insert=True)
        EndpointHealth(tenant=tenant, endpoint=endpoint).save(force_insert=True)
        _record(endpoint, "created", _differences({}, _state(endpoint)))
    return endpoint, key["secret"]


def update_endpoint(*, endpoint_id: str, changes: Mapping[str, Any], held: str = "send") -> Endpoint:
    """Apply validated changes (`PLAIN_FIELDS`, `headers`, `is_active`).

    Switching off holds what is owed; switching on gives the endpoint a fresh start and sends what was held meanwhile, with a
    whole schedule of tries, or, with `held="discard"`, drops it (a replay of `all` sends it). Where much is owed the queue goes
    on with that. Masked headers keep the stored values. Raises `Endpoint.DoesNotExist` for one that is not there or deleted,
    `InvalidRequest` as `headers_after`, `Conflict` where it is to discard what an earlier switch is still being done with.
    """
    with transaction.atomic():
        endpoint = locked(endpoint_id)
        before, headers = _state(endpoint), headers_after(endpoint, changes)
        for name in PLAIN_FIELDS:
            if name in changes:
                setattr(endpoint, name, changes[name])
        if headers is not None:
            endpoint.set_headers(headers)
        if "is_active" in changes and changes["is_active"] != endpoint.is_active:
            endpoint.is_active, endpoint.disabled_reason = changes["is_active"], ""
            endpoint.disabled_at = None if endpoint.is_active else clock.now()
            if endpoint.is_active:
                _begin_anew(endpoint, held)
            else:
                owed.move(endpoint, Move.HOLD)
        endpoint.updated = clock.now()
        endpoint.save()
        if any(before[name] != getattr(endpoint, name) for name in ("ordering", "batch_size")):
            reorder(endpoint, before=before["ordering"])
        if changed := _differences(before, _state(endpoint)):
            switched = "enabled" if endpoint.is_active else "disabled"
            _record(endpoint, switched if "is_active" in changed else "updated", changed)
    return endpoint


def delete_endpoint(*, endpoint_id: str) -> None:
    """Take the endpoint out of use for good; what it was still owed is failed, its history stays."""
    with transaction.atomic():
        endpoint = locked(endpoint_id)
        endpoint.is_active, endpoint.deleted_at, endpoint.updated = False, clock.now(), clock.now()
        endpoint.save()
        owed.move(endpoint, Move.END)
        notices.forget(endpoint)
        _record(endpoint, "deleted")


def disable_endpoint(*, endpoint_id: str, tenant_id: int, reason: str) -> bool:
    """Switch an endpoint off on the hub's own account, and tell the tenant. Return whether it was on. Needs no scope."""
    with transaction.atomic():
        endpoint = (
            Endpoint.unscoped.select_for_update(no_key=True).filter(pk=endpoint_id, tenant_id=tenant_id, is_active=True).first()
        )
        if endpoint is None:
            return False
        now = clock.now()
        endpoint.is_active, endpoint.disabled_reason, endpoint.disabled_at = False, reason, now
        Endpoint.unscoped.filter(pk=endpoint.pk).update(is_active=False, disabled_reason=reason, disabled_at=now, updated=now)
        owed.move(endpoint, Move.HOLD)
        notices.disabled(endpoint, reason)
        _record(endpoint, "disabled", {"is_active": [True, False], "disabled_reason": ["", reason]})
        return True


def rotate_secret(*, endpoint_id: str, overlap: timedelta, scheme: str = "", secret: str = "") -> tuple[Endpoint, SigningKey]:
    """Make a new signing key and return it; the old ones go on signing beside it for `overlap`. `secret` is one that the tenant
    brings along; else a fresh one of `scheme` is made, of the same scheme as before where that is empty.

    Raises `Endpoint.DoesNotExist`, and `InvalidRequest` where the endpoint has as many keys in use as it may have, or `secret`
    is one of them.
    """
    now = clock.now()
    with transaction.atomic():
        endpoint = locked(endpoint_id)
        try:
            current = signing.in_use(endpoint.signing_keys(), now)
        except SecretUnreadable:  # nothing can be signed with them any more: this is the way out
            current = []
        before = current[0]["scheme"] if current else signing.SYMMETRIC
        key = signing.new_key(signing.check_secret(secret) if secret else scheme or before, secret=secret)
        if secret and any(each["secret"] == secret for each in current):
            raise InvalidRequest("The endpoint signs with this secret already.", attr="secret")
        if len(current) >= signing.MAX_KEYS and overlap > timedelta(0):
            raise InvalidRequest(f"At most {signing.MAX_KEYS} keys may be in use at once.", attr="overlap_seconds")
        endpoint.set_signing_keys(signing.rotated(current, key, overlap=overlap, now=now))
        endpoint.updated = now
        endpoint.save(update_fields=["sealed_secrets", "updated"])
        seconds = int(overlap.total_seconds())
        masked = {"secret": [audit.MASKED, audit.MASKED], "overlap_seconds": [None, seconds]}
        _record(endpoint, "secret_rotated", masked | audit.differences({"scheme": before}, {"scheme": key["scheme"]}))
    return endpoint, key


def locked(endpoint_id: str) -> Endpoint:
    """Return the endpoint with its row locked; raise `Endpoint.DoesNotExist` for one that is not there or deleted."""
    found: Endpoint = Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint_id, deleted_at__isnull=True)
    return found


def require_room(tenant_id: int) -> None:
    """Raise `Conflict` where the tenant has as many endpoints as it may have. Who makes one waits, in this transaction, for
    others who do. Needs no scope."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)
    if Endpoint.unscoped.filter(tenant_id=tenant_id, deleted_at__isnull=True).count() >= settings.WEBHOOK_MAX_ENDPOINTS:
        raise Conflict(f"A tenant has at most {settings.WEBHOOK_MAX_ENDPOINTS} endpoints: delete one first.")


def require_on(endpoint: Endpoint) -> None:
    """Raise `Conflict` while the endpoint is off."""
    if not endpoint.is_active:
        raise Conflict("The endpoint is switched off: switch it on first.")


def send_test(*, endpoint: Endpoint) -> Delivery:
    """Send a `webhook.test` event to this endpoint alone, whatever it subscribes to, the way all events go. Tried once.

    Raises `Conflict` while the endpoint is off.
    """
    content = {"endpoint": endpoint.pk, "message": "This is a test event. Nothing has happened."}
    return dispatch(endpoint=endpoint, type=TEST_EVENT, object=content, attempts_allowed=1)


def dispatch(*, endpoint: Endpoint, type: str, object: Mapping[str, Any], attempts_allowed: int | None = None) -> Delivery:
    """Send an event to this endpoint alone, whatever it subscribes to, and return its delivery. It never waits for a batch.

    Raises `Conflict` while the endpoint is off.
    """
    require_on(endpoint)
    with transaction.atomic():
        event = publish(
            tenant_id=endpoint.tenant_id,
            type=type,
            object=object,
            object_type="webhook",
            object_id=endpoint.pk,
            key=new_id("test"),
            only=[endpoint],
        )
        mine = Delivery.unscoped.filter(event=event, endpoint=endpoint)
        mine.update(state=DeliveryState.PENDING, order_key="")
        if attempts_allowed is not None:
            mine.update(attempts_allowed=attempts_allowed)
        found: Delivery = mine.select_related("event").get()
        return found


def _begin_anew(endpoint: Endpoint, held: str) -> None:
    if held == "discard" and owed.is_moving(endpoint, Move.HOLD, Move.SEND):
        raise Conflict("What the endpoint is owed is still being put aside or sent: try again in a moment.")
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(**RESTED)
    owed.move(endpoint, Move.DISCARD if held == "discard" else Move.SEND)
    notices.enabled(endpoint)
    nudge()


# --- Who did what ---------------------------------------------------------------------------------------------------------


def _record(endpoint: Endpoint, what: str, changes: Mapping[str, Any] | None = None) -> None:
    audit.record(
        tenant_id=endpoint.tenant_id,
        action=f"endpoint.{what}",
        object_type="endpoint",
        object_id=endpoint.pk,
        object_name=endpoint.name,
        changes=changes,
    )


def _state(endpoint: Endpoint) -> dict[str, Any]:
    try:
        headers: dict[str, str] | None = endpoint.headers()
    except SecretUnreadable:
        headers = None
    return {**{name: getattr(endpoint, name) for name in PLAIN_FIELDS}, "headers": headers, "is_active": endpoint.is_active}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what changed, fit for the log: of headers only that they did, of URLs nothing that may be a token."""
    changed = audit.differences(before, after, secret=frozenset({"headers"}))
    if "url" in changed:
        changed["url"] = [masked_url(each) if each else None for each in changed["url"]]
    return changed
