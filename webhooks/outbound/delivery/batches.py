"""Forming batches: what gathers for an endpoint goes out as one request once enough is there, or has waited long enough.

The earliest of a batch carries the others: it is claimed, tried and settled like any delivery, and they share its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from integrations.contracts import clock
from webhooks.outbound.delivery.database import prepared

MAX_BODY_BYTES = 1_000_000
ENDPOINTS_AT_ONCE = 20

_READY = """
SELECT e.id, e.batch_size, e.batch_wait, e.max_in_flight
FROM webhooks_outbound_endpoint e
JOIN integrations_tenant t ON t.id = e.tenant_id
JOIN webhooks_outbound_endpointhealth h ON h.endpoint_id = e.id
WHERE e.is_active AND e.deleted_at IS NULL AND t.is_active AND (
    EXISTS (
        SELECT 1 FROM webhooks_outbound_delivery d WHERE d.endpoint_id = e.id AND d.state = 'gathering'
            AND d.created <= %(now)s - make_interval(secs => e.batch_wait)
    ) OR EXISTS (
        SELECT 1 FROM webhooks_outbound_delivery d WHERE d.endpoint_id = e.id AND d.state = 'gathering'
        OFFSET e.batch_size - 1
    )
)
ORDER BY random() LIMIT %(limit)s
FOR UPDATE OF h SKIP LOCKED
"""

_OLDEST = """
SELECT d.id, d.position, d.created, octet_length(v.payload)
FROM webhooks_outbound_delivery d JOIN webhooks_outbound_event v ON v.id = d.event_id
WHERE d.endpoint_id = %(endpoint)s AND d.state = 'gathering'
ORDER BY d.created, d.position LIMIT %(limit)s
FOR UPDATE OF d SKIP LOCKED
"""

_CARRY = "UPDATE webhooks_outbound_delivery SET state = 'pending', due_at = %(now)s WHERE id = %(carrier)s"
_BOARD = "UPDATE webhooks_outbound_delivery SET state = 'batched', carrier_id = %(carrier)s WHERE id = ANY(%(ids)s)"


@dataclass(frozen=True, slots=True)
class _Gathered:
    id: str
    position: int
    created: datetime
    size: int


def form() -> int:
    """Turn what is ready into batches; return how many. Two processes never form one of the same delivery.

    A batch of one is an ordinary delivery. A body is kept below `MAX_BODY_BYTES`: what would go beyond waits for the next.
    """
    now, formed = clock.now(), 0
    with transaction.atomic(), prepared() as cursor:
        cursor.execute(_READY, {"now": now, "limit": ENDPOINTS_AT_ONCE})
        for endpoint_id, size, wait, at_once in cursor.fetchall():
            cursor.execute(_OLDEST, {"endpoint": endpoint_id, "limit": size * at_once})
            gathered = [_Gathered(*row) for row in cursor.fetchall()]
            for batch in _batches(gathered, size, now - timedelta(seconds=wait)):
                _board(cursor, batch, now)
                formed += 1
    return formed


def _batches(gathered: Sequence[_Gathered], size: int, ready_before: datetime) -> Iterator[list[_Gathered]]:
    """Cut the queue, oldest first; a batch that is not full goes only where its oldest has waited long enough."""
    batch: list[_Gathered] = []
    full = False
    for each in gathered:
        full = len(batch) >= size or sum(one.size for one in batch) + each.size > MAX_BODY_BYTES
        if batch and full:
            yield batch
            batch = []
        batch.append(each)
    if batch and (len(batch) >= size or batch[0].created <= ready_before):
        yield batch


def _board(cursor: Any, batch: Sequence[_Gathered], now: datetime) -> None:
    carrier, *others = sorted(batch, key=lambda each: each.position)
    cursor.execute(_CARRY, {"now": now, "carrier": carrier.id})
    if others:
        cursor.execute(_BOARD, {"carrier": carrier.id, "ids": [each.id for each in others]})
