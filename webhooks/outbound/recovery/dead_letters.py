"""Dead letters: deliveries that failed for good. Sent again or set aside many at a time, and an alarm where they pile up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, QuerySet

from integrations.contracts import clock
from integrations.models import Alert
from integrations.runtime.alerts import raise_alert, resolve_alert
from integrations.tenancy import audit
from webhooks.outbound.endpoints.services import bury
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, RetentionPolicy
from webhooks.outbound.recovery.resending import Resent, send_again

ALARM = "webhook_dead_letters"
ALARM_WINDOW = timedelta(days=1)
MOST_AT_ONCE = 500
REFUSALS_NAMED = 100
"""Where deliveries are chosen by what they have in common, so many of those that can't be sent are named."""

DISCARDED = "discarded by a person"
_WAITING = (DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.HELD)


@dataclass(slots=True)
class Handled:
    """What came of acting on many: how many it was done to, why not to others, by id, and whether more are left."""

    done: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    more: bool = False


def find(
    *,
    endpoint: str = "",
    type: str = "",
    reason: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[Delivery]:
    """Return the scope's dead letters that have all of this in common; `since` <= when the delivery was made < `until`.
    Those that a person discarded are found only by that reason."""
    found = Delivery.objects.filter(state=DeliveryState.FAILED)
    found = found.filter(dead_reason=reason) if reason else found.exclude(dead_reason=DeadReason.DISCARDED)
    given = {"endpoint_id": endpoint, "event__type": type, "created__gte": since, "created__lt": until}
    return found.filter(**{name: value for name, value in given.items() if value})


def redrive(*, ids: Collection[str]) -> Handled:
    """Send these dead letters again, by the rules of `retry_delivery`, with a whole schedule of tries each; what is no dead
    letter (any more) is refused."""
    sent = _send(ids)
    unknown = {each: "There is no such dead letter." for each in ids if each not in {*sent.queued, *sent.refused}}
    return Handled(len(sent.queued), sent.refused | unknown)


def redrive_found(found: QuerySet[Delivery]) -> Handled:
    """Send up to `MOST_AT_ONCE` of these dead letters again, the oldest first. Those that can't be sent do not count, so that
    they never stand in the way of the others; `REFUSALS_NAMED` of them are named."""
    sendable = (
        found.filter(endpoint__is_active=True, endpoint__deleted_at__isnull=True, event__erased_at__isnull=True)
        .exclude(event__payload="")
        .order_by("pk")
    )
    ids = list(sendable.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    handled = redrive(ids=ids[:MOST_AT_ONCE])
    # Asked to send them too, they tell why they can't be.
    rest = found.exclude(pk__in=sendable.order_by().values("pk")).order_by("pk")
    stuck = list(rest.values_list("pk", flat=True)[:REFUSALS_NAMED])
    also = _send(stuck)
    return Handled(handled.done + len(also.queued), handled.refused | also.refused, len(ids) > MOST_AT_ONCE)


def _send(ids: Collection[str]) -> Resent:
    return send_again(ids, states=(DeliveryState.FAILED,), whole_schedule=True, recorded_as="redriven")


def discard(*, ids: Collection[str]) -> Handled:
    """Set these deliveries aside for good: dead ones leave the list, what waits is not sent (with it those that go in its
    batch). Refused are those in flight, in another's batch, delivered, or not there. They can still be sent again one by one.
    """
    handled = Handled()
    with transaction.atomic():
        rows = list(Delivery.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
        dead = [row.pk for row in rows if row.state == DeliveryState.FAILED]
        waiting = [row.pk for row in rows if row.state in _WAITING and not row.in_flight()]
        Delivery.unscoped.filter(pk__in=dead).update(dead_reason=DeadReason.DISCARDED)
        bury(Delivery.unscoped.filter(pk__in=waiting), DeadReason.DISCARDED, DISCARDED)
        set_aside = {*dead, *waiting}
        _record_discarded(Counter(row.endpoint_id for row in rows if row.pk in set_aside))
    handled.done = len(set_aside)
    states = {row.pk: DeliveryState(row.state).label.lower() for row in rows}
    for each in ids:
        if each not in set_aside:
            handled.refused[each] = f"It is {states[each]}." if each in states else "There is no such delivery."
    return handled


def _record_discarded(counts: Counter[str]) -> None:
    for endpoint in Endpoint.objects.filter(pk__in=counts).order_by("pk"):
        audit.record(
            tenant_id=endpoint.tenant_id,
            action="endpoint.discarded",
            object_type="endpoint",
            object_id=endpoint.pk,
            object_name=endpoint.name,
            changes={"count": [None, counts[endpoint.pk]]},
        )


def discard_found(found: QuerySet[Delivery]) -> Handled:
    """Set up to `MOST_AT_ONCE` of these dead letters aside, the oldest first."""
    ids = list(found.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    handled = discard(ids=ids[:MOST_AT_ONCE])
    handled.more = len(ids) > MOST_AT_ONCE
    return handled


def check_alarms() -> list[int]:
    """Raise an alert for each tenant of whose deliveries more died within the last day than its policy (or
    WEBHOOK_DEAD_LETTER_ALARM) allows, and resolve it where it is fewer again; return the tenants' ids. Called hourly by a
    schedule; several at once are harmless. Tests, and what was discarded or deleted on purpose, do not count."""
    since = clock.now() - ALARM_WINDOW
    died = (
        Delivery.unscoped.filter(state=DeliveryState.FAILED, finished_at__gte=since)
        .exclude(dead_reason__in=[DeadReason.DISCARDED, DeadReason.DELETED])
        .exclude(event__type=TEST_EVENT)
    )
    counts: Sequence[tuple[int, int]] = list(died.order_by().values_list("tenant_id").annotate(count=Count("pk")))
    limits = dict(
        RetentionPolicy.unscoped.filter(dead_letter_alarm__isnull=False).values_list("tenant_id", "dead_letter_alarm")
    )
    alarmed = []
    for tenant_id, count in counts:
        limit = limits.get(tenant_id, settings.WEBHOOK_DEAD_LETTER_ALARM)
        if count > limit:
            alarmed.append(tenant_id)
            raise_alert(
                tenant_id=tenant_id,
                kind=ALARM,
                subject=ALARM,
                message=f"{count} webhook deliveries failed for good within the last day (the alarm stands at {limit}).",
            )
    open_ones = Alert.objects.filter(kind=ALARM, resolved_at__isnull=True, tenant_id__isnull=False)
    for tenant_id in set(open_ones.values_list("tenant_id", flat=True)) - set(alarmed):
        resolve_alert(tenant_id=tenant_id, kind=ALARM, subject=ALARM)
    return alarmed
