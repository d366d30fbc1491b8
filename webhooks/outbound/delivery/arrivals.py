"""The plain case of settling, in one statement: it arrived, at an endpoint where nothing had failed.

Nothing else can come of it: no schedule, no ladder, nobody to tell. So neither the endpoint nor its health is locked, and only
the delivery's own row is written, with its attempt. Everything else is for `settling`.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from integrations.contracts import clock
from webhooks.outbound.delivery.sender import Outcome

# The rows are locked in the order of their ids, as everywhere; what was lost to another worker is not there any more.
_ARRIVED = """
WITH told AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS t (id text, fence int, number int, status int, started_at timestamptz,
        finished_at timestamptz, lag_ms int, duration_ms int, sent jsonb, answered jsonb, head text, address text)
), mine AS MATERIALIZED (
    SELECT d.id, d.tenant_id FROM webhooks_outbound_delivery d JOIN told t ON t.id = d.id AND t.fence = d.fence
    WHERE d.state = 'pending' AND d.lease IS NOT NULL ORDER BY d.id FOR UPDATE OF d
), settled AS (
    UPDATE webhooks_outbound_delivery d
    SET state = 'delivered', due_at = t.finished_at, last_status = t.status, last_error = '', dead_reason = '',
        finished_at = t.finished_at, delivered_at = coalesce(d.delivered_at, t.finished_at), lease = NULL, lease_until = NULL
    FROM told t, mine m WHERE t.id = m.id AND d.id = m.id
)
INSERT INTO webhooks_outbound_deliveryattempt (tenant_id, delivery_id, number, started_at, finished_at, lag_ms, status_code,
    duration_ms, error_class, error, request_headers, response_headers, response_head, address)
SELECT m.tenant_id, t.id, t.number, t.started_at, t.finished_at, t.lag_ms, t.status, t.duration_ms, '', '', t.sent,
    t.answered, t.head, t.address
FROM told t JOIN mine m ON m.id = t.id
"""


# When this process last settled a failure of an endpoint. What was sent before that was claimed from one that was well, yet its
# success is news: it ends a row of failures. Each process needs to know only of its own: ten of them in a row that nobody
# interrupts have to come from those that failed.
_failed: OrderedDict[str, datetime] = OrderedDict()
_MOST_FAILED = 10_000


def parted(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Tell those that are plain from the others. Plain is what arrived where nothing has failed since it was sent, in a request
    that carried one event."""
    doubt(outcomes)
    plain: list[Outcome] = []
    others: list[Outcome] = []
    for outcome in outcomes:
        (plain if _is_plain(outcome) else others).append(outcome)
    return plain, others


def doubt(outcomes: Sequence[Outcome]) -> None:
    """Note which endpoints have failed by now: what was sent there so far is not plain."""
    for endpoint_id in {outcome.claimed.endpoint_id for outcome in outcomes if not outcome.delivered}:
        _failed[endpoint_id] = clock.now()
        _failed.move_to_end(endpoint_id)
    while len(_failed) > _MOST_FAILED:
        _failed.popitem(last=False)


def _is_plain(outcome: Outcome) -> bool:
    claimed = outcome.claimed
    if not (outcome.delivered and claimed.well and claimed.message_id != claimed.id):
        return False
    failed_at = _failed.get(claimed.endpoint_id)
    return failed_at is None or outcome.started_at > failed_at


def store(cursor: Any, outcomes: Sequence[Outcome]) -> int:
    """Settle outcomes that are plain, in a transaction of the caller's or in none; return how many were still ours."""
    cursor.execute(_ARRIVED, [json.dumps([_row(each) for each in outcomes])])
    return int(cursor.rowcount)


def _row(outcome: Outcome) -> dict[str, Any]:
    claimed = outcome.claimed
    return {
        "id": claimed.id,
        "fence": claimed.fence,
        "number": claimed.number,
        "status": outcome.status_code,
        "started_at": outcome.started_at.isoformat(),
        "finished_at": outcome.finished_at.isoformat(),
        "lag_ms": min(claimed.lag_ms, 2**31 - 1),
        "duration_ms": outcome.duration_ms,
        "sent": dict(outcome.request_headers),
        "answered": dict(outcome.response_headers),
        "head": outcome.response_head,
        "address": outcome.address,
    }
