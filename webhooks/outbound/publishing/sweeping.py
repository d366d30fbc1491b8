"""The sweeper: finds events that nobody has made deliveries of yet, and makes them.

That is the rule where more endpoints want an event than its publisher may make rows for, and the net for everything else. What
a publisher owed to an endpoint as it was no longer when he committed is put right here too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django.db.models import Min, Q, QuerySet

from integrations.contracts import clock
from webhooks.outbound.endpoints import owed
from webhooks.outbound.endpoints.owed import Move, bury
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, Event
from webhooks.outbound.publishing import locks
from webhooks.outbound.publishing.publish import owe, wanted_by

logger = structlog.get_logger(__name__)

AT_ONCE = 500
"""Deliveries made by one statement at most."""
MAX_EVENTS = 50
"""Events of one call at most; the next call goes on."""
LATELY = timedelta(days=2)
"""How long after an endpoint was changed or deleted each tick looks for what is held for it; purging looks at all, daily."""
NEWEST = 1000
"""Deliveries of each such endpoint that a tick looks at."""
MOST_PAGES = 50
"""Pages of what is held for one endpoint that a call lets go of; the newest come last, so that the next finds the rest."""
FRESH = timedelta(minutes=2)
"""The age up to which delivery engines look for events at each turn; one that can't be spread is not tried that often for
ever."""

_HELD_THOUGH_ON = """
SELECT e.id FROM webhooks_outbound_endpoint e
WHERE e.is_active AND e.deleted_at IS NULL AND e.updated >= %(since)s AND EXISTS (
    SELECT 1 FROM (
        SELECT state FROM webhooks_outbound_delivery d WHERE d.endpoint_id = e.id ORDER BY d.id DESC LIMIT %(newest)s
    ) latest WHERE latest.state = 'held'
)
ORDER BY e.id
"""


def tick() -> dict[str, int]:
    """Sweep, and put right what was owed to endpoints at the moment that they changed. Called each minute by a schedule."""
    return {"spread": sweep(), **tidy()}


def tidy(*, thoroughly: bool = False) -> dict[str, int]:
    """End what is owed to deleted endpoints, and release what is held for endpoints that are on; return how many of each.

    Publishers take no lock on endpoints, so that nobody waits for a payment that is being booked: what they commit may be meant
    for an endpoint as it was a moment before. `thoroughly` looks at all endpoints; else what is held shows only with those that
    were changed lately, since no index leads to it.
    """
    return {"orphans": _bury_orphans(thoroughly), "released": _release(thoroughly)}


def _bury_orphans(thoroughly: bool) -> int:
    gone = Endpoint.unscoped.filter(deleted_at__isnull=False)
    lately = gone if thoroughly else gone.filter(deleted_at__gte=clock.now() - LATELY)
    # One state after the other: there is an index for each of the first two.
    return sum(
        _bury(_resting(state).filter(endpoint_id__in=endpoints.values("pk")))
        for state, endpoints in ((DeliveryState.PENDING, gone), (DeliveryState.GATHERING, gone), (DeliveryState.HELD, lately))
    )


def _bury(orphans: QuerySet[Delivery]) -> int:
    if not orphans.exists():
        return 0
    with transaction.atomic():
        ids = list(orphans.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True)[:AT_ONCE])
        bury(Delivery.unscoped.filter(pk__in=ids), DeadReason.DELETED, "the endpoint was deleted")
    return len(ids)


def _release(thoroughly: bool) -> int:
    if thoroughly:
        held = Delivery.unscoped.filter(state=DeliveryState.HELD, endpoint__is_active=True, endpoint__deleted_at__isnull=True)
        ids = list(held.order_by("endpoint_id").values_list("endpoint_id", flat=True).distinct())
    else:
        with connection.cursor() as cursor:
            cursor.execute(_HELD_THOUGH_ON, {"since": clock.now() - LATELY, "newest": NEWEST})
            ids = [endpoint_id for (endpoint_id,) in cursor.fetchall()]
    return sum(_release_of(endpoint_id) for endpoint_id in ids)


def _release_of(endpoint_id: str) -> int:
    """Let go of what is held for an endpoint that is on, page by page. Not while the queue is at it: it may be discarding."""
    released, after = 0, -1
    for _ in range(MOST_PAGES):
        with transaction.atomic():
            on = Endpoint.unscoped.filter(pk=endpoint_id, is_active=True, deleted_at__isnull=True)
            endpoint = on.select_for_update(no_key=True).first()
            if endpoint is None or owed.is_moving(endpoint):
                break
            count, following = owed.step(endpoint, Move.RELEASE, after=after)
        released += count
        if following is None:
            break
        after = following
    return released


def _resting(state: DeliveryState) -> QuerySet[Delivery]:
    resting = Q(lease_until__isnull=True) | Q(lease_until__lte=clock.now())
    found: QuerySet[Delivery] = Delivery.unscoped.filter(resting, state=state)
    return found


# --- Events without deliveries --------------------------------------------------------------------------------------------


def sweep(*, within: timedelta | None = None, stop: Callable[[], bool] = lambda: False) -> int:
    """Make the deliveries of events that have none yet; return how many events that were. May run anywhere at any time.

    `within` leaves out those that were published longer ago. `stop` is asked before each event.

    All deliveries of an event, and the mark that they are there, are one transaction: a worker that dies leaves all or
    nothing. Tenants take turns; the events of one are taken in the order of their publishing, by one sweeper at a time. An
    event that can't be spread is logged and passed over.
    """
    spread = 0
    passed: list[str] = []
    busy: set[int] = set()
    while tenants := _tenants_waiting(passed, busy, within):
        for tenant_id in tenants:
            if stop() or spread + len(passed) >= MAX_EVENTS:
                return spread
            event_id = ""
            try:
                with transaction.atomic():
                    event = _next_event(tenant_id, passed, within)
                    if event is None:
                        busy.add(tenant_id)
                        continue
                    event_id = event.pk
                    _spread(event)
                spread += 1
            except Exception:
                if not event_id:
                    raise  # the database, not the event
                logger.exception("event_not_spread", event_id=event_id)
                passed.append(event_id)
    return spread


def _waiting(passed: list[str], within: timedelta | None) -> QuerySet[Event]:
    waiting: QuerySet[Event] = Event.unscoped.filter(spread_at__isnull=True).exclude(pk__in=passed)
    return waiting if within is None else waiting.filter(created__gte=clock.now() - within)


def _tenants_waiting(passed: list[str], busy: set[int], within: timedelta | None) -> list[int]:
    # Nearly always nobody: no transaction for nothing, at each turn of each engine.
    waiting = _waiting(passed, within).exclude(tenant_id__in=busy).order_by().values("tenant_id")
    return list(waiting.annotate(first=Min("created")).order_by("first").values_list("tenant_id", flat=True))


def _next_event(tenant_id: int, passed: list[str], within: timedelta | None) -> Event | None:
    """Lock the tenant's earliest event; None where another is at work on it, or on this tenant."""
    if not locks.try_for(f"sweep|{tenant_id}"):
        return None
    # In a statement after the lock's: it sees what the lock's last holder has made.
    earliest = (
        _waiting(passed, within).filter(tenant_id=tenant_id).order_by("created", "pk").values_list("pk", flat=True).first()
    )
    event: Event | None = Event.unscoped.select_for_update(skip_locked=True).filter(pk=earliest, spread_at__isnull=True).first()
    return event


def _spread(event: Event) -> None:
    endpoints = wanted_by(event) if event.payload else []
    for start in range(0, len(endpoints), AT_ONCE):
        owe(event, endpoints[start : start + AT_ONCE])
    Event.unscoped.filter(pk=event.pk).update(spread_at=clock.now())
