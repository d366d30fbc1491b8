"""The statements of claiming. What each does, and in which order, is in `claims.py`."""

from __future__ import annotations

WINDOW = 100
"""Due deliveries that are looked at for each endpoint that keeps an order; what is further back shows by its key."""
MAX_KEYS = 2000

# An endpoint is looked at where something is due and nothing keeps it back: one probe of a small partial index for each. The
# limits are asked again once its health is locked; here they only keep those that can't take anything out of the draw.
CANDIDATES = """
SELECT h.endpoint_id, e.max_in_flight, e.rate_per_second, e.ordering, h.tokens, h.tokens_at, h.breaker, e.tenant_id,
    h.breaker = 'closed' AND h.openings = 0 AND h.failures = 0 AND h.failing_since IS NULL AND h.warned = 0
        AND h.paused_until IS NULL AND h.last_success_at > %(now)s - %(seen)s
FROM webhooks_outbound_endpoint e
JOIN integrations_tenant t ON t.id = e.tenant_id
JOIN webhooks_outbound_endpointhealth h ON h.endpoint_id = e.id
WHERE e.is_active AND e.deleted_at IS NULL AND t.is_active AND t.id <> ALL(%(full)s)
    AND (h.paused_until IS NULL OR h.paused_until <= %(now)s)
    AND (h.breaker <> 'open' OR h.breaker_until <= %(now)s)
    AND (e.rate_per_second IS NULL OR h.tokens_at IS NULL
        OR h.tokens + greatest(0, extract(epoch FROM %(now)s - h.tokens_at)) * e.rate_per_second >= 0.999999)
    AND EXISTS (
        SELECT 1 FROM webhooks_outbound_delivery d
        WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.due_at <= %(now)s AND {which}
    )
    AND e.max_in_flight > (
        SELECT count(*) FROM webhooks_outbound_delivery b WHERE b.endpoint_id = e.id AND b.lease_until > %(now)s
    )
ORDER BY random() LIMIT %(limit)s
FOR UPDATE OF h SKIP LOCKED
"""

_FREE_TO_GO = """
(d.order_key = '' OR NOT EXISTS (
    SELECT 1 FROM webhooks_outbound_delivery b
    WHERE b.endpoint_id = d.endpoint_id AND b.order_key = d.order_key AND b.order_key <> '' AND b.position < d.position
        AND b.state IN ('pending', 'gathering', 'held')
))
"""

FIRST_TRY = "d.attempts = 0"
_SIZE = """
    octet_length(v.payload), (
        SELECT sum(octet_length(b.payload)) FROM webhooks_outbound_delivery p
        JOIN webhooks_outbound_event b ON b.id = p.event_id WHERE p.carrier_id = d.id AND p.state = 'batched'
    )
"""
_COLUMNS = (
    f"d.id, d.endpoint_id, d.attempts, d.attempts_allowed, extract(epoch FROM d.due_at)::float8, d.lease IS NOT NULL, {_SIZE}"
)
_FROM = "webhooks_outbound_delivery d JOIN webhooks_outbound_event v ON v.id = d.event_id"

# What is in flight is counted here, after the endpoints' locks: it sees what the last holder of these locks has leased.
_FLYING = "SELECT count(*) FROM webhooks_outbound_delivery b WHERE b.endpoint_id = {endpoint} AND b.lease_until > %(now)s"

_PICK = f"""
SELECT picked.* FROM unnest(%(endpoints)s::text[], %(most)s::int[], %(rooms)s::int[]) AS open (endpoint_id, most, room)
CROSS JOIN LATERAL (
    SELECT greatest(0, least(open.room, open.most - ({_FLYING.format(endpoint="open.endpoint_id")}))) AS room
) free
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM {_FROM}
    WHERE d.endpoint_id = open.endpoint_id AND d.state = 'pending' AND d.due_at <= %(now)s AND {{which}} AND {_FREE_TO_GO}
    ORDER BY d.due_at LIMIT free.room
    FOR UPDATE OF d SKIP LOCKED
) picked
"""  # noqa: S608 constants only
PICK_ALL = _PICK.format(which="TRUE")
PICK_FIRST_TRIES = _PICK.format(which=FIRST_TRY)

# Where order is kept, a deep backlog may wait behind one delivery, and walking it at each turn would cost everybody: so the
# oldest of the due ones are looked at, the newest that belong to no order (tests, sent by hand), and the head of each key.
PICK_IN_ORDER = f"""
WITH RECURSIVE heads AS (
    (SELECT order_key, id FROM webhooks_outbound_delivery
     WHERE endpoint_id = %(endpoint)s AND state IN ('pending', 'gathering', 'held') AND order_key <> ''
     ORDER BY order_key, position LIMIT 1)
    UNION ALL
    SELECT following.* FROM heads CROSS JOIN LATERAL (
        SELECT order_key, id FROM webhooks_outbound_delivery
        WHERE endpoint_id = %(endpoint)s AND state IN ('pending', 'gathering', 'held') AND order_key <> ''
            AND order_key > heads.order_key
        ORDER BY order_key, position LIMIT 1
    ) following
), oldest AS (
    SELECT id FROM webhooks_outbound_delivery
    WHERE endpoint_id = %(endpoint)s AND state = 'pending' AND due_at <= %(now)s ORDER BY due_at LIMIT {WINDOW}
), newest AS (
    SELECT id FROM webhooks_outbound_delivery
    WHERE endpoint_id = %(endpoint)s AND state = 'pending' AND due_at <= %(now)s ORDER BY due_at DESC LIMIT {WINDOW}
)
SELECT {_COLUMNS} FROM {_FROM}
WHERE d.id IN (SELECT id FROM oldest UNION SELECT id FROM newest UNION (SELECT id FROM heads LIMIT {MAX_KEYS}))
    AND d.state = 'pending' AND d.due_at <= %(now)s AND (%(retries)s OR d.attempts = 0) AND {_FREE_TO_GO}
ORDER BY d.due_at LIMIT greatest(0, least(%(room)s, %(most)s - ({_FLYING.format(endpoint="%(endpoint)s")})))
FOR UPDATE OF d SKIP LOCKED
"""  # noqa: S608 constants only

TAKE = """
UPDATE webhooks_outbound_delivery d
SET attempts = d.attempts + 1, fence = d.fence + 1, lease = %(lease)s, lease_until = %(until)s, due_at = %(until)s
FROM webhooks_outbound_endpoint e, webhooks_outbound_event v
WHERE d.id = ANY(%(ids)s) AND e.id = d.endpoint_id AND v.id = d.event_id
RETURNING d.id, d.tenant_id, d.endpoint_id, d.event_id, v.type, d.attempts, d.fence, extract(epoch FROM d.created)::float8,
    e.url, e.payload_format, e.sealed_secrets, e.sealed_headers, v.payload
"""

SPEND = """
UPDATE webhooks_outbound_endpointhealth h
SET tokens = spent.tokens, tokens_at = spent.tokens_at, breaker = spent.breaker
FROM unnest(%(ids)s::text[], %(tokens)s::float8[], %(times)s::timestamptz[], %(breakers)s::text[])
    AS spent (endpoint_id, tokens, tokens_at, breaker)
WHERE h.endpoint_id = spent.endpoint_id
"""
