"""How webhooks stand, out and in, over all tenants: what is owed, how long it has been, how it went lately.

Read at each scrape, so that no question may cost more than what is open: what is owed is counted by endpoint in partial
indexes, what happened lately by its time. Throttled deliveries are measured beside the others: a limit that is set wrong must
show somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from django.db import connection
from django.db.models import Sum

from integrations.contracts import clock
from integrations.contracts.ids import first_id
from integrations.models import QueueItem, QueueState
from webhooks.inbound.jobs import ProcessReceiptJob
from webhooks.inbound.models import Rejection
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.models import Endpoint

LATELY = timedelta(minutes=5)
DEAD_COUNTED = timedelta(days=1)
QUANTILES = (0.5, 0.95, 0.99)

# Ids begin with the time of their making: of an endpoint that is off, or of what died, only the last rows of an index are read.
_OWED = """
SELECT e.throttled, sum(d.due), sum(d.pending), min(d.oldest), sum(f.flying)
FROM (
    SELECT e.id, coalesce(
        h.paused_until > %(now)s OR (h.breaker = 'open' AND h.breaker_until > %(now)s) OR (
            e.rate_per_second IS NOT NULL AND h.tokens_at IS NOT NULL AND
            h.tokens + greatest(0, extract(epoch FROM %(now)s - h.tokens_at)) * e.rate_per_second < 0.999999
        ), false) AS throttled
    FROM webhooks_outbound_endpoint e
    JOIN integrations_tenant t ON t.id = e.tenant_id AND t.is_active
    LEFT JOIN webhooks_outbound_endpointhealth h ON h.endpoint_id = e.id
    WHERE e.is_active AND e.deleted_at IS NULL
) e
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.due_at <= %(now)s) AS due, count(*) AS pending,
        min(d.due_at) FILTER (WHERE d.due_at <= %(now)s) AS oldest
    FROM webhooks_outbound_delivery d WHERE d.endpoint_id = e.id AND d.state = 'pending'
) d
CROSS JOIN LATERAL (
    SELECT count(*) AS flying FROM webhooks_outbound_delivery f
    WHERE f.endpoint_id = e.id AND f.lease_until IS NOT NULL AND f.lease_until > %(now)s
) f
GROUP BY e.throttled
"""

_GATHERING = """
SELECT coalesce(sum(d.number), 0) FROM webhooks_outbound_endpoint e CROSS JOIN LATERAL (
    SELECT count(*) AS number FROM webhooks_outbound_delivery d WHERE d.endpoint_id = e.id AND d.state = 'gathering'
) d
WHERE e.is_active AND e.deleted_at IS NULL
"""

_HELD = """
SELECT coalesce(sum(d.number), 0)
FROM unnest(%(endpoints)s::text[], %(firsts)s::text[]) AS off (endpoint, first) CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.state = 'held') AS number FROM webhooks_outbound_delivery d
    WHERE d.endpoint_id = off.endpoint AND d.id >= off.first
) d
"""

_DEAD = """
SELECT coalesce(sum(d.number), 0) FROM integrations_tenant t CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE d.finished_at > %(since)s) AS number FROM webhooks_outbound_delivery d
    WHERE d.tenant_id = t.id AND d.state = 'failed' AND d.id >= %(first)s
) d
"""

_ATTEMPTS = """
SELECT CASE WHEN error_class = '' THEN 'delivered' ELSE error_class END, count(*)
FROM webhooks_outbound_deliveryattempt WHERE finished_at > %(since)s AND finished_at <= %(now)s GROUP BY 1 ORDER BY 1
"""

_LATENCIES = """
SELECT percentile_cont(%(quantiles)s::float8[]) WITHIN GROUP (ORDER BY lag_ms),
    percentile_cont(%(quantiles)s::float8[]) WITHIN GROUP (ORDER BY duration_ms)
FROM webhooks_outbound_deliveryattempt WHERE finished_at > %(since)s AND finished_at <= %(now)s
"""

_ENDPOINTS = """
SELECT CASE WHEN e.is_active THEN coalesce(h.breaker, 'closed') ELSE 'off' END, count(*)
FROM webhooks_outbound_endpoint e LEFT JOIN webhooks_outbound_endpointhealth h ON h.endpoint_id = e.id
WHERE e.deleted_at IS NULL GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Deliveries by state over all tenants; ages in seconds of what has been due longest (0.0: nothing is due).

    `counts` knows `due` (may go at once), `throttled` (due, but its endpoint is paused, its breaker open or its rate used
    up), `waiting` (for its next try), `in_flight`, `gathering`, `held` and `dead` (died within the last day).
    """

    counts: dict[str, int]
    overdue_seconds: float
    throttled_seconds: float


@dataclass(frozen=True, slots=True)
class Lately:
    """Attempts of the last five minutes: by result (`delivered`, or the class of the error), and quantiles of how late they
    began and how long they took, in seconds. Without attempts there are none."""

    results: dict[str, int]
    lag: dict[float, float]
    duration: dict[float, float]


@dataclass(frozen=True, slots=True)
class Inbox:
    """Receipts that wait to be worked off, and requests turned away today (UTC)."""

    waiting: int
    rejected_today: int


def deliveries() -> Deliveries:
    now = clock.now()
    counts = dict.fromkeys(("due", "throttled", "waiting", "in_flight", "gathering", "held", "dead"), 0)
    ages = {False: 0.0, True: 0.0}
    for throttled, due, pending, oldest, flying in _rows(_OWED, now=now):
        counts["throttled" if throttled else "due"] = int(due)
        counts["in_flight"] += int(flying)
        counts["waiting"] += max(0, int(pending) - int(due) - int(flying))
        ages[throttled] = round((now - oldest).total_seconds(), 1) if oldest else 0.0
    counts["gathering"] = _number(_GATHERING)
    off = Endpoint.unscoped.filter(is_active=False, deleted_at__isnull=True).values_list("pk", "disabled_at", "created")
    bounds = [(pk, first_id("dlv", (disabled_at or created) - MAX_AGE)) for pk, disabled_at, created in off]
    counts["held"] = _number(_HELD, endpoints=[pk for pk, _ in bounds], firsts=[first for _, first in bounds])
    since = now - DEAD_COUNTED
    counts["dead"] = _number(_DEAD, since=since, first=first_id("dlv", since - MAX_AGE))
    return Deliveries(counts, ages[False], ages[True])


def lately() -> Lately:
    now = clock.now()
    window = {"since": now - LATELY, "now": now}
    results = {str(name): int(number) for name, number in _rows(_ATTEMPTS, **window)}
    ((lags, durations),) = _rows(_LATENCIES, quantiles=list(QUANTILES), **window)
    return Lately(results, _seconds(lags), _seconds(durations))


def endpoints() -> dict[str, int]:
    """Return how many endpoints there are by the state of their breaker; `off` are those that are switched off."""
    found = dict.fromkeys(("closed", "open", "half_open", "off"), 0)
    return found | {str(name): int(number) for name, number in _rows(_ENDPOINTS)}


def inbox() -> Inbox:
    # One question for each state: each has a partial index of its own.
    states = (QueueState.PENDING, QueueState.PROCESSING)
    waiting = sum(QueueItem.unscoped.filter(kind=ProcessReceiptJob.kind, state=state).count() for state in states)
    today = clock.now().astimezone(UTC).date()
    turned_away = Rejection.objects.filter(day=today).aggregate(number=Sum("count"))["number"]
    return Inbox(waiting, turned_away or 0)


def _seconds(milliseconds: list[float | None] | None) -> dict[float, float]:
    pairs = zip(QUANTILES, milliseconds or (), strict=False)
    return {quantile: round(value / 1000, 4) for quantile, value in pairs if value is not None}


def _rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _number(statement: str, **values: Any) -> int:
    return int(_rows(statement, **values)[0][0])
