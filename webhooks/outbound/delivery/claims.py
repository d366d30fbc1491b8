"""Claiming: which deliveries may go out now, and the lease on them.

Who claims for an endpoint holds the lock on its health row until the leases are committed, so that its limits (requests in
flight, rate, breaker) are exact over all workers; another engine passes it over and takes other endpoints. Locks are taken
in the order endpoint, health, deliveries, here as in settling and in the services, and without waiting for anybody.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import transaction

from integrations.contracts import clock
from integrations.secrets import SecretUnreadable, open_sealed
from webhooks.outbound.delivery import burying
from webhooks.outbound.delivery import claim_statements as sql
from webhooks.outbound.delivery.attempts import lost_attempt
from webhooks.outbound.delivery.bodies import Body, bodies_of
from webhooks.outbound.delivery.database import prepared
from webhooks.outbound.delivery.sender import Claimed, ErrorClass
from webhooks.outbound.models import Breaker, DeliveryAttempt, PayloadFormat, SigningKey
from webhooks.outbound.signing import in_use

logger = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
SPARE = 16
"""Endpoints drawn beyond the number of deliveries wanted: some turn out to have nothing that may go."""
SMALLEST_SHARE = 4
"""Deliveries that are looked at for each endpoint at least, however many endpoints there are."""
SEEN_WELL = timedelta(seconds=10)
"""How old an endpoint's last known success may grow while one after the other arrives there: then it is written down anew."""
MAX_CLAIM_BYTES = 32_000_000
"""Payloads that one claim takes into memory, or a single delivery if that is larger; the rest waits for the next turn."""


@dataclass(slots=True)
class _Open:
    """An endpoint whose health we hold: how many requests it may have in flight, how many more its rate lets through, and
    whether all has been well there, so that a further success tells nothing new."""

    id: str
    ordered: bool
    most: int
    room: int
    tokens: float
    tokens_at: datetime | None
    rate: float | None
    breaker: str
    tenant_id: int
    well: bool
    taken: list[_Picked] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Picked:
    id: str
    endpoint_id: str
    attempts: int
    attempts_allowed: int
    due: float
    lapsed: bool
    size: int
    aboard: int | None
    """Since when it has been due (Unix time); bytes of its own payload, and of those that go out in the same request (None: it
    carries nobody)."""

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


def _bury(dead: Sequence[str]) -> None:
    try:
        burying.bury(dead, lease=LEASE)
    except Exception:
        logger.exception("deliveries_not_buried", count=len(dead))  # they come up again; what was claimed must go out


def claim(
    limit: int,
    *,
    retries: int | None = None,
    places: Places | None = None,
    bury: Callable[[Sequence[str]], object] = _bury,
) -> list[Claimed]:
    """Lease up to `limit` due deliveries, no more than `retries` of them tried before (None: as many as there are), and no
    more of a tenant than `places` leaves it (None: nobody is limited). What is leased takes its place there.

    Two processes never get the same one. An endpoint gets no more than it may have in flight, than its rate allows, than its
    breaker lets through, and nothing while it is paused. A lapsed lease leaves an attempt row `lost`, and is claimed again
    unless its attempts are used up: those are handed to `bury` once the leases stand, which ends them now or has it done, and
    must not raise.
    """
    now = clock.now()
    with transaction.atomic(), prepared() as cursor:
        allowed = limit if retries is None else retries
        places = places or Places()
        endpoints = _lock_endpoints(cursor, limit, allowed <= 0, places, now)
        dead = _fill(cursor, endpoints, limit, allowed, places, now)
        _leave_what_is_too_much(endpoints)
        picked = {each.id: each for endpoint in endpoints for each in endpoint.taken}
        well = {endpoint.id for endpoint in endpoints if endpoint.well}
        claimed = _lease(cursor, picked, well, now) if picked else []
        _spend(cursor, endpoints, now)
    if dead:
        bury(dead)
    return claimed


def _lock_endpoints(cursor: Any, limit: int, first_tries_only: bool, places: Places, now: datetime) -> list[_Open]:
    statement = sql.CANDIDATES.format(which=sql.FIRST_TRY if first_tries_only else "TRUE")
    cursor.execute(statement, {"now": now, "seen": SEEN_WELL, "limit": limit + SPARE, "full": places.full()})
    return [endpoint for row in cursor.fetchall() if (endpoint := _opened(row, now)).room > 0]


def _opened(row: tuple[Any, ...], now: datetime) -> _Open:
    endpoint_id, most, rate, ordering, tokens, tokens_at, breaker, tenant_id, well = row
    room = most
    if rate is not None:
        tokens, tokens_at = _tokens(rate, tokens, tokens_at, now)
        room = min(room, math.floor(tokens + 1e-6))
    if breaker != Breaker.CLOSED:
        breaker, most = Breaker.HALF_OPEN.value, 1
    return _Open(endpoint_id, ordering != "none", most, room, tokens, tokens_at, rate, breaker, tenant_id, bool(well))


def _tokens(rate: float, tokens: float, since: datetime | None, now: datetime) -> tuple[float, datetime]:
    """Return what a bucket holds by now, and since when. It begins full; a clock that lags behind adds nothing."""
    burst = max(1.0, rate)
    if since is None:
        return burst, now
    elapsed = max(0.0, (now - since).total_seconds())
    return min(burst, tokens + elapsed * rate), max(now, since)


def _fill(cursor: Any, endpoints: Sequence[_Open], limit: int, retries: int, places: Places, now: datetime) -> list[str]:
    """Choose what each endpoint gets, in turns, so that none takes all; return those that died with their worker."""
    if not endpoints:
        return []
    # Looked at, and locked, is hardly more than what can be taken; only where some had less than their share, the others again.
    share = max(SMALLEST_SHARE, math.ceil(limit / len(endpoints)))
    found = _pick(cursor, endpoints, now, share, first_tries_only=retries <= 0)
    dead = {each.id for rows in found.values() for each in rows if each.used_up}
    left, retries = _deal(endpoints, found, limit, retries, places)
    more = [each for each in endpoints if share <= len(found.get(each.id, [])) and len(each.taken) < each.room]
    if left > 0 and more:
        found |= _pick(cursor, more, now, share + left, first_tries_only=retries <= 0)
        dead |= {each.id for rows in found.values() for each in rows if each.used_up}
        left, retries = _deal(endpoints, found, left, retries, places)
    if left > 0 and retries <= 0 and any(each.attempts for rows in found.values() for each in rows):
        # Retries have used up their share, and stood before first tries of the same endpoint.
        found = _pick(cursor, endpoints, now, limit, first_tries_only=True)
        _deal(endpoints, found, left, 0, places)
    return sorted(dead)


def _pick(
    cursor: Any, endpoints: Sequence[_Open], now: datetime, each_at_most: int, *, first_tries_only: bool
) -> dict[str, list[_Picked]]:
    found: dict[str, list[_Picked]] = {}
    plain = [each for each in endpoints if not each.ordered]
    if plain:
        statement = sql.PICK_FIRST_TRIES if first_tries_only else sql.PICK_ALL
        limits = {"most": [e.most for e in plain], "rooms": [min(e.room, each_at_most) for e in plain]}
        cursor.execute(statement, {"endpoints": [e.id for e in plain], **limits, "now": now})
        for row in cursor.fetchall():
            found.setdefault(row[1], []).append(_Picked(*row))
    for endpoint in endpoints:
        if endpoint.ordered:
            limits = {"most": endpoint.most, "room": min(endpoint.room, each_at_most), "retries": not first_tries_only}
            cursor.execute(sql.PICK_IN_ORDER, {"endpoint": endpoint.id, **limits, "now": now})
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


def _leave_what_is_too_much(endpoints: Sequence[_Open]) -> None:
    """Let go, in the order in which it was dealt out, of what would go beyond `MAX_CLAIM_BYTES`."""
    if sum(each.size + (each.aboard or 0) for endpoint in endpoints for each in endpoint.taken) <= MAX_CLAIM_BYTES:
        return
    dealt, taken = sorted((turn, place) for place, each in enumerate(endpoints) for turn in range(len(each.taken))), 0
    for count, (turn, place) in enumerate(dealt):
        picked = endpoints[place].taken[turn]
        taken += picked.size + (picked.aboard or 0)
        if taken > MAX_CLAIM_BYTES and count > 0:
            kept = Counter(index for _turn, index in dealt[:count])
            for index, endpoint in enumerate(endpoints):
                del endpoint.taken[kept[index] :]
            return


def _lease(cursor: Any, picked: dict[str, _Picked], well: AbstractSet[str], now: datetime) -> list[Claimed]:
    _record_lost(cursor, [each for each in picked.values() if each.lapsed], now)
    cursor.execute(sql.TAKE, {"lease": uuid.uuid4(), "until": now + LEASE, "ids": list(picked)})
    rows = cursor.fetchall()
    made = [Body(id=r[0], event_id=r[3], type=r[4], created=_moment(r[7]), format=r[9], payload=r[12]) for r in rows]
    bodies = bodies_of(cursor, made, carriers=[each.id for each in picked.values() if each.aboard is not None])
    opened: dict[tuple[int, str, str], _Keys] = {}
    return [_claimed(row, bodies[row[0]], opened, picked[row[0]].due, well, now) for row in rows]


_Keys = tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]
"""Signing secrets, headers, and why they could not be opened."""


def _claimed(
    row: tuple[Any, ...],
    body: Body,
    opened: dict[tuple[int, str, str], _Keys],
    due: float,
    well: AbstractSet[str],
    now: datetime,
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
        well=row[2] in well,
        lag_ms=max(0, int((now.timestamp() - due) * 1000)),
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


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


def _record_lost(cursor: Any, lost: Sequence[_Picked], now: datetime) -> None:
    """Write down the attempts that a dead worker left behind. Whether they arrived nobody knows: they speak of our worker,
    not of the endpoint, and its health is left alone."""
    if not lost:
        return
    cursor.execute("SELECT id, tenant_id FROM webhooks_outbound_delivery WHERE id = ANY(%s)", [[each.id for each in lost]])
    tenants = dict(cursor.fetchall())
    DeliveryAttempt.unscoped.bulk_create(
        [lost_attempt(tenants[each.id], each.id, each.attempts, _moment(each.due), LEASE, now) for each in lost]
    )
    logger.warning("delivery_leases_lapsed", count=len(lost))


def _spend(cursor: Any, endpoints: Sequence[_Open], now: datetime) -> None:
    """Take the tokens of what was leased, and note that a breaker lets its one request through."""
    changed = [each for each in endpoints if each.taken and (each.rate is not None or each.breaker != Breaker.CLOSED)]
    if changed:
        cursor.execute(
            sql.SPEND,
            {
                "ids": [each.id for each in changed],
                "tokens": [each.tokens - (len(each.taken) if each.rate is not None else 0) for each in changed],
                "times": [each.tokens_at for each in changed],
                "breakers": [each.breaker for each in changed],
            },
        )
