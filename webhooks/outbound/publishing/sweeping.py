"""The sweeper: finds events that nobody has made deliveries of yet, and makes them.

That is the rule where more endpoints want an event than its publisher may make rows for, and the net for everything else.
"""

from __future__ import annotations

import json
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import QuerySet

from integrations.contracts import clock
from webhooks.outbound.models import Event
from webhooks.outbound.publishing.publish import owe, wanted_by

logger = structlog.get_logger(__name__)

AT_ONCE = 500
"""Deliveries made by one statement at most."""
MAX_EVENTS = 50
"""Events of one call at most; the next call goes on."""
FRESH = timedelta(minutes=2)
"""The age up to which delivery engines look for events at each turn; one that can't be spread is not tried that often for
ever."""


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
