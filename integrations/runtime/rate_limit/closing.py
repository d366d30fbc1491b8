"""Closing ranks: whoever leaves a line without having been called (cancelled, too late, done in another way) leaves a hole in
it, and a limit that was raised leaves it too long. The others are moved up then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from integrations.contracts import clock
from integrations.contracts.provider import RateLimit
from integrations.models import Config, RateBucket
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.rate_limit.buckets import Standing
from integrations.runtime.rate_limit.limits import in_force

SLACK = timedelta(seconds=10)
"""How much longer than its items need a line may be."""
MOVED_AT_ONCE = 10_000

# The words name the account. The rest is what any item of its line has in common: no other error that begins alike is meant.
_THEIRS = """q.state = 'pending' AND q.due_at > %(now)s AND starts_with(q.last_error, %(words)s)
    AND (q.config_id = %(config)s::bigint
        OR (q.config_id IS NULL AND (q.tenant_id = %(tenant)s::bigint OR %(config)s::bigint IS NULL)))"""
_COUNT = f"""
SELECT count(*), max(due_at) FROM (
    SELECT q.due_at FROM integrations_queueitem q
    WHERE {_THEIRS}
    ORDER BY q.due_at, q.id LIMIT %(most)s
) waiting
"""  # noqa: S608 constants only
# In the order in which they stand, chosen once and for all; what somebody is just taking is left alone.
_MOVE = f"""
WITH waiting AS MATERIALIZED (
    SELECT q.id, q.due_at FROM integrations_queueitem q
    WHERE {_THEIRS}
    ORDER BY q.due_at, q.id LIMIT %(most)s FOR UPDATE SKIP LOCKED
), moved AS MATERIALIZED (SELECT id, row_number() OVER (ORDER BY due_at, id) AS place FROM waiting)
UPDATE integrations_queueitem q SET due_at = %(start)s::timestamptz + (moved.place - 1) * %(step)s * interval '1 second'
FROM moved WHERE q.id = moved.id
"""  # noqa: S608 constants only


def close_ranks() -> int:
    """Move up what waits in lines that are longer than what stands in them; return how many items. A tick calls it; several at
    once are harmless: what is moved up too far is put off again."""
    now = clock.now()
    far = RateBucket.objects.filter(key__startswith=Standing.NEW.value, updated_at__gt=now + SLACK)
    return sum(_close(line, now) for line in far.order_by("key"))


def _close(line: RateBucket, now: datetime) -> int:
    key = line.key.removeprefix(Standing.NEW.value)
    slug, account, *operation = key.split("|")
    whose = _whose(slug, account)
    if whose is None:
        line.delete()
        return 0
    tenant_id, limit = whose
    if _is_used_up(f"{slug}|{account}", limit, now):
        return 0
    rate = limit.rate if operation else float(limit.concurrency or line.tokens)
    start = _begins(key, now)
    given: dict[str, Any] = {
        "words": line.blocked_why,
        "config": None if account == "installation" else int(account),
        "tenant": tenant_id,
        "now": now,
        "start": start,
        "step": 1 / rate,
        "most": MOVED_AT_ONCE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, given)
        waiting, last = cursor.fetchone()
        end = start + timedelta(seconds=waiting / rate)
        slack = SLACK + (end - start) / 4
        moved = 0
        if last is not None and last > end + slack:
            cursor.execute(_MOVE, given)
            moved, last = cursor.rowcount, end
    if waiting < MOVED_AT_ONCE and line.updated_at > (last or end) + slack:
        RateBucket.objects.filter(key=line.key, updated_at=line.updated_at).update(updated_at=last or end)
        RateBucket.objects.filter(key=f"{Standing.AGAIN}{key}", updated_at__gt=last or end).update(updated_at=last or end)
    return moved


def _whose(slug: str, account: str) -> tuple[int | None, RateLimit] | None:
    try:
        declared = get_provider(slug).rate_limit
    except UnknownProvider:
        return None
    if account == "installation":
        return None, declared
    config = Config.unscoped.filter(pk=account).first()
    return None if config is None else (config.tenant_id, in_force(declared, config.limits))


def _is_used_up(account: str, limit: RateLimit, now: datetime) -> bool:
    return limit.daily is not None and RateBucket.objects.filter(key=account, day=now.date(), used__gte=limit.daily).exists()


def _begins(key: str, now: datetime) -> datetime:
    """Return when the first may be called: now, or once the pause is over that the provider asked for."""
    paused = RateBucket.objects.filter(key=key, blocked_until__gt=now).values_list("blocked_until", flat=True).first()
    return paused or now
