"""The statements of settling. What each does, and in which order, is in `settling.py`."""

from __future__ import annotations

LOCK_ENDPOINTS = """
SELECT id, tenant_id, is_active, deleted_at, retry_delays FROM webhooks_outbound_endpoint
WHERE id = ANY(%s) ORDER BY id FOR SHARE SKIP LOCKED
"""

_COLUMNS = "d.id, d.endpoint_id, d.event_id, d.attempts, d.attempts_allowed, d.expires_at, d.delivered_at"

LOCK_MINE = f"""
SELECT {_COLUMNS} FROM webhooks_outbound_delivery d
JOIN unnest(%(ids)s::text[], %(fences)s::int[]) AS mine (id, fence) ON mine.id = d.id AND mine.fence = d.fence
WHERE d.state = 'pending' AND d.lease IS NOT NULL ORDER BY d.id FOR UPDATE OF d
"""  # noqa: S608 constants only

# Looked at anew under the lock: somebody else may have been here first, or a person may have granted another try.
LOCK_LAPSED = f"""
SELECT {_COLUMNS}, d.tenant_id, d.lease_until FROM webhooks_outbound_delivery d
WHERE d.id = ANY(%(ids)s) AND d.state = 'pending' AND d.lease_until <= %(now)s AND d.attempts >= d.attempts_allowed
ORDER BY d.id FOR UPDATE OF d
"""  # noqa: S608 constants only

SETTLE = """
UPDATE webhooks_outbound_delivery d
SET state = r.state, due_at = r.due_at, last_status = r.status, last_error = r.error, dead_reason = r.reason,
    finished_at = r.finished_at, delivered_at = coalesce(d.delivered_at, r.delivered_at),
    attempts_allowed = d.attempts_allowed + r.bonus, lease = NULL, lease_until = NULL
FROM unnest(%(ids)s::text[], %(states)s::text[], %(dues)s::timestamptz[], %(statuses)s::int[], %(errors)s::text[],
    %(reasons)s::text[], %(finished)s::timestamptz[], %(delivered)s::timestamptz[], %(bonuses)s::int[])
    AS r (id, state, due_at, status, error, reason, finished_at, delivered_at, bonus)
WHERE d.id = r.id
"""

# What goes out in one request shares its end. Each has a past of its own: one that arrived before can't be undone.
SETTLE_PASSENGERS = """
UPDATE webhooks_outbound_delivery p
SET state = CASE WHEN p.delivered_at IS NOT NULL THEN 'delivered' ELSE c.outcome END,
    dead_reason = CASE WHEN p.delivered_at IS NOT NULL THEN '' ELSE c.reason END,
    delivered_at = coalesce(p.delivered_at, c.delivered_at),
    last_status = c.status, last_error = c.error, finished_at = c.finished_at
FROM unnest(%(ids)s::text[], %(states)s::text[], %(statuses)s::int[], %(errors)s::text[], %(reasons)s::text[],
    %(finished)s::timestamptz[], %(delivered)s::timestamptz[])
    AS c (id, outcome, status, error, reason, finished_at, delivered_at)
WHERE p.carrier_id = c.id AND p.state = 'batched'
RETURNING p.id, p.endpoint_id, p.event_id, p.state, p.dead_reason, p.last_error
"""

LEARN = """
UPDATE webhooks_outbound_endpointhealth h
SET paused_until = r.paused_until, breaker = r.breaker, breaker_until = r.breaker_until, openings = r.openings,
    failures = r.failures, failing_since = r.failing_since, warned = r.warned, last_success_at = r.last_success_at,
    last_failure_at = r.last_failure_at
FROM unnest(%(id)s::bigint[], %(paused_until)s::timestamptz[], %(breaker)s::text[], %(breaker_until)s::timestamptz[],
    %(openings)s::int[], %(failures)s::int[], %(failing_since)s::timestamptz[], %(warned)s::int[],
    %(last_success_at)s::timestamptz[], %(last_failure_at)s::timestamptz[])
    AS r (id, paused_until, breaker, breaker_until, openings, failures, failing_since, warned, last_success_at, last_failure_at)
WHERE h.id = r.id
"""
