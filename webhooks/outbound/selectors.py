"""Reading outbound webhooks."""

from __future__ import annotations

from django.db.models import QuerySet

from integrations.events import EventTypesAsked, KnownEventType, TimelineAsked, TimelineEntry
from webhooks.outbound.event_types import CATALOGUE, TEST_EVENT
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint, Event
from webhooks.outbound.publishing import formats

EVENTS_NAMED = 500
"""Events of one type, up to which the deliveries of that type are found by their events."""


def of_type(deliveries: QuerySet[Delivery], event_type: str) -> QuerySet[Delivery]:
    """Return those of the active scope's deliveries whose event is of this type. Where there are few such events they are
    named: else each delivery in turn would be asked for its event, most of all where none has the type."""
    found = list(Event.objects.filter(type=event_type).order_by().values_list("pk", flat=True)[: EVENTS_NAMED + 1])
    if len(found) > EVENTS_NAMED:
        return deliveries.filter(event__type=event_type)
    return deliveries.filter(event_id__in=found)


def timeline_entries(asked: TimelineAsked) -> list[TimelineEntry]:
    """Return what was told of this object to whom: a line for each attempt, and one for each delivery still owed."""
    deliveries = list(
        Delivery.unscoped.filter(
            tenant_id=asked.tenant_id, event__object_type=asked.object_type, event__object_id=asked.object_id
        ).select_related("event", "endpoint")
    )
    by_id = {delivery.pk: delivery for delivery in deliveries}
    tries = DeliveryAttempt.unscoped.filter(tenant_id=asked.tenant_id, delivery_id__in=list(by_id))
    entries = [_of_attempt(attempt, by_id[attempt.delivery_id]) for attempt in tries]
    entries += [
        TimelineEntry(
            at=delivery.due_at,
            kind="delivery",
            text=f"{delivery.event.type} to {_name(delivery.endpoint)}: {_owed(delivery)}",
            status=delivery.state,
            object_type="delivery",
            object_id=delivery.pk,
        )
        for delivery in deliveries
        if delivery.state not in (DeliveryState.DELIVERED, DeliveryState.FAILED)
    ]
    return sorted(entries, key=lambda entry: entry.at)


def known_event_types(asked: EventTypesAsked) -> list[KnownEventType]:
    """Return the catalogue, but for what is sent on request and tells of nothing."""
    return [
        KnownEventType(name=each.name, description=each.description, example=each.example)
        for each in CATALOGUE
        if each.name != TEST_EVENT
    ]


def body_sent(delivery: Delivery) -> str | None:
    """Return the very text that goes out for a delivery, in its endpoint's format; for one that carries a batch that is owed
    or was sent, the whole batch. None where nothing is left to send: the payload was erased, or is no longer kept."""
    if not delivery.event.payload:
        return None
    aboard = delivery.passengers.select_related("event").order_by("position")
    payloads = [delivery.event.payload, *(each.event.payload for each in aboard)]
    try:
        rendered = [formats.render(each, delivery.endpoint.payload_format) for each in payloads if each]
    except (ValueError, TypeError, KeyError):  # of a shape that the format can't be made of: it is stored as it is
        return delivery.event.payload
    return formats.batch(delivery.pk, delivery.created, rendered) if len(payloads) > 1 else rendered[0]


def _of_attempt(attempt: DeliveryAttempt, delivery: Delivery) -> TimelineEntry:
    answer = f"answered {attempt.status_code}" if attempt.status_code is not None else attempt.error
    return TimelineEntry(
        at=attempt.finished_at,
        kind="delivery",
        text=f"{delivery.event.type} to {_name(delivery.endpoint)}, attempt {attempt.number}: {answer}",
        status=DeliveryState.DELIVERED.value if not attempt.error_class else DeliveryState.FAILED.value,
        object_type="delivery",
        object_id=delivery.pk,
        duration_ms=attempt.duration_ms,
    )


def _name(endpoint: Endpoint) -> str:
    return endpoint.name or endpoint.pk


def _owed(delivery: Delivery) -> str:
    if delivery.state == DeliveryState.HELD:
        return "held while the endpoint is off"
    if delivery.state == DeliveryState.GATHERING:
        return "gathers for a batch"
    if delivery.state == DeliveryState.BATCHED:
        return "goes out in a batch"
    return "being sent" if delivery.in_flight() else f"due, attempt {delivery.attempts + 1}"
