"""Reading outbound webhooks."""

from __future__ import annotations

from integrations.events import EventTypesAsked, KnownEventType, TimelineAsked, TimelineEntry
from webhooks.outbound.event_types import CATALOGUE, TEST_EVENT
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint


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
        if delivery.state in (DeliveryState.PENDING, DeliveryState.HELD)
    ]
    return sorted(entries, key=lambda entry: entry.at)


def known_event_types(asked: EventTypesAsked) -> list[KnownEventType]:
    """Return the catalogue, but for what is sent on request and tells of nothing."""
    return [
        KnownEventType(name=each.name, description=each.description, example=each.example)
        for each in CATALOGUE
        if each.name != TEST_EVENT
    ]


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
    return "being sent" if delivery.in_flight() else f"due, attempt {delivery.attempts + 1}"
