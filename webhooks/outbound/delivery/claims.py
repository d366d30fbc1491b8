"""The database side of delivery: claiming in batches under a lease, settling in batches against the fence.

All functions are synchronous, cross-tenant and open their own transaction. Rows are locked in the order of their ids, so that
two batches can't deadlock; an endpoint's row is never locked after a delivery's.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction

from integrations.contracts import clock
from integrations.runtime.alerts import raise_alert
from integrations.secrets import SecretUnreadable, open_sealed
from webhooks.outbound.delivery.schedule import delay_after
from webhooks.outbound.delivery.sender import Claimed, ErrorClass, Outcome
from webhooks.outbound.endpoints import services
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, SigningKey
from webhooks.outbound.signing import in_use

logger = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
ALERT_KIND = "webhook_delivery_failed"

_Opened = tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]
"""Signing secrets, headers, and why they could not be opened."""

# One probe of a small partial index for each endpoint, in random order: a deep backlog of one endpoint neither costs nor
# delays the others. What other processes have in flight counts against the endpoint's share too.
_PICK = """
SELECT picked.id, picked.lapsed
FROM (
    SELECT e.id FROM webhooks_outbound_endpoint e JOIN integrations_tenant t ON t.id = e.tenant_id
    WHERE e.is_active AND e.deleted_at IS NULL AND t.is_active ORDER BY random()
) endpoint
CROSS JOIN LATERAL (
    SELECT d.id, d.lease IS NOT NULL AS lapsed FROM webhooks_outbound_delivery d
    WHERE d.endpoint_id = endpoint.id AND d.state = 'pending' AND d.due_at <= %(now)s
    ORDER BY d.due_at
    LIMIT greatest(0, %(share)s - (
        SELECT count(*) FROM webhooks_outbound_delivery b WHERE b.endpoint_id = endpoint.id AND b.lease_until > %(now)s
    ))
    FOR UPDATE SKIP LOCKED
) picked
LIMIT %(limit)s
"""

_LEASE = """
UPDATE webhooks_outbound_delivery d
SET attempts = d.attempts + 1, fence = d.fence + 1, lease = %(lease)s, lease_until = %(until)s, due_at = %(until)s
FROM webhooks_outbound_endpoint e, webhooks_outbound_event v
WHERE d.id = ANY(%(ids)s) AND e.id = d.endpoint_id AND v.id = d.event_id
RETURNING d.id, d.tenant_id, d.endpoint_id, d.event_id, d.attempts, d.attempts_allowed, d.fence,
    e.url, v.payload, e.sealed_secrets, e.sealed_headers, v.type
"""

_LOCK_MINE = """
SELECT d.id FROM webhooks_outbound_delivery d
JOIN unnest(%(ids)s::text[], %(fences)s::int[]) AS mine (id, fence) ON mine.id = d.id AND mine.fence = d.fence
WHERE d.state = 'pending' AND d.lease IS NOT NULL ORDER BY d.id FOR UPDATE OF d
"""

_SETTLE = """
UPDATE webhooks_outbound_delivery d
SET state = CASE WHEN r.state <> 'pending' OR (e.is_active AND e.deleted_at IS NULL) THEN r.state
        WHEN e.deleted_at IS NULL THEN 'held' ELSE 'failed' END,
    due_at = r.due_at, last_status = r.status, last_error = r.error,
    finished_at = coalesce(r.finished_at, e.deleted_at),
    attempts_allowed = d.attempts_allowed + r.bonus, lease = NULL, lease_until = NULL
FROM unnest(%(ids)s::text[], %(states)s::text[], %(dues)s::timestamptz[], %(statuses)s::int[], %(errors)s::text[],
    %(finished)s::timestamptz[], %(bonuses)s::int[]) AS r (id, state, due_at, status, error, finished_at, bonus),
    webhooks_outbound_endpoint e
WHERE d.id = r.id AND e.id = d.endpoint_id
"""


@dataclass(frozen=True, slots=True)
class _Next:
    """What a delivery becomes; `bonus` is 1 where the attempt shall not count against the allowed ones."""

    state: DeliveryState
    due_at: datetime
    finished_at: datetime | None = None
    bonus: int = 0


def claim(limit: int, *, per_endpoint: int) -> list[Claimed]:
    """Lease up to `limit` due deliveries, at most `per_endpoint` of one endpoint in flight over all processes.

    Two processes never get the same one. A lapsed lease leaves an attempt row `lost`, and is claimed again unless its
    attempts are used up: then the delivery has failed.
    """
    now = clock.now()
    until = now + LEASE
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_PICK, {"now": now, "share": per_endpoint, "limit": limit})
        picked = cursor.fetchall()
        if not picked:
            return []
        used_up = _bury_lost([row[0] for row in picked if row[1]])
        ids = [row[0] for row in picked if row[0] not in used_up]
        cursor.execute(_LEASE, {"lease": uuid.uuid4(), "until": until, "ids": ids})
        rows = cursor.fetchall()
    opened: dict[tuple[int, str, str], _Opened] = {}
    return [_claimed(row, opened) for row in rows]


def _open(tenant_id: int, sealed_secrets: str, sealed_headers: str) -> _Opened:
    try:
        keys: list[SigningKey] = open_sealed(tenant_id, sealed_secrets)
        secrets = tuple(key["secret"] for key in in_use(keys, clock.now()))
        headers = tuple(open_sealed(tenant_id, sealed_headers).items()) if sealed_headers else ()
    except SecretUnreadable:
        return (), (), "the endpoint's signing secret or headers can't be opened: is its encryption key missing?"
    return secrets, headers, ""


def _claimed(row: tuple[Any, ...], opened: dict[tuple[int, str, str], _Opened]) -> Claimed:
    sealed = (row[1], row[9], row[10])
    if sealed not in opened:
        opened[sealed] = _open(*sealed)
    secrets, headers, problem = opened[sealed]
    return Claimed(
        id=row[0],
        tenant_id=row[1],
        endpoint_id=row[2],
        event_id=row[3],
        event_type=row[11],
        number=row[4],
        attempts_allowed=row[5],
        fence=row[6],
        url=row[7],
        body=row[8],
        secrets=secrets,
        headers=headers,
        problem=problem,
    )


def _bury_lost(ids: Sequence[str]) -> set[str]:
    """Write down the attempts that a dead worker left behind; return the deliveries that may not be tried again."""
    if not ids:
        return set()
    now = clock.now()
    lost = list(Delivery.unscoped.filter(pk__in=ids))
    DeliveryAttempt.unscoped.bulk_create(
        [
            DeliveryAttempt(
                tenant_id=row.tenant_id,
                delivery_id=row.pk,
                number=row.attempts,
                started_at=(row.lease_until or now) - LEASE,
                finished_at=now,
                error_class=ErrorClass.LOST,
                error="the worker died or hung during this attempt; whether it arrived is not known",
            )
            for row in lost
        ]
    )
    used_up = [row for row in lost if row.attempts >= row.attempts_allowed]
    Delivery.unscoped.filter(pk__in=[row.pk for row in used_up]).update(
        state=DeliveryState.FAILED,
        lease=None,
        lease_until=None,
        finished_at=now,
        last_status=None,
        last_error="the worker died during the last attempt",
    )
    _alert({row.endpoint_id: row.tenant_id for row in used_up})
    logger.warning("delivery_leases_lapsed", count=len(lost), failed=len(used_up))
    return {row.pk for row in used_up}


def settle(outcomes: Sequence[Outcome]) -> None:
    """Store attempts and next states in one transaction; endpoints that are gone for good are then switched off.

    An outcome whose lease was lost meanwhile is dropped: the delivery is another worker's now.
    """
    if not outcomes:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        keys: dict[str, Any] = {"ids": [o.claimed.id for o in outcomes], "fences": [o.claimed.fence for o in outcomes]}
        cursor.execute(_LOCK_MINE, keys)
        mine = {row[0] for row in cursor.fetchall()}
        kept = sorted((o for o in outcomes if o.claimed.id in mine), key=lambda o: o.claimed.id)
        if len(kept) < len(outcomes):
            logger.warning("delivery_outcomes_dropped", count=len(outcomes) - len(kept))
        if kept:
            _store(cursor, kept)
    for endpoint_id, tenant_id in sorted({(o.claimed.endpoint_id, o.claimed.tenant_id) for o in kept if _gone(o)}):
        services.disable_endpoint(endpoint_id=endpoint_id, tenant_id=tenant_id, reason="it answered 410 Gone")


def _gone(outcome: Outcome) -> bool:
    return outcome.error_class is ErrorClass.GONE


def _store(cursor: Any, outcomes: Sequence[Outcome]) -> None:
    nexts = [_next(outcome) for outcome in outcomes]
    cursor.execute(
        _SETTLE,
        {
            "ids": [o.claimed.id for o in outcomes],
            "states": [n.state.value for n in nexts],
            "dues": [n.due_at for n in nexts],
            "statuses": [o.status_code for o in outcomes],
            "errors": [o.error for o in outcomes],
            "finished": [n.finished_at for n in nexts],
            "bonuses": [n.bonus for n in nexts],
        },
    )
    DeliveryAttempt.unscoped.bulk_create(
        [
            DeliveryAttempt(
                tenant_id=o.claimed.tenant_id,
                delivery_id=o.claimed.id,
                number=o.claimed.number,
                started_at=o.started_at,
                finished_at=o.finished_at,
                status_code=o.status_code,
                duration_ms=o.duration_ms,
                error_class=o.error_class or "",
                error=o.error,
                response_head=o.response_head,
                address=o.address,
            )
            for o in outcomes
        ]
    )
    dead = [o.claimed for o, n in zip(outcomes, nexts, strict=True) if n.state is DeliveryState.FAILED and not _gone(o)]
    _alert({claimed.endpoint_id: claimed.tenant_id for claimed in dead if claimed.event_type != TEST_EVENT})


def _next(outcome: Outcome) -> _Next:
    now = outcome.finished_at
    if outcome.delivered:
        return _Next(DeliveryState.DELIVERED, now, finished_at=now)
    if outcome.error_class is ErrorClass.INTERRUPTED:
        return _Next(DeliveryState.PENDING, now, bonus=1)
    if outcome.final or outcome.claimed.number >= outcome.claimed.attempts_allowed:
        return _Next(DeliveryState.FAILED, now, finished_at=now)
    wait = delay_after(outcome.claimed.number, retry_after=outcome.retry_after)
    return _Next(DeliveryState.PENDING, now + timedelta(seconds=wait))


def _alert(endpoints: dict[str, int]) -> None:
    for endpoint_id, tenant_id in sorted(endpoints.items()):
        raise_alert(
            tenant_id=tenant_id,
            kind=ALERT_KIND,
            subject=endpoint_id,
            message="An event could not be delivered to this webhook endpoint and will not be tried again by itself.",
        )
