"""The sweeper: finds events that nobody has made deliveries of yet, and makes them.

That is the rule where more endpoints want an event than its publisher may make rows for, and the net for everything else.
"""

from __future__ import annotations

import json
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from integrations.contracts import clock
from webhooks.outbound.endpoints.services import bury
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, Event
from webhooks.outbound.publishing.publish import owe, wanted_by

logger = structlog.get_logger(__name__)

AT_ONCE = 500
"""Deliveries made by one statement at most."""
MAX_EVENTS = 50
"""Events of one call at most; the next call goes on."""
OWED = (DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.HELD)
ORPHANS_WITHIN = timedelta(days=2)
"""How long after an endpoint was deleted somebody may still commit what he owed it."""
FRESH = timedelta(minutes=2)
"""The age up to which delivery engines look for events at each turn; one that can't be spread is not tried that often for
ever."""


def tick() -> dict[str, int]:
    """Sweep, and end what was owed to endpoints at the moment of their deletion. Called each minute by a schedule."""
    return {"spread": sweep(), "orphans": bury_orphans()}


def bury_orphans() -> int:
    """Fail what a publisher owed to an endpoint that was deleted before the publisher committed; return how many.

    Publishers take no lock on endpoints, so that nobody waits for a payment that is being booked.
    """
    deleted = Endpoint.unscoped.filter(deleted_at__gte=clock.now() - ORPHANS_WITHIN).values("pk")
    resting = Q(lease_until__isnull=True) | Q(lease_until__lte=clock.now())
    orphans = Delivery.unscoped.filter(resting, endpoint_id__in=deleted, state__in=OWED)
    if not orphans.exists():
        return 0
    with transaction.atomic():
        ids = list(orphans.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True)[:AT_ONCE])
        bury(Delivery.unscoped.filter(pk__in=ids), DeadReason.DELETED, "the endpoint was deleted")
    return len(ids)


def sweep(*, within: timedelta | None = None) -> int:
    """Make the deliveries of events that have none yet; return how many events that were. May run anywhere at any time.

    `within` leaves out those that were published longer ago.

    All deliveries of an event, and the mark that they are there, are one transaction: a worker that dies leaves all or
    nothing, and two that sweep at once never take the same event. An event that can't be spread is logged and passed over.
    """
    if not _waiting(within).exists():  # nearly always so: no transaction for nothing, at each turn of each engine
        return 0
    spread = 0
    passed: list[str] = []
    for _ in range(MAX_EVENTS):
        event_id = ""
        try:
            with transaction.atomic():
                event = _next_event(passed, within)
                if event is None:
                    break
                event_id = event.pk
                _spread(event)
            spread += 1
        except Exception:
            if not event_id:
                raise  # the database, not the event
            logger.exception("event_not_spread", event_id=event_id)
            passed.append(event_id)
    return spread


def _waiting(within: timedelta | None) -> QuerySet[Event]:
    waiting: QuerySet[Event] = Event.unscoped.filter(spread_at__isnull=True)
    return waiting if within is None else waiting.filter(created__gte=clock.now() - within)


def _next_event(passed: list[str], within: timedelta | None) -> Event | None:
    waiting = _waiting(within).exclude(pk__in=passed).order_by("created")
    event: Event | None = waiting.select_for_update(skip_locked=True).first()
    return event


def _spread(event: Event) -> None:
    endpoints = wanted_by(event, json.loads(event.payload)) if event.payload else []
    for start in range(0, len(endpoints), AT_ONCE):
        owe(event, endpoints[start : start + AT_ONCE])
    Event.unscoped.filter(pk=event.pk).update(spread_at=clock.now())
