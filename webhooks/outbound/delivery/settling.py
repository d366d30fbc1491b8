"""Settling: what came of attempts, stored in batches against the fence, with what that says about the endpoint.

Locks are taken in this order, each kind by id: endpoints (shared), health, deliveries. Whoever changes an endpoint locks its
row for itself first (`no_key`: notices insert deliveries for other endpoints, and must not wait), so nobody who holds a
part of this waits for another part. Nobody waits for an endpoint's row here: what is meant for one that is being changed is
settled a moment later. Switching an endpoint off comes after the settling transaction, in one of its own: should the worker
die in between, the next failure does it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import DatabaseError, OperationalError, connection, transaction

from integrations.contracts import clock
from webhooks.outbound.delivery import arrivals, notices
from webhooks.outbound.delivery import health as rules
from webhooks.outbound.delivery import settle_statements as sql
from webhooks.outbound.delivery.attempts import attempt_of, lost_attempt
from webhooks.outbound.delivery.database import is_held, prepared, wait_at_most
from webhooks.outbound.delivery.deaths import Death
from webhooks.outbound.delivery.schedule import attempts_of, delay_after, delay_after_refusal
from webhooks.outbound.delivery.sender import REFUSALS, RETRIED_4XX, ErrorClass, Outcome
from webhooks.outbound.endpoints import services
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import DeadReason, Delivery, DeliveryAttempt, DeliveryState, Endpoint, EndpointHealth, Event

logger = structlog.get_logger(__name__)

GONE = "it answered 410 Gone"
DIED_WITH_WORKER = "the worker died during the last attempt"
REPEATING = "repeating it does not help: it was tried often enough for a mistake on the endpoint's side to be put right"

LOCK_SECONDS, ALONE_SECONDS = 2.0, 0.25
"""How long a batch waits for somebody's lock, and then what each of its endpoints does alone: all tenants wait behind it."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What settling needs of an endpoint; the whole row is read only where somebody is told of it."""

    id: str
    tenant_id: int
    is_active: bool
    deleted_at: datetime | None
    retry_delays: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Row:
    """A delivery as it stands, locked."""

    id: str
    endpoint_id: str
    event_id: str
    attempts: int
    attempts_allowed: int
    expires_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Next:
    """What a delivery becomes; `bonus` is 1 where the attempt shall not count against the allowed ones."""

    state: DeliveryState
    due_at: datetime
    status: int | None
    error: str
    reason: str = ""
    finished_at: datetime | None = None
    delivered_at: datetime | None = None
    bonus: int = 0


def settle(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Store attempts, next states and the endpoints' health in one transaction; then switch off what has failed too long.
    What simply arrived is stored before that, in a statement of its own.

    Return what has to be settled later: somebody holds its endpoint, or another row that it needs. An outcome whose lease was
    lost meanwhile is dropped: the delivery is another worker's now.
    """
    plain, others = arrivals.parted(outcomes)
    if plain:
        try:
            with prepared() as cursor:
                dropped = len(plain) - arrivals.store(cursor, plain)
        except OperationalError as error:
            if not is_held(error):
                raise
            others, dropped = [*others, *plain], 0
        if dropped:
            logger.warning("delivery_outcomes_dropped", count=dropped)
    if not others:
        return []
    left = _settled_but(others)
    arrivals.doubt(others)
    return left


def _settled_but(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Settle outcomes; return those that somebody's lock is in the way of, which costs those of other endpoints nothing."""
    try:
        return _settle(outcomes, LOCK_SECONDS)
    except OperationalError as error:
        if not is_held(error):
            raise
    left: list[Outcome] = []
    for endpoint_id in sorted({outcome.claimed.endpoint_id for outcome in outcomes}):
        mine = [outcome for outcome in outcomes if outcome.claimed.endpoint_id == endpoint_id]
        try:
            left += _settle(mine, ALONE_SECONDS)
        except OperationalError as error:
            if not is_held(error):
                raise
            logger.warning("delivery_settling_held_up", endpoint=endpoint_id, count=len(mine))
            left += mine
    return left


def _settle(outcomes: Sequence[Outcome], wait: float) -> list[Outcome]:
    with transaction.atomic(), prepared() as cursor:
        endpoints, healths = _lock_endpoints(cursor, {outcome.claimed.endpoint_id for outcome in outcomes}, wait)
        left = [outcome for outcome in outcomes if outcome.claimed.endpoint_id not in endpoints]
        outcomes = [outcome for outcome in outcomes if outcome.claimed.endpoint_id in endpoints]
        if not outcomes:
            return left
        given = {"ids": [o.claimed.id for o in outcomes], "fences": [o.claimed.fence for o in outcomes]}
        cursor.execute(sql.LOCK_MINE, given)
        mine = {row[0]: _Row(*row) for row in cursor.fetchall()}
        kept = sorted((o for o in outcomes if o.claimed.id in mine), key=lambda o: o.claimed.id)
        if len(kept) < len(outcomes):
            logger.warning("delivery_outcomes_dropped", count=len(outcomes) - len(kept))
        deaths = _store(cursor, kept, mine, endpoints) if kept else []
        verdicts = _judge(cursor, kept, endpoints, healths)
        _tell(deaths, verdicts, endpoints)
    for endpoint_id, reason in sorted(_to_disable(kept, verdicts).items()):
        _disable(endpoint_id, endpoints[endpoint_id].tenant_id, reason)
    return left


def bury_lost(ids: Sequence[str], *, lease: timedelta) -> int | None:
    """Fail those of one endpoint's deliveries whose worker died during the last attempt they were allowed, and return how many;
    None, with nothing done, where somebody holds the endpoint."""
    now = clock.now()
    with transaction.atomic(), prepared() as cursor:
        ends = set(Delivery.unscoped.filter(pk__in=ids).values_list("endpoint_id", flat=True))
        endpoints, _ = _lock_endpoints(cursor, ends, ALONE_SECONDS)
        if len(endpoints) < len(ends):
            return None
        cursor.execute(sql.LOCK_LAPSED, {"ids": list(ids), "now": now})
        found = cursor.fetchall()
        dead = {row[0]: _Row(*row[:7]) for row in found}
        lost = [lost_attempt(row[7], row[0], row[3], row[8], lease, now) for row in found]
        DeliveryAttempt.unscoped.bulk_create(lost)
        nexts = {each.id: _ended(each, now, None, DeadReason.EXHAUSTED, DIED_WITH_WORKER) for each in dead.values()}
        deaths = _write(cursor, dead, nexts) if dead else []
        _tell(deaths, {}, endpoints)
    if dead:
        logger.warning("delivery_leases_lapsed", count=len(dead), failed=len(dead))
    return len(dead)


def _lock_endpoints(cursor: Any, ids: set[str], wait: float) -> tuple[dict[str, _Endpoint], dict[str, EndpointHealth]]:
    """Lock the endpoints that nobody is changing, and their health; then wait no longer than this for any other lock."""
    wait_at_most(cursor, wait)
    cursor.execute(sql.LOCK_ENDPOINTS, [sorted(ids)])
    endpoints = {row[0]: _Endpoint(*row[:4], retry_delays=json.loads(row[4])) for row in cursor.fetchall()}
    healths = EndpointHealth.unscoped.filter(endpoint_id__in=endpoints).order_by("endpoint_id").select_for_update()
    return endpoints, {health.endpoint_id: health for health in healths}


def _store(
    cursor: Any, outcomes: Sequence[Outcome], rows: Mapping[str, _Row], endpoints: Mapping[str, _Endpoint]
) -> list[Death]:
    earlier = {key: _tries_before(row, endpoints[row.endpoint_id]) for key, row in rows.items()}
    refusals = _refusals(outcomes, earlier)
    nexts = {
        o.claimed.id: _next(
            o,
            rows[o.claimed.id],
            endpoints[o.claimed.endpoint_id],
            refusals.get(o.claimed.id, 0) + 1,
            max(1, o.claimed.number - earlier[o.claimed.id]),
        )
        for o in outcomes
    }
    DeliveryAttempt.unscoped.bulk_create([attempt_of(outcome) for outcome in outcomes])
    return _write(cursor, rows, nexts)


def _tries_before(row: _Row, endpoint: _Endpoint) -> int:
    """Return how many tries a delivery had had when it was given a whole schedule again: they count no more."""
    return max(0, row.attempts_allowed - attempts_of(endpoint.retry_delays))


def _refusals(outcomes: Sequence[Outcome], earlier: Mapping[str, int]) -> dict[str, int]:
    """Return how often each of the deliveries that were refused just now had been refused before, within its schedule."""
    ids = [o.claimed.id for o in outcomes if o.refused and o.claimed.number > 1]
    if not ids:
        return {}
    tries = DeliveryAttempt.unscoped.filter(delivery_id__in=ids)
    answered = tries.filter(error_class=ErrorClass.HTTP_STATUS, status_code__range=(400, 499))
    refused = answered.exclude(status_code__in=RETRIED_4XX) | tries.filter(error_class__in=REFUSALS)
    found = refused.order_by().values_list("delivery_id", "number")
    return Counter(delivery_id for delivery_id, number in found if number > earlier[delivery_id])


def _next(outcome: Outcome, row: _Row, endpoint: _Endpoint, refusal: int, number: int) -> _Next:
    """Return what becomes of a delivery after this attempt, number `number` of its schedule; `refusal` counts refusals, this
    one included if it is one."""
    now, status, error = outcome.finished_at, outcome.status_code, outcome.error
    if outcome.delivered:
        return _Next(DeliveryState.DELIVERED, now, status, "", finished_at=now, delivered_at=now)
    if outcome.error_class is ErrorClass.INTERRUPTED:
        again_at = now + timedelta(seconds=outcome.retry_after or 0)
        return _waiting(row, endpoint, _Next(DeliveryState.PENDING, again_at, status, error, bonus=1))
    if outcome.final:
        return _ended(row, now, status, _FINAL[outcome.error_class or ErrorClass.GONE], error)
    if outcome.refused:
        wait = delay_after_refusal(refusal, retry_after=outcome.retry_after)
        if wait is None or row.attempts >= row.attempts_allowed:
            return _ended(row, now, status, DeadReason.REJECTED, f"{error}; {REPEATING}" if wait is None else error)
    elif row.attempts >= row.attempts_allowed:
        unsendable = outcome.error_class is ErrorClass.SECRET
        return _ended(row, now, status, DeadReason.UNSENDABLE if unsendable else DeadReason.EXHAUSTED, error)
    else:
        wait = delay_after(number, delays=endpoint.retry_delays, retry_after=outcome.retry_after)
    due_at = now + timedelta(seconds=wait)
    if row.expires_at is not None and due_at > row.expires_at:
        return _ended(row, now, status, DeadReason.TOO_OLD, error)
    return _waiting(row, endpoint, _Next(DeliveryState.PENDING, due_at, status, error))


_FINAL = {
    ErrorClass.GONE: DeadReason.GONE,
    ErrorClass.BLOCKED: DeadReason.BLOCKED,
    ErrorClass.ERASED: DeadReason.UNSENDABLE,
}


def _waiting(row: _Row, endpoint: _Endpoint, wanted: _Next) -> _Next:
    """Let it wait for its next try, or for its endpoint where that was switched off meanwhile."""
    if endpoint.deleted_at is not None:
        return _ended(row, endpoint.deleted_at, wanted.status, DeadReason.DELETED, wanted.error)
    return wanted if endpoint.is_active else replace(wanted, state=DeliveryState.HELD)


def _ended(row: _Row, now: datetime, status: int | None, reason: DeadReason, error: str) -> _Next:
    """End it for good. What has arrived once, and was sent again by a person, stays delivered; the error tells of this time."""
    if row.delivered_at is not None:
        return _Next(DeliveryState.DELIVERED, now, status, error, finished_at=now)
    return _Next(DeliveryState.FAILED, now, status, error, reason=reason.value, finished_at=now)


def _write(cursor: Any, rows: Mapping[str, _Row], nexts: Mapping[str, _Next]) -> list[Death]:
    """Store what deliveries become, with their passengers; return those that died of it."""
    columns = {
        "ids": list(nexts),
        "states": [n.state.value for n in nexts.values()],
        "dues": [n.due_at for n in nexts.values()],
        "statuses": [n.status for n in nexts.values()],
        "errors": [n.error for n in nexts.values()],
        "reasons": [n.reason for n in nexts.values()],
        "finished": [n.finished_at for n in nexts.values()],
        "delivered": [n.delivered_at for n in nexts.values()],
        "bonuses": [n.bonus for n in nexts.values()],
    }
    cursor.execute(sql.SETTLE, columns)
    deaths = [
        Death(rows[i].endpoint_id, i, rows[i].event_id, DeadReason(n.reason), n.error)
        for i, n in nexts.items()
        if n.state is DeliveryState.FAILED
    ]
    return deaths + _write_passengers(cursor, {i: n for i, n in nexts.items() if n.finished_at is not None})


def _write_passengers(cursor: Any, ended: Mapping[str, _Next]) -> list[Death]:
    if not ended:
        return []
    cursor.execute(
        sql.SETTLE_PASSENGERS,
        {
            "ids": list(ended),
            "states": ["delivered" if n.delivered_at else "failed" for n in ended.values()],
            "statuses": [n.status for n in ended.values()],
            "errors": [n.error for n in ended.values()],
            "reasons": ["" if n.delivered_at else n.reason or DeadReason.EXHAUSTED.value for n in ended.values()],
            "finished": [n.finished_at for n in ended.values()],
            "delivered": [n.delivered_at for n in ended.values()],
        },
    )
    settled = cursor.fetchall()
    return [Death(r[1], r[0], r[2], DeadReason(r[4]), r[5]) for r in settled if r[3] == DeliveryState.FAILED]


def _judge(
    cursor: Any, outcomes: Sequence[Outcome], endpoints: Mapping[str, _Endpoint], healths: Mapping[str, EndpointHealth]
) -> dict[str, rules.Verdict]:
    """Let each endpoint's health learn from what came of its attempts. One that is off has no ladder to climb."""
    verdicts = {}
    for endpoint_id, health in healths.items():
        mine = [outcome for outcome in outcomes if outcome.claimed.endpoint_id == endpoint_id]
        if mine and endpoints[endpoint_id].is_active:
            verdicts[endpoint_id] = rules.learn(health, mine)
    if verdicts:
        changed = [healths[endpoint_id] for endpoint_id in verdicts]
        cursor.execute(sql.LEARN, {name: [getattr(each, name) for each in changed] for name in ("id", *rules.FIELDS)})
    return verdicts


def _tell(deaths: Sequence[Death], verdicts: Mapping[str, rules.Verdict], endpoints: Mapping[str, _Endpoint]) -> None:
    """Tell the tenants; endpoint after endpoint by id, so that two batches can't wait for each other's alerts."""
    dead_at: dict[str, list[Death]] = {}
    for death in deaths:
        dead_at.setdefault(death.endpoint_id, []).append(death)
    spoken_of = {*dead_at} | {endpoint_id for endpoint_id, verdict in verdicts.items() if verdict.recovered or verdict.warn}
    if not spoken_of:
        return
    types = dict(Event.unscoped.filter(pk__in=[death.event_id for death in deaths]).values_list("pk", "type"))
    whole = Endpoint.unscoped.in_bulk([each for each in spoken_of if endpoints[each].deleted_at is None])
    for endpoint_id, endpoint in sorted(whole.items()):
        verdict = verdicts.get(endpoint_id, rules.Verdict())
        if verdict.recovered:
            notices.recovered(endpoint)
        mine = [replace(death, event_type=types.get(death.event_id, "")) for death in dead_at.get(endpoint_id, [])]
        if mine := [death for death in mine if death.event_type != TEST_EVENT]:
            notices.died(endpoint, mine)
        if verdict.warn:
            notices.failing(endpoint, verdict.warn)


def _disable(endpoint_id: str, tenant_id: int, reason: str) -> None:
    """Switch an endpoint off, unless somebody has its row right now: all tenants' outcomes wait behind this, and the next
    failure does it. What was settled stands whatever comes of this: two endpoints that are told of each other's end at the
    same moment may deadlock, and one of them is tried again."""
    for last in (False, True):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                wait_at_most(cursor, LOCK_SECONDS)
                free = Endpoint.unscoped.select_for_update(no_key=True, skip_locked=True).filter(pk=endpoint_id)
                if free.values_list("pk").first() is not None:
                    services.disable_endpoint(endpoint_id=endpoint_id, tenant_id=tenant_id, reason=reason)
                    return
            logger.warning("endpoint_not_disabled", endpoint=endpoint_id, error="locked", given_up=last)
        except DatabaseError as error:
            logger.warning("endpoint_not_disabled", endpoint=endpoint_id, error=type(error).__name__, given_up=last)


def _to_disable(outcomes: Sequence[Outcome], verdicts: Mapping[str, rules.Verdict]) -> dict[str, str]:
    reasons = {endpoint_id: verdict.disable for endpoint_id, verdict in verdicts.items() if verdict.disable}
    gone = {o.claimed.endpoint_id: GONE for o in outcomes if o.error_class is ErrorClass.GONE}
    return reasons | gone
