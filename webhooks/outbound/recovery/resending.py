"""Sending deliveries again, by a person's wish: one, or many at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Case, F, PositiveIntegerField, When
from django.db.models.functions import Greatest

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.tenancy import audit
from webhooks.outbound.delivery.schedule import MAX_AGE, attempts_of
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint
from webhooks.outbound.publishing.publish import nudge

FINISHED = (DeliveryState.FAILED, DeliveryState.DELIVERED)


@dataclass(slots=True)
class Resent:
    """What came of sending many again: the ids of those that are due now, and why others are not, by id."""

    queued: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def retry_delivery(*, endpoint: Endpoint, delivery_id: str) -> Delivery:
    """Send a delivery now, inside the tenant's scope. The rules:

    - one that waits for its next automatic try is tried now in its place; if it fails, the schedule goes on from there (one
      more where its worker died in the last try);
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


def send_again(
    ids: Collection[str],
    *,
    states: Collection[DeliveryState] | None = None,
    whole_schedule: bool = False,
    discarded: bool = True,
    recorded_as: str = "resent",
) -> Resent:
    """Make these deliveries of the scope's tenant due now, by the rules of `retry_delivery`; `states` narrows them to those in
    one of these states at this moment, and without `discarded` those that a person set aside stay so. Ids that are not there
    are passed over. All of it is one transaction, the caller's if there is one.

    With `whole_schedule` what had ended gets as many tries as a new delivery of its endpoint, a test still one. For each
    endpoint `endpoint.<recorded_as>` is put on record with the count; empty: the caller sees to that.

    Locks the endpoints, then the deliveries, each in the order of their ids.
    """
    done = Resent()
    with transaction.atomic():
        endpoint_ids = set(Delivery.objects.filter(pk__in=ids).values_list("endpoint_id", flat=True))
        # No one may be switched off or deleted between our look and our writing: what is owed would be forgotten.
        locked = Endpoint.objects.select_for_update(no_key=True).filter(pk__in=endpoint_ids).order_by("pk")
        endpoints = {endpoint.pk: endpoint for endpoint in locked}
        rows = Delivery.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk").select_related("event")
        by_tries: dict[int, list[str]] = {}
        by_endpoint: dict[str, list[str]] = {}
        for row in rows:
            endpoint = endpoints[row.endpoint_id]
            if states is not None and row.state not in states:
                done.refused[row.pk] = f"It is {DeliveryState(row.state).label.lower()} by now."
            elif not discarded and row.dead_reason == DeadReason.DISCARDED:
                done.refused[row.pk] = "It was discarded."
            elif reason := refusal(row, endpoint):
                done.refused[row.pk] = reason
            else:
                whole = whole_schedule and row.event.type != TEST_EVENT
                by_tries.setdefault(attempts_of(endpoint.retry_delays) if whole else 1, []).append(row.pk)
                by_endpoint.setdefault(row.endpoint_id, []).append(row.pk)
                done.queued.append(row.pk)
        for tries, mine in by_tries.items():
            _make_due(mine, tries)
        if recorded_as:
            for endpoint_id, mine in sorted(by_endpoint.items()):
                _record(endpoints[endpoint_id], recorded_as, mine)
        if done.queued:
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


def _make_due(ids: Iterable[str], tries: int) -> None:
    now = clock.now()
    Delivery.unscoped.filter(pk__in=list(ids)).update(
        attempts_allowed=Case(
            When(state__in=FINISHED, then=F("attempts") + tries),
            # A worker that died in the last try has used it up.
            default=Greatest(F("attempts_allowed"), F("attempts") + 1),
            output_field=PositiveIntegerField(),
        ),
        state=DeliveryState.PENDING,
        due_at=now,
        finished_at=None,
        dead_reason="",
        expires_at=now + MAX_AGE,
        carrier=None,
    )


def _record(endpoint: Endpoint, what: str, ids: Sequence[str]) -> None:
    one = {"delivery": [None, ids[0]]} if len(ids) == 1 else {}
    audit.record(
        tenant_id=endpoint.tenant_id,
        action=f"endpoint.{what}",
        object_type="endpoint",
        object_id=endpoint.pk,
        object_name=endpoint.name,
        changes={"count": [None, len(ids)], **one},
    )
