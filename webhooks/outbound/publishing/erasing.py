"""Forgetting what an event said, at a person's request."""

from __future__ import annotations

from django.db import connection, transaction
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.events import FactErased, PayloadErased, emit
from integrations.tenancy import audit
from webhooks.outbound.models import DeadReason, Delivery, DeliveryAttempt, DeliveryState, Event

OWED = (DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.HELD, DeliveryState.BATCHED)


def erase_payload(*, event_id: str) -> Event:
    """Erase an event's payload, and what receivers answered to it. Who was told when, and what came of it, stays.

    What is still owed of it is given up as `unsendable`; what was to go out in the same batch goes without it. Erasing twice is
    once. Raises `Event.DoesNotExist`, and `Conflict` while it, or a rule's message about it, is being sent. Called inside the
    tenant's scope.
    """
    now = clock.now()
    with transaction.atomic():
        # Held against whoever makes deliveries of it meanwhile; before its deliveries, as everywhere.
        event: Event = Event.objects.select_for_update().get(pk=event_id)
        if event.erased_at is not None:
            return event
        mine = list(Delivery.unscoped.filter(event=event).values_list("pk", "carrier_id"))
        ids = sorted({pk for pk, _carrier in mine})
        carriers = {carrier for _pk, carrier in mine if carrier}
        involved = Q(pk__in=[*ids, *carriers])
        locked = list(Delivery.unscoped.filter(involved).order_by("pk").select_for_update())
        if any(each.in_flight() for each in locked):
            raise Conflict("The event is being sent right now: try again in a moment.")
        _give_up(ids)
        DeliveryAttempt.unscoped.filter(delivery_id__in=[each.pk for each in locked]).update(
            response_head="", response_headers={}
        )
        event.payload, event.erased_at, event.spread_at = "", now, event.spread_at or now
        event.save(update_fields=["payload", "erased_at", "spread_at"])
        audit.record(
            tenant_id=event.tenant_id,
            action="event.erased",
            object_type="event",
            object_id=event.pk,
            object_name=event.type,
        )
        emit(
            PayloadErased(
                tenant_id=event.tenant_id,
                type=event.type,
                key=event.key,
                object_type=event.object_type,
                object_id=event.object_id,
            )
        )
    return event


def on_fact_erased(fact: FactErased) -> None:
    """Erase the events that told of what was erased where it came from. Raises `Conflict` as `erase_payload` does."""
    types = [fact.type] if fact.type else _types_of(fact.tenant_id)
    told = Event.objects.filter(tenant_id=fact.tenant_id, type__in=types, key=fact.key)
    for event_id in told.order_by("pk").values_list("pk", flat=True):
        erase_payload(event_id=event_id)


# From one type to the next along the index of (tenant, type, key), which by the key alone would be read from end to end.
_TYPES = f"""
WITH RECURSIVE found(type) AS (
    SELECT min(type) FROM {Event._meta.db_table} WHERE tenant_id = %(tenant)s
    UNION ALL
    SELECT (SELECT min(type) FROM {Event._meta.db_table} WHERE tenant_id = %(tenant)s AND type > found.type)
    FROM found WHERE found.type IS NOT NULL
)
SELECT type FROM found WHERE type IS NOT NULL
"""  # noqa: S608 names of our own


def _types_of(tenant_id: int) -> list[str]:
    """Return the types of the tenant's stored events."""
    with connection.cursor() as cursor:
        cursor.execute(_TYPES, {"tenant": tenant_id})
        return [name for (name,) in cursor.fetchall()]


def _give_up(ids: list[str]) -> None:
    now = clock.now()
    mine = Delivery.unscoped.filter(pk__in=ids, state__in=OWED)
    # Those that it was to carry gather anew; they have waited long enough to go at once. Where their endpoint is off they are
    # held like all else; should it be switched just now, whoever switches it on takes both.
    passengers = Delivery.unscoped.filter(carrier__in=mine.values("pk"), state=DeliveryState.BATCHED)
    passengers.filter(endpoint__is_active=False).update(state=DeliveryState.HELD, carrier=None, due_at=now)
    passengers.update(state=DeliveryState.GATHERING, carrier=None, due_at=now)
    mine.update(
        state=DeliveryState.FAILED,
        dead_reason=DeadReason.UNSENDABLE,
        last_error="the payload was erased",
        finished_at=now,
        carrier=None,
    )
