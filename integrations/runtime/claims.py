"""Claiming: which items are run next, and the lease on them.

Tenants take turns, beginning after the one that was served last; within a tenant the most urgent go first, of these the
longest due. What a claim costs depends on how many tenants and priorities have something waiting, not on how much waits: one
probe of `queue_due_of_tenant` finds the next pair of them, another the head of its line.

Candidates are looked up without a lock, dealt out here, and leased by one statement that passes over what somebody else was
faster with; so no claimer ever waits for another, and no row is locked that is not taken.
"""

from __future__ import annotations

import math
import os
import random
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import connection

from integrations.contracts import clock
from integrations.models import QueueItem, Tenant
from integrations.runtime import jobs

URGENT = 2
"""Up to this priority an item is interactive or money: it goes before all others, and has places that those can't take."""
OLDEST_SHARE = 8
"""One of so many goes to what has waited longest, whatever its priority."""
MOST_PAIRS = 256
"""Pairs of tenant and priority that one claim looks at; the next one goes on from there."""
SUSPECTS_SEEN = 64
"""How far back in a line those are looked for whose worker died over them."""

# Both walks of the ring: from the tenant after the last one, then from the first up to it. Each step is one probe.
_WALK = """
    (SELECT tenant_id, priority FROM integrations_queueitem
     WHERE state = 'pending' AND tenant_id {side} %(after)s ORDER BY tenant_id, priority LIMIT 1)
    UNION ALL
    SELECT following.tenant_id, following.priority FROM {name} CROSS JOIN LATERAL (
        SELECT q.tenant_id, q.priority FROM integrations_queueitem q
        WHERE q.state = 'pending' AND q.tenant_id {side} %(after)s
            AND (q.tenant_id, q.priority) > ({name}.tenant_id, {name}.priority)
        ORDER BY q.tenant_id, q.priority LIMIT 1
    ) following
"""

# A pair with nothing due yet gives one row without an id: so that the ring's position is known all the same.
_CANDIDATES = f"""
WITH RECURSIVE later AS ({_WALK.format(name="later", side=">")}), earlier AS ({_WALK.format(name="earlier", side="<=")})
SELECT ring.tenant_id, ring.priority, due.id, due.due_at
FROM (SELECT * FROM (SELECT * FROM later UNION ALL SELECT * FROM earlier) laps LIMIT {MOST_PAIRS}) ring
LEFT JOIN LATERAL ({{line}}) due ON TRUE
"""  # noqa: S608 constants only

_LINE = """
    SELECT q.id, q.due_at {more} FROM integrations_queueitem q
    WHERE q.state = 'pending' AND q.tenant_id = ring.tenant_id AND q.priority = ring.priority AND q.due_at <= %(now)s
        AND q.kind = ANY(%(kinds)s) {which}
    ORDER BY q.due_at LIMIT {window}
"""
_IN_LINE = {
    None: _CANDIDATES.format(line=_LINE.format(more="", which="", window="%(window)s")),
    False: _CANDIDATES.format(line=_LINE.format(more="", which="AND q.crashes = 0", window="%(window)s")),
    True: _CANDIDATES.format(
        line=f"SELECT id, due_at FROM ({_LINE.format(more=', q.crashes', which='', window=SUSPECTS_SEEN)}) seen "  # noqa: S608
        "WHERE crashes > 0 LIMIT %(window)s"
    ),
}

# Where the ring is not seen as a whole, what is urgent is looked for in all of it.
_URGENT = """
SELECT q.tenant_id, q.priority, q.id, q.due_at FROM unnest(%(urgent)s::smallint[]) AS level (priority) CROSS JOIN LATERAL (
    SELECT q.tenant_id, q.priority, q.id, q.due_at FROM integrations_queueitem q
    WHERE q.state = 'pending' AND q.priority = level.priority AND q.due_at <= %(now)s AND q.kind = ANY(%(kinds)s)
        AND (q.crashes = 0 OR NOT %(innocent)s)
    ORDER BY q.due_at LIMIT %(window)s
) q
"""

# Chosen once and for all (MATERIALIZED): a join that looked for each row among the chosen anew would pass over those it has
# just taken, and so take them all one after the other.
_LEASE = """
WITH chosen AS MATERIALIZED (
    SELECT i.id, wanted.place FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS wanted (id, place)
    JOIN integrations_queueitem i ON i.id = wanted.id
    WHERE i.state = 'pending' AND (%(due)s::timestamptz IS NULL OR i.due_at <= %(due)s)
    ORDER BY wanted.place LIMIT %(limit)s
    FOR UPDATE OF i SKIP LOCKED
)
UPDATE integrations_queueitem q
SET state = 'processing', lease = gen_random_uuid(), fence = q.fence + 1, worker = %(worker)s,
    lease_until = %(now)s + spans.seconds * interval '1 second'
FROM chosen, unnest(%(kinds)s::text[], %(seconds)s::float8[]) AS spans (kind, seconds)
WHERE q.id = chosen.id AND spans.kind = q.kind
RETURNING q.*, chosen.place
"""

# A local job holds its row's lock while it runs, and nobody recovers a locked row: there is nothing to prolong there.
_RENEW = """
UPDATE integrations_queueitem q SET lease_until = held.until
FROM (
    SELECT i.id, given.until FROM unnest(%(ids)s::bigint[], %(leases)s::uuid[], %(untils)s::timestamptz[])
        AS given (id, lease, until)
    JOIN integrations_queueitem i ON i.id = given.id AND i.lease = given.lease AND i.state = 'processing'
    FOR UPDATE OF i SKIP LOCKED
) held
WHERE q.id = held.id
"""

_RELEASE = """
UPDATE integrations_queueitem q SET state = 'pending', lease = NULL, lease_until = NULL, worker = ''
FROM unnest(%(ids)s::bigint[], %(leases)s::uuid[]) AS given (id, lease)
WHERE q.id = given.id AND q.lease = given.lease AND q.state = 'processing'
"""

_LEVELS = """
WITH RECURSIVE levels AS (
    (SELECT priority FROM integrations_queueitem WHERE state = 'pending' ORDER BY priority LIMIT 1)
    UNION ALL
    SELECT following.priority FROM levels CROSS JOIN LATERAL (
        SELECT q.priority FROM integrations_queueitem q
        WHERE q.state = 'pending' AND q.priority > levels.priority ORDER BY q.priority LIMIT 1
    ) following
)
"""
_NEXT_DUE = f"""
{_LEVELS}
SELECT min(head.due_at) FROM levels CROSS JOIN LATERAL (
    SELECT q.due_at FROM integrations_queueitem q
    WHERE q.state = 'pending' AND q.priority = levels.priority AND q.due_at > %(now)s ORDER BY q.due_at LIMIT 1
) head
"""  # noqa: S608 constants only
_SOMETHING_DUE = f"""
{_LEVELS}
SELECT EXISTS (SELECT 1 FROM levels CROSS JOIN LATERAL (
    SELECT 1 FROM integrations_queueitem q
    WHERE q.state = 'pending' AND q.priority = levels.priority AND q.due_at <= %(now)s ORDER BY q.due_at LIMIT 1
) head)
"""  # noqa: S608 constants only


@dataclass(slots=True)
class Places:
    """The places of whoever claims, and who holds them. A tenant may hold `share` for each one that is free at that moment:
    alone it gets three quarters of them where that is 3, beside others less, and there is always one left for a newcomer.
    `reserve` of them are kept for what is urgent, whatever else its tenant holds."""

    free: float = math.inf
    reserve: float = 0.0
    share: float = 3.0
    held: Counter[int] = field(default_factory=Counter)
    urgent: Counter[int] = field(default_factory=Counter)

    @classmethod
    def beside(cls, items: Iterable[QueueItem], *, free: int, reserve: int) -> Places:
        """Return the places that are left beside these items."""
        places = cls(free, reserve)
        for each in items:
            places.held[each.tenant_id] += 1
            places.urgent[each.tenant_id] += each.priority <= URGENT
        return places

    def none_for(self, tenant_id: int, *, urgent: bool) -> bool:
        free, held = (self.free, self.urgent) if urgent else (self.free - self.reserve, self.held)
        return free < 1 or held[tenant_id] >= self.share * free

    def take(self, tenant_id: int, *, urgent: bool) -> None:
        self.held[tenant_id] += 1
        self.urgent[tenant_id] += urgent
        self.free -= 1


@dataclass(slots=True)
class Turns:
    """What a claimer remembers from one claim to the next: where in the ring of tenants it stands, how many pairs of tenant
    and priority it saw there, and what it owes to the oldest. `more`: something due was left, for want of places or because
    others were claiming it. `cut`: the ring goes on beyond what was looked at. `home`: where the lap began that is under way,
    since the last claims looked at parts of the ring and found less than they had room for; None where none is."""

    after: int = 0
    pairs: int = 1
    owed: float = 0.0
    more: bool = False
    cut: bool = False
    home: int | None = None
    wrapped: bool = False


class _Candidate(NamedTuple):
    tenant_id: int
    priority: int
    id: int
    due_at: datetime


def worker_name() -> str:
    """Return `<host>:<pid>:<group>`; the group is what a supervisor starts and ends as one."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{os.environ.get('HUB_GROUP', 'web')}"


def claim(
    limit: int,
    *,
    kinds: Sequence[str] | None = None,
    places: Places | None = None,
    turns: Turns | None = None,
    suspects: bool | None = None,
) -> list[QueueItem]:
    """Take up to `limit` due items, in the order in which they are to be run; two workers never get the same one.

    No tenant gets more than `places` leaves it (None: nobody is limited). `turns` goes from one claim to the next. `suspects`
    True: only items over which a worker has died; False: only others; None: all.
    """
    places, turns = places or Places(), turns or Turns()
    now, wanted = clock.now(), sorted(kinds or jobs.kinds())
    window = max(4, 4 * limit // turns.pairs)
    with connection.cursor() as cursor:
        cursor.execute(_IN_LINE[suspects], {"after": turns.after, "now": now, "kinds": wanted, "window": window})
        rows = cursor.fetchall()
    found = [_Candidate(*row) for row in rows if row[2] is not None]
    if len({(row[0], row[1]) for row in rows}) >= MOST_PAIRS and not suspects:
        found += _urgent_elsewhere(found, limit, wanted, now, innocent=suspects is False)
    oldest = _deal_to_the_oldest(found, limit, places, turns)
    dealt = oldest + _deal(found, limit - len(oldest), places, {each.id for each in oldest})
    _move_on(turns, rows, dealt[len(oldest) :], full=len(dealt) >= limit)
    _owe(turns, found, dealt)
    turns.more = len(dealt) < len(found)
    if not dealt:
        return []
    # Behind what was dealt stand those that are taken in place of what somebody else has just leased.
    chosen = {each.id for each in dealt}
    spare = [each.id for each in found if each.id not in chosen]
    ids = [each.id for each in dealt] + spare[: 3 * len(dealt)]
    taken = _lease(ids, len(dealt), wanted, due=now)
    turns.more = turns.more or len(taken) < len(dealt)
    return taken


def claim_one(item_id: int) -> QueueItem | None:
    """Take this item if it is pending (whether due or not); None where somebody else has it."""
    taken = _lease([item_id], 1, jobs.kinds(), due=None)
    return taken[0] if taken else None


def release(items: Iterable[QueueItem]) -> int:
    """Give back what was claimed and not begun: it is due as before, no attempt was used. Returns how many were ours still."""
    given = list(items)
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"ids": [each.pk for each in given], "leases": [each.lease for each in given]})
        return int(cursor.rowcount)


def renew(items: Iterable[QueueItem]) -> int:
    """Prolong the leases of what is still being run here, by the span of each one's kind; return how many."""
    given = list(items)
    untils = [clock.now() + timedelta(seconds=jobs.get(each.kind).lease_seconds) for each in given]
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, {"ids": [each.pk for each in given], "leases": [each.lease for each in given], "untils": untils})
        return int(cursor.rowcount)


def is_something_due() -> bool:
    """Tell whether anything is due, whoever may take it."""
    with connection.cursor() as cursor:
        cursor.execute(_SOMETHING_DUE, {"now": clock.now()})
        return bool(cursor.fetchone()[0])


def next_due() -> datetime | None:
    """Return when the next of the items that wait for their time is due; None where none does."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_DUE, {"now": clock.now()})
        found: datetime | None = cursor.fetchone()[0]
        return found


def _urgent_elsewhere(
    found: Sequence[_Candidate], limit: int, kinds: Sequence[str], now: datetime, *, innocent: bool
) -> list[_Candidate]:
    """Return what is urgent and has waited longest, of all tenants, beside what was found of some."""
    known = {each.id for each in found}
    given: dict[str, Any] = {"urgent": list(range(1, URGENT + 1)), "window": 4 * limit, "innocent": innocent}
    given |= {"now": now, "kinds": kinds}
    with connection.cursor() as cursor:
        cursor.execute(_URGENT, given)
        return [_Candidate(*row) for row in cursor.fetchall() if row[2] not in known]


def _deal_to_the_oldest(found: Sequence[_Candidate], limit: int, places: Places, turns: Turns) -> list[_Candidate]:
    """Take what is owed to those that are not urgent and have waited longest."""
    dealt: list[_Candidate] = []
    while turns.owed >= 1 and len(dealt) < limit:
        heads: dict[int, _Candidate] = {}
        for each in found:
            if each.priority > URGENT and each not in dealt and not places.none_for(each.tenant_id, urgent=False):
                heads[each.tenant_id] = min(heads.get(each.tenant_id, each), each, key=lambda one: one.due_at)
        if not heads:
            break
        # Of which tenant is left to chance: one with an endless backlog would always be the oldest.
        oldest = random.choice(list(heads.values()))  # noqa: S311 spreads turns, guards nothing
        places.take(oldest.tenant_id, urgent=False)
        dealt.append(oldest)
        turns.owed -= 1
    return dealt


def _owe(turns: Turns, found: Sequence[_Candidate], dealt: Sequence[_Candidate]) -> None:
    """Note what the dealt ones owe to those that were passed over for their priority; nothing where nobody was."""
    chosen = {each.id for each in dealt}
    last = max((each.priority for each in found if each.id not in chosen), default=0)
    turns.owed = min(turns.owed + sum(each.priority < last for each in dealt) / OLDEST_SHARE, 2.0) if last else 0.0


def _deal(found: Sequence[_Candidate], limit: int, places: Places, gone: set[int]) -> list[_Candidate]:
    """Choose in turns, of each tenant the next: first among what is urgent, then among the rest."""
    urgent: dict[int, list[_Candidate]] = {}
    others: dict[int, list[_Candidate]] = {}
    for each in found:
        if each.id not in gone:
            (urgent if each.priority <= URGENT else others).setdefault(each.tenant_id, []).append(each)
    dealt: list[_Candidate] = []
    for lines, is_urgent in ((urgent, True), (others, False)):
        _deal_in_turns(lines, is_urgent, dealt, limit, places)
    return dealt


def _deal_in_turns(
    lines: dict[int, list[_Candidate]], urgent: bool, dealt: list[_Candidate], limit: int, places: Places
) -> None:
    waiting = {tenant_id: line[::-1] for tenant_id, line in lines.items()}
    while waiting and len(dealt) < limit:
        for tenant_id in list(waiting):
            if len(dealt) >= limit:
                return
            if places.none_for(tenant_id, urgent=urgent):
                del waiting[tenant_id]
                continue
            dealt.append(waiting[tenant_id].pop())
            places.take(tenant_id, urgent=urgent)
            if not waiting[tenant_id]:
                del waiting[tenant_id]


def _move_on(
    turns: Turns, rows: Sequence[tuple[int, int, int | None, datetime]], dealt: Sequence[_Candidate], *, full: bool
) -> None:
    """Set where the next claim begins: after the tenant that was served last, or after all that was looked at."""
    pairs = {(row[0], row[1]) for row in rows}
    turns.pairs, turns.cut = max(1, len(pairs)), len(pairs) >= MOST_PAIRS
    if not turns.cut or full:
        turns.home = None
        # What was dealt from elsewhere in the ring moves nothing.
        seen = {row[0] for row in rows}
        served = [each.tenant_id for each in dealt if each.tenant_id in seen]
        turns.after = served[-1] if served else turns.after
        return
    before = turns.after
    # The last tenant's priorities may have been cut off: it is looked at again, unless there was nobody else.
    last, first = rows[-1][0], rows[0][0]
    turns.after = last - 1 if last != first else last
    if turns.home is None:
        turns.home, turns.wrapped = before, False
    twice = turns.wrapped and turns.after <= before  # it had begun behind all who are there now
    turns.wrapped = turns.wrapped or turns.after <= before
    if twice or (turns.wrapped and turns.after >= turns.home):
        turns.home = None


def _lease(ids: Sequence[int], limit: int, kinds: Sequence[str], *, due: datetime | None) -> list[QueueItem]:
    given = {
        "ids": list(ids),
        "limit": limit,
        "kinds": list(kinds),
        "seconds": [jobs.get(kind).lease_seconds for kind in kinds],
        "worker": worker_name(),
        "now": clock.now(),
        "due": due,
    }
    items: list[QueueItem] = sorted(QueueItem.unscoped.raw(_LEASE, given), key=attrgetter("place"))
    tenants = Tenant.objects.in_bulk({each.tenant_id for each in items}) if items else {}
    for each in items:
        each.tenant = tenants[each.tenant_id]
    return items
