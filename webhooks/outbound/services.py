"""What changes outbound webhooks: publishing events, and what people do to endpoints and deliveries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.ids import new_id
from integrations.events import DomainEvent
from integrations.models import Tenant
from integrations.models.base import ForeignWrite, scoped_tenant_ids
from integrations.runtime.alerts import raise_alert, resolve_alert
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event, subscribes
from webhooks.outbound.signing import new_secret

CHANNEL = "hub_deliveries"
DISABLED_ALERT = "webhook_endpoint_disabled"


def publish(
    *, tenant_id: int, type: str, object: Mapping[str, Any], object_type: str = "", object_id: str = "", key: str
) -> Event:
    """Store the event, and a delivery for each active endpoint that subscribes to `type`, in the caller's transaction.

    A second call with the same tenant, type and key returns the first event and adds nothing. Workers are woken when the
    transaction commits; a rollback leaves no trace. `object` must be what JSON can hold.
    """
    _refuse_foreign_scope(tenant_id)
    event = _event(tenant_id, type, object, object_type=object_type, object_id=object_id, key=key)
    with transaction.atomic():
        # ON CONFLICT DO NOTHING waits for a twin that is not committed yet, and tells nothing: so look which one stands.
        Event.unscoped.bulk_create([event], ignore_conflicts=True)
        stored: Event = Event.unscoped.get(tenant_id=tenant_id, type=type, key=key)
        if stored.pk == event.pk:
            endpoints = Endpoint.unscoped.filter(tenant_id=tenant_id, is_active=True, deleted_at__isnull=True)
            _deliver(event, [endpoint for endpoint in endpoints if subscribes(endpoint.events, type)])
    return stored


def on_domain_event(event: DomainEvent) -> None:
    """Publish a fact of a feature; its `private` part stays inside."""
    publish(
        tenant_id=event.tenant_id,
        type=event.type,
        object=event.object,
        object_type=event.object_type,
        object_id=event.object_id,
        key=event.key,
    )


def _refuse_foreign_scope(tenant_id: int) -> None:
    scoped = scoped_tenant_ids()
    if scoped and tenant_id not in scoped:
        raise ForeignWrite(f"event of tenant {tenant_id} published in the scope of {sorted(scoped)}")


def _event(tenant_id: int, type: str, object: Mapping[str, Any], *, object_type: str, object_id: str, key: str) -> Event:
    event_id, created = new_id("evt"), clock.now()
    body = {"id": event_id, "type": type, "created": _iso(created), "data": {"object": dict(object)}}
    # ASCII only: a receiver that decodes wrongly still verifies the bytes, and a lone surrogate can't break the encoding.
    payload = json.dumps(body, separators=(",", ":"), cls=DjangoJSONEncoder, allow_nan=False)
    return Event(
        id=event_id,
        tenant_id=tenant_id,
        type=type,
        key=key,
        payload=payload,
        object_type=object_type,
        object_id=object_id,
        created=created,
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _deliver(event: Event, endpoints: list[Endpoint], **fields: Any) -> list[Delivery]:
    deliveries = [Delivery(tenant_id=event.tenant_id, event=event, endpoint=endpoint, **fields) for endpoint in endpoints]
    if deliveries:
        Delivery.unscoped.bulk_create(deliveries)
        _nudge()
    return deliveries


def _nudge() -> None:
    """Wake the delivery engines once the current transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")


# --- Endpoints: called inside the tenant's scope --------------------------------------------------------------------------


def create_endpoint(
    *,
    tenant: Tenant,
    url: str,
    events: list[str],
    name: str = "",
    headers: Mapping[str, str] | None = None,
    is_active: bool = True,
) -> tuple[Endpoint, str]:
    """Return the endpoint and its signing secret, which is shown now and never again. The values are validated already."""
    endpoint = Endpoint(tenant=tenant, url=url, events=list(events), name=name, is_active=is_active)
    secret = new_secret()
    endpoint.set_secrets([secret])
    endpoint.set_headers(dict(headers or {}))
    endpoint.save(force_insert=True)
    return endpoint, secret


def update_endpoint(*, endpoint_id: str, changes: Mapping[str, Any]) -> Endpoint:
    """Apply validated changes (`name url events headers is_active`). Switching off holds what is pending, on sends it.

    Raises `Endpoint.DoesNotExist` for one that is not there or deleted.
    """
    with transaction.atomic():
        endpoint: Endpoint = Endpoint.objects.select_for_update().get(pk=endpoint_id, deleted_at__isnull=True)
        for name in ("name", "url", "events"):
            if name in changes:
                setattr(endpoint, name, changes[name])
        if "headers" in changes:
            endpoint.set_headers(dict(changes["headers"]))
        if "is_active" in changes and changes["is_active"] != endpoint.is_active:
            endpoint.is_active, endpoint.disabled_reason = changes["is_active"], ""
            if endpoint.is_active:
                _release_held(endpoint)
            else:
                _hold_pending(endpoint)
        endpoint.updated = clock.now()
        endpoint.save()
    return endpoint


def delete_endpoint(*, endpoint_id: str) -> None:
    """Take the endpoint out of use for good; what it was still owed is failed, its history stays."""
    with transaction.atomic():
        endpoint: Endpoint = Endpoint.objects.select_for_update().get(pk=endpoint_id, deleted_at__isnull=True)
        endpoint.is_active, endpoint.deleted_at, endpoint.updated = False, clock.now(), clock.now()
        endpoint.save()
        owed = _resting(endpoint, DeliveryState.PENDING, DeliveryState.HELD)
        owed.update(state=DeliveryState.FAILED, finished_at=clock.now(), last_error="the endpoint was deleted")


def disable_endpoint(*, endpoint_id: str, tenant_id: int, reason: str) -> None:
    """Switch an endpoint off on the hub's own account and say so in an alert. Safe to repeat; needs no scope."""
    with transaction.atomic():
        endpoint = Endpoint.unscoped.select_for_update().filter(pk=endpoint_id, tenant_id=tenant_id, is_active=True).first()
        if endpoint is None:
            return
        Endpoint.unscoped.filter(pk=endpoint.pk).update(is_active=False, disabled_reason=reason, updated=clock.now())
        _hold_pending(endpoint)
        raise_alert(
            tenant_id=tenant_id,
            kind=DISABLED_ALERT,
            subject=endpoint_id,
            message=f"The webhook endpoint {endpoint} was switched off: {reason}. Its pending deliveries are held.",
        )


def _resting(endpoint: Endpoint, *states: DeliveryState) -> Any:
    """Return the endpoint's deliveries in these states, less what is in flight: that is its worker's to settle."""
    resting = Q(lease_until__isnull=True) | Q(lease_until__lte=clock.now())
    ids = Delivery.unscoped.filter(resting, endpoint=endpoint, state__in=states)
    locked = list(ids.order_by("id").select_for_update().values_list("pk", flat=True))
    return Delivery.unscoped.filter(pk__in=locked)


def _hold_pending(endpoint: Endpoint) -> None:
    _resting(endpoint, DeliveryState.PENDING).update(state=DeliveryState.HELD)


def _release_held(endpoint: Endpoint) -> None:
    _resting(endpoint, DeliveryState.HELD).update(state=DeliveryState.PENDING, due_at=clock.now())
    resolve_alert(tenant_id=endpoint.tenant_id, kind=DISABLED_ALERT, subject=endpoint.pk)
    _nudge()


# --- Deliveries: called inside the tenant's scope -------------------------------------------------------------------------


def retry_delivery(*, endpoint: Endpoint, delivery_id: str) -> Delivery:
    """Send a delivery now: a pending one early, a finished one once more (one try, with the next attempt number).

    Raises `Delivery.DoesNotExist`, and `Conflict` while it is in flight or its endpoint is off.
    """
    with transaction.atomic():
        delivery: Delivery = Delivery.objects.select_for_update().get(pk=delivery_id, endpoint=endpoint)
        if not endpoint.is_active:
            raise Conflict("The endpoint is switched off: switch it on first.")
        if delivery.in_flight():
            raise Conflict("This delivery is being sent right now.")
        if delivery.state in (DeliveryState.FAILED, DeliveryState.DELIVERED):
            delivery.attempts_allowed = delivery.attempts + 1
        delivery.state, delivery.due_at, delivery.finished_at = DeliveryState.PENDING, clock.now(), None
        delivery.save(update_fields=["state", "due_at", "finished_at", "attempts_allowed"])
        _nudge()
    return delivery


def send_test(*, endpoint: Endpoint) -> Delivery:
    """Send a `webhook.test` event to this endpoint alone, whatever it subscribes to, the way all events go. Tried once.

    Raises `Conflict` while the endpoint is off.
    """
    if not endpoint.is_active:
        raise Conflict("The endpoint is switched off: switch it on first.")
    content = {"endpoint": endpoint.pk, "message": "This is a test event. Nothing has happened."}
    event = _event(endpoint.tenant_id, TEST_EVENT, content, object_type="webhook", object_id=endpoint.pk, key=new_id("test"))
    with transaction.atomic():
        event.save(force_insert=True)
        return _deliver(event, [endpoint], attempts_allowed=1)[0]
