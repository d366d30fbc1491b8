"""Claiming: which deliveries may go out now, and the lease on them.

Who claims for an endpoint holds the lock on its health row until the leases are committed, so that its limits (requests in
flight, rate, breaker) are exact over all workers; another engine passes it over and takes other endpoints. Locks are taken
in the order endpoint, health, deliveries, here as in settling and in the services, and without waiting for anybody.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction

from integrations.contracts import clock
from integrations.secrets import SecretUnreadable, open_sealed
from webhooks.outbound.delivery import settling
from webhooks.outbound.delivery.bodies import Body, bodies_of
from webhooks.outbound.delivery.sender import Claimed, ErrorClass
from webhooks.outbound.models import Breaker, DeliveryAttempt, PayloadFormat, SigningKey
from webhooks.outbound.signing import in_use

logger = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
WINDOW = 100
"""Due deliveries that are looked at for each endpoint that keeps an order; what is further back shows by its key."""
MAX_KEYS = 2000
SPARE = 16
"""Endpoints drawn beyond the number of deliveries wanted: some turn out to have nothing that may go."""
MAX_CLAIM_BYTES = 32_000_000
"""Payloads that one claim takes into memory, or a single delivery if that is larger; the rest waits for the next turn."""

# An endpoint is looked at where something is due and nothing keeps it back: one probe of a small partial index for each. The
# limits are asked again once its health is locked; here they only keep those that can't take anything out of the draw.
_CANDIDATES = """
SELECT h.endpoint_id, e.max_in_flight, e.rate_per_second, e.ordering, h.tokens, h.tokens_at, h.breaker, e.tenant_id
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

_IN_FLIGHT = """
SELECT endpoint_id, count(*) FROM webhooks_outbound_delivery
WHERE endpoint_id = ANY(%(endpoints)s) AND lease_until > %(now)s GROUP BY endpoint_id
"""

_FREE_TO_GO = """
(d.order_key = '' OR NOT EXISTS (
    SELECT 1 FROM webhooks_outbound_delivery b
    WHERE b.endpoint_id = d.endpoint_id AND b.order_key = d.order_key AND b.order_key <> '' AND b.position < d.position
        AND b.state IN ('pending', 'gathering', 'held')
))
"""

_FIRST_TRY = "d.attempts = 0"
_COLUMNS = "d.id, d.endpoint_id, d.attempts, d.attempts_allowed, d.due_at, d.lease IS NOT NULL"

_PICK = f"""
SELECT picked.* FROM unnest(%(endpoints)s::text[], %(rooms)s::int[]) AS open (endpoint_id, room)
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM webhooks_outbound_delivery d
    WHERE d.endpoint_id = open.endpoint_id AND d.state = 'pending' AND d.due_at <= %(now)s AND {{which}} AND {_FREE_TO_GO}
    ORDER BY d.due_at LIMIT open.room
    FOR UPDATE SKIP LOCKED
) picked
"""  # noqa: S608 constants only
_PICK_ALL = _PICK.format(which="TRUE")
_PICK_FIRST_TRIES = _PICK.format(which=_FIRST_TRY)

# Where order is kept, a deep backlog may wait behind one delivery, and walking it at each turn would cost everybody: so the
# oldest of the due ones are looked at, the newest that belong to no order (tests, sent by hand), and the head of each key.
_PICK_IN_ORDER = f"""
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
SELECT {_COLUMNS} FROM webhooks_outbound_delivery d
WHERE d.id IN (SELECT id FROM oldest UNION SELECT id FROM newest UNION (SELECT id FROM heads LIMIT {MAX_KEYS}))
    AND d.state = 'pending' AND d.due_at <= %(now)s AND (%(retries)s OR d.attempts = 0) AND {_FREE_TO_GO}
ORDER BY d.due_at LIMIT %(room)s
FOR UPDATE SKIP LOCKED
"""  # noqa: S608 constants only

_LEASE = """
UPDATE webhooks_outbound_delivery d
SET attempts = d.attempts + 1, fence = d.fence + 1, lease = %(lease)s, lease_until = %(until)s, due_at = %(until)s
FROM webhooks_outbound_endpoint e, webhooks_outbound_event v
WHERE d.id = ANY(%(ids)s) AND e.id = d.endpoint_id AND v.id = d.event_id
RETURNING d.id, d.tenant_id, d.endpoint_id, d.event_id, v.type, d.attempts, d.fence, d.created,
    e.url, e.payload_format, e.sealed_secrets, e.sealed_headers, v.payload
"""

_SIZES = """
SELECT d.id, octet_length(v.payload) + coalesce((
    SELECT sum(octet_length(b.payload)) FROM webhooks_outbound_delivery p
    JOIN webhooks_outbound_event b ON b.id = p.event_id WHERE p.carrier_id = d.id AND p.state = 'batched'
), 0)
FROM webhooks_outbound_delivery d JOIN webhooks_outbound_event v ON v.id = d.event_id WHERE d.id = ANY(%(ids)s)
"""

_SPEND = """
UPDATE webhooks_outbound_endpointhealth h
SET tokens = spent.tokens, tokens_at = spent.tokens_at, breaker = spent.breaker
FROM unnest(%(ids)s::text[], %(tokens)s::float8[], %(times)s::timestamptz[], %(breakers)s::text[])
    AS spent (endpoint_id, tokens, tokens_at, breaker)
WHERE h.endpoint_id = spent.endpoint_id
"""


@dataclass(slots=True)
class _Open:
    """An endpoint whose health we hold, and how many requests it may be sent right now."""

    id: str
    ordered: bool
    room: int
    tokens: float
    tokens_at: datetime | None
    rate: float | None
    breaker: str
    tenant_id: int
    taken: list[_Picked] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Picked:
    id: str
    endpoint_id: str
    attempts: int
    attempts_allowed: int
    due_at: datetime
    lapsed: bool

    @property
    def used_up(self) -> bool:
        """Its worker died during the last try that it was allowed."""
        return self.lapsed and self.attempts >= self.attempts_allowed


@dataclass(slots=True)
class Places:
    """The places of whoever claims, and who holds them. A tenant may hold `share` for each one that is free at that moment:
    alone it gets half of them where that is 1, beside others less, and there is always something left for a newcomer."""

    free: float = math.inf
    share: float = 1.0
    held: Counter[int] = field(default_factory=Counter)

    def none_for(self, tenant_id: int) -> bool:
        return self.held[tenant_id] >= self.share * self.free

    def full(self) -> list[int]:
        return [tenant_id for tenant_id in self.held if self.none_for(tenant_id)]

    def take(self, tenant_id: int) -> None:
        self.held[tenant_id] += 1
        self.free -= 1


def claim(limit: int, *, retries: int | None = None, places: Places | None = None) -> list[Claimed]:
    """Lease up to `limit` due deliveries, no more than `retries` of them tried before (None: as many as there are), and no
    more of a tenant than `places` leaves it (None: nobody is limited). What is leased takes its place there.

    Two processes never get the same one. An endpoint gets no more than it may have in flight, than its rate allows, than its
    breaker lets through, and nothing while it is paused. A lapsed lease leaves an attempt row `lost`, and is claimed again
    unless its attempts are used up: then the delivery has failed.
    """
    now = clock.now()
    with transaction.atomic(), connection.cursor() as cursor:
        allowed = limit if retries is None else retries
        places = places or Places()
        endpoints = _lock_endpoints(cursor, limit, allowed <= 0, places, now)
        dead = _fill(cursor, endpoints, limit, allowed, places, now)
        _leave_what_is_too_much(cursor, endpoints)
        picked = {each.id: each for endpoint in endpoints for each in endpoint.taken}
        claimed = _lease(cursor, picked, now) if picked else []
        _spend(cursor, endpoints, now)
    if dead:
        settling.bury_lost(dead, lease=LEASE)
    return claimed


def _lock_endpoints(cursor: Any, limit: int, first_tries_only: bool, places: Places, now: datetime) -> list[_Open]:
    statement = _CANDIDATES.format(which=_FIRST_TRY if first_tries_only else "TRUE")
    cursor.execute(statement, {"now": now, "limit": limit + SPARE, "full": places.full()})
    rows = cursor.fetchall()
    if not rows:
        return []
    # A new statement: it sees what the last holder of these locks has leased.
    cursor.execute(_IN_FLIGHT, {"endpoints": [row[0] for row in rows], "now": now})
    in_flight = dict(cursor.fetchall())
    found = [_opened(row, in_flight.get(row[0], 0), now) for row in rows]
    return [endpoint for endpoint in found if endpoint.room > 0]


def _opened(row: tuple[Any, ...], in_flight: int, now: datetime) -> _Open:
    endpoint_id, most, rate, ordering, tokens, tokens_at, breaker, tenant_id = row
    room = most - in_flight
    if rate is not None:
        tokens, tokens_at = _tokens(rate, tokens, tokens_at, now)
        room = min(room, math.floor(tokens + 1e-6))
    if breaker != Breaker.CLOSED:
        breaker, room = Breaker.HALF_OPEN.value, min(room, 1 - in_flight)
    return _Open(endpoint_id, ordering != "none", room, tokens, tokens_at, rate, breaker, tenant_id)


def _tokens(rate: float, tokens: float, since: datetime | None, now: datetime) -> tuple[float, datetime]:
    """Return what a bucket holds by now, and since when. It begins full; a clock that lags behind adds nothing."""
    burst = max(1.0, rate)
    if since is None:
        return burst, now
    elapsed = max(0.0, (now - since).total_seconds())
    return min(burst, tokens + elapsed * rate), max(now, since)


def _fill(cursor: Any, endpoints: Sequence[_Open], limit: int, retries: int, places: Places, now: datetime) -> list[str]:
    """Choose what each endpoint gets, in turns, so that none takes all; return those that died with their worker."""
    found = _pick(cursor, endpoints, now, first_tries_only=retries <= 0) if endpoints else {}
    dead = [each.id for rows in found.values() for each in rows if each.used_up]
    left, retries = _deal(endpoints, found, limit, retries, places)
    if left > 0 and retries <= 0 and any(each.attempts for rows in found.values() for each in rows):
        # Retries have used up their share, and stood before first tries of the same endpoint.
        found = _pick(cursor, endpoints, now, first_tries_only=True)
        _deal(endpoints, found, left, 0, places)
    return dead


def _pick(cursor: Any, endpoints: Iterable[_Open], now: datetime, *, first_tries_only: bool) -> dict[str, list[_Picked]]:
    found: dict[str, list[_Picked]] = {}
    plain = [each for each in endpoints if not each.ordered]
    if plain:
        statement = _PICK_FIRST_TRIES if first_tries_only else _PICK_ALL
        cursor.execute(statement, {"endpoints": [e.id for e in plain], "rooms": [e.room for e in plain], "now": now})
        for row in cursor.fetchall():
            found.setdefault(row[1], []).append(_Picked(*row))
    for endpoint in endpoints:
        if endpoint.ordered:
            given = {"endpoint": endpoint.id, "now": now, "room": endpoint.room, "retries": not first_tries_only}
            cursor.execute(_PICK_IN_ORDER, given)
            found[endpoint.id] = [_Picked(*row) for row in cursor.fetchall()]
    return found


def _deal(
    endpoints: Sequence[_Open], found: dict[str, list[_Picked]], limit: int, retries: int, places: Places
) -> tuple[int, int]:
    """Take one of each endpoint's rows after the other; return how many more may be taken, and how many of them retries."""
    queues = {}
    for endpoint in endpoints:
        taken = {each.id for each in endpoint.taken}
        queues[endpoint.id] = [each for each in found.get(endpoint.id, []) if each.id not in taken and not each.used_up]
    while limit > 0 and any(queues.values()):
        for endpoint in endpoints:
            queue = queues[endpoint.id]
            while queue and queue[0].attempts and retries <= 0:
                queue.pop(0)
            full = len(endpoint.taken) >= endpoint.room or places.none_for(endpoint.tenant_id)
            if not queue or limit <= 0 or full:
                queue.clear()
                continue
            picked = queue.pop(0)
            endpoint.taken.append(picked)
            places.take(endpoint.tenant_id)
            limit, retries = limit - 1, retries - bool(picked.attempts)
    return limit, retries


def _leave_what_is_too_much(cursor: Any, endpoints: Sequence[_Open]) -> None:
    """Let go, in the order in which it was dealt out, of what would go beyond `MAX_CLAIM_BYTES`."""
    dealt = sorted((turn, place) for place, each in enumerate(endpoints) for turn in range(len(each.taken)))
    if len(dealt) < 2:
        return
    cursor.execute(_SIZES, {"ids": [each.id for endpoint in endpoints for each in endpoint.taken]})
    sizes, taken = dict(cursor.fetchall()), 0
    for count, (turn, place) in enumerate(dealt):
        taken += sizes[endpoints[place].taken[turn].id]
        if taken > MAX_CLAIM_BYTES and count > 0:
            kept = Counter(index for _turn, index in dealt[:count])
            for index, endpoint in enumerate(endpoints):
                del endpoint.taken[kept[index] :]
            return


def _lease(cursor: Any, picked: dict[str, _Picked], now: datetime) -> list[Claimed]:
    _record_lost(cursor, [each for each in picked.values() if each.lapsed], now)
    cursor.execute(_LEASE, {"lease": uuid.uuid4(), "until": now + LEASE, "ids": list(picked)})
    rows = cursor.fetchall()
    bodies = bodies_of(
        cursor, [Body(id=r[0], event_id=r[3], type=r[4], created=r[7], format=r[9], payload=r[12]) for r in rows]
    )
    opened: dict[tuple[int, str, str], _Keys] = {}
    return [_claimed(row, bodies[row[0]], opened, picked[row[0]].due_at, now) for row in rows]


_Keys = tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]
"""Signing secrets, headers, and why they could not be opened."""


def _claimed(
    row: tuple[Any, ...], body: Body, opened: dict[tuple[int, str, str], _Keys], due_at: datetime, now: datetime
) -> Claimed:
    sealed = (row[1], row[10], row[11])
    if sealed not in opened:
        opened[sealed] = _open(*sealed, now)
    secrets, headers, problem = opened[sealed]
    return Claimed(
        id=row[0],
        tenant_id=row[1],
        endpoint_id=row[2],
        message_id=body.message_id,
        event_type=body.type,
        number=row[5],
        fence=row[6],
        url=row[8],
        body=body.text,
        secrets=secrets,
        headers=headers,
        flat=row[9] == PayloadFormat.FLAT,
        lag_ms=max(0, int((now - due_at).total_seconds() * 1000)),
        problem=problem or body.problem,
        problem_class=ErrorClass.SECRET if problem else ErrorClass.ERASED,
    )


def _open(tenant_id: int, sealed_secrets: str, sealed_headers: str, now: datetime) -> _Keys:
    try:
        keys: list[SigningKey] = open_sealed(tenant_id, sealed_secrets)
        secrets = tuple(key["secret"] for key in in_use(keys, now))
        headers = tuple(open_sealed(tenant_id, sealed_headers).items()) if sealed_headers else ()
    except SecretUnreadable:
        return (), (), "the endpoint's signing secret or headers can't be opened: is its encryption key missing?"
    return secrets, headers, ""


def _record_lost(cursor: Any, lost: Sequence[_Picked], now: datetime) -> None:
    """Write down the attempts that a dead worker left behind. Whether they arrived nobody knows: they speak of our worker,
    not of the endpoint, and its health is left alone."""
    if not lost:
        return
    cursor.execute("SELECT id, tenant_id FROM webhooks_outbound_delivery WHERE id = ANY(%s)", [[each.id for each in lost]])
    tenants = dict(cursor.fetchall())
    DeliveryAttempt.unscoped.bulk_create(
        [settling.lost_attempt(tenants[each.id], each.id, each.attempts, each.due_at, LEASE, now) for each in lost]
    )
    logger.warning("delivery_leases_lapsed", count=len(lost))


def _spend(cursor: Any, endpoints: Sequence[_Open], now: datetime) -> None:
    """Take the tokens of what was leased, and note that a breaker lets its one request through."""
    changed = [each for each in endpoints if each.taken and (each.rate is not None or each.breaker != Breaker.CLOSED)]
    if changed:
        cursor.execute(
            _SPEND,
            {
                "ids": [each.id for each in changed],
                "tokens": [each.tokens - (len(each.taken) if each.rate is not None else 0) for each in changed],
                "times": [each.tokens_at for each in changed],
                "breakers": [each.breaker for each in changed],
            },
        )
