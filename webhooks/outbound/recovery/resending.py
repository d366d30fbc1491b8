"""Sending deliveries again, by a person's wish: one, or many at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Case, F, PositiveIntegerField, When

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.publishing.publish import nudge

FINISHED = (DeliveryState.FAILED, DeliveryState.DELIVERED)


@dataclass(slots=True)
class Resent:
    """What came of sending many again: the ids of those that are due now, and why others are not, by id."""

    queued: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def retry_delivery(*, endpoint: Endpoint, delivery_id: str) -> Delivery:
    """Send a delivery now, inside the tenant's scope. The rules:

    - one that waits for its next automatic try is tried now in its place; if it fails, the schedule goes on from there;
    - one that gathers for a batch goes alone, now;
    - one that failed or was delivered gets one more try, with the next attempt number, alone even if it first went out in a
      batch; what was delivered once stays `delivered` even if this try fails;
    - where the endpoint keeps an order, it still waits for those before it that are owed, and those after it wait for it.

    Raises `Delivery.DoesNotExist`, and `Conflict` while it is in flight or in a batch that is owed, while its endpoint is off,
    or when its payload is there no longer.
    """
    with transaction.atomic():
        mine = Delivery.objects.filter(pk=delivery_id, endpoint=endpoint)
        mine.get()
        done = send_again([delivery_id])
        if done.refused:
            raise Conflict(done.refused[delivery_id])
        found: Delivery = mine.select_related("event").get()
    return found


def send_again(ids: Collection[str], *, states: Collection[DeliveryState] | None = None) -> Resent:
    """Make these deliveries of the scope's tenant due now, by the rules of `retry_delivery`; `states` narrows them to those in
    one of these states at this moment. Ids that are not there are passed over. All of it is one transaction, the caller's if
    there is one.

    Locks the endpoints, then the deliveries, each in the order of their ids.
    """
    done = Resent()
    with transaction.atomic():
        endpoint_ids = set(Delivery.objects.filter(pk__in=ids).values_list("endpoint_id", flat=True))
        # No one may be switched off or deleted between our look and our writing: what is owed would be forgotten.
        locked = Endpoint.objects.select_for_update(no_key=True).filter(pk__in=endpoint_ids).order_by("pk")
        endpoints = {endpoint.pk: endpoint for endpoint in locked}
        rows = Delivery.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk").select_related("event")
        for row in rows:
            if states is not None and row.state not in states:
                done.refused[row.pk] = f"It is {DeliveryState(row.state).label.lower()} by now."
            elif reason := refusal(row, endpoints[row.endpoint_id]):
                done.refused[row.pk] = reason
            else:
                done.queued.append(row.pk)
        if done.queued:
            _make_due(done.queued)
            nudge()
    return done


def refusal(delivery: Delivery, endpoint: Endpoint) -> str:
    """Return why the delivery can't be sent now; empty where it can. Its event should have been read with it."""
    if endpoint.deleted_at is not None:
        return "The endpoint was deleted."
    if not endpoint.is_active:
        return "The endpoint is switched off: switch it on first."
    if delivery.in_flight():
        return "This delivery is being sent right now."
    if delivery.state == DeliveryState.BATCHED:
        return "This delivery goes out within a batch: send that one."
    if delivery.event.erased_at is not None:
        return "The payload of this event was erased."
    if not delivery.event.payload:
        return "The payload of this event is no longer kept."
    return ""


def _make_due(ids: Iterable[str]) -> None:
    now = clock.now()
    Delivery.unscoped.filter(pk__in=list(ids)).update(
        attempts_allowed=Case(
            When(state__in=FINISHED, then=F("attempts") + 1),
            default=F("attempts_allowed"),
            output_field=PositiveIntegerField(),
        ),
        state=DeliveryState.PENDING,
        due_at=now,
        finished_at=None,
        dead_reason="",
        expires_at=now + MAX_AGE,
        carrier=None,
    )
