"""The rows behind the limits. What is granted costs one statement and no transaction; only what is refused costs another.

Whoever is refused gets a place. New items of the queue stand in one line behind each other, and no newer one goes before them
while it lasts; what comes back and finds its token gone (something urgent took it, or the provider asked for a pause) stands
in a second, shorter one. A line is a row too: the time of its next free place. Places only say when to come back: what is
exact is the bucket, which everybody takes from in the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import connection

from integrations.contracts import clock
from integrations.contracts.provider import RateLimit
from integrations.models.operations import ENOUGH, NOW, REFILLED, TOUCHED
from integrations.runtime.statements import UNHURRIED


class Standing(StrEnum):
    """Who asks: somebody who waits for the answer, an item that was put off before (or is urgent), or a new one."""

    ALONE = ""
    AGAIN = "again|"
    NEW = "line|"


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of asking. `wait` is None where the call may be made; `used` counts the day's calls where these are limited."""

    wait: float | None
    why: str = ""
    used: int | None = None


# No new one goes before those that stand in line. A line's place that is free next is one step behind its last one.
_NOBODY_WAITS = """
    NOT EXISTS (SELECT 1 FROM integrations_ratebucket ahead
        WHERE ahead.key = %(ahead)s::text AND ahead.updated_at > moment.now + %(step)s * interval '1 second')
"""

# Neither waits for the disk: a server that is killed takes longer to come back than what it forgets was worth.
_MOMENT = f"WITH moment AS MATERIALIZED (SELECT {NOW} AS now WHERE {UNHURRIED})"

_TAKE = f"""
{_MOMENT},
taken AS (
    INSERT INTO integrations_ratebucket AS b (key, tokens, updated_at, blocked_why, used)
    SELECT %(key)s, %(burst)s - 1, moment.now, '', 0 FROM moment WHERE {_NOBODY_WAITS}
    ON CONFLICT (key) DO UPDATE SET tokens = {REFILLED} - 1, updated_at = {TOUCHED}
    WHERE {REFILLED} >= {ENOUGH} AND (b.blocked_until IS NULL OR b.blocked_until <= EXCLUDED.updated_at)
    RETURNING tokens
)
"""  # noqa: S608 constants only
_TAKE_FREELY = _TAKE + "SELECT tokens FROM taken"  # noqa: S608
_COUNT_OF_A_DAY = """, counted AS (
    INSERT INTO integrations_ratebucket AS b (key, tokens, updated_at, blocked_why, day, used)
    SELECT %(account)s, 0, moment.now, '', (moment.now AT TIME ZONE 'UTC')::date, 1 FROM moment, taken
    ON CONFLICT (key) DO UPDATE SET
        used = CASE WHEN b.day >= EXCLUDED.day THEN b.used + 1 ELSE 1 END,
        day = GREATEST(b.day, EXCLUDED.day), updated_at = EXCLUDED.updated_at
    WHERE b.day IS NULL OR b.day < EXCLUDED.day OR b.used < %(daily)s
    RETURNING used
)
SELECT taken.tokens, (SELECT used FROM counted),
    EXTRACT(EPOCH FROM date_trunc('day', moment.now AT TIME ZONE 'UTC') + interval '1 day'
        - moment.now AT TIME ZONE 'UTC')::float8
FROM taken, moment
"""
_TAKE_OF_A_DAY = _TAKE + _COUNT_OF_A_DAY

# How long until there is a token and no pause, and why; a row whose clock was put back is set right on the way.
_WAIT = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
put_back AS (
    UPDATE integrations_ratebucket b SET updated_at = moment.now FROM moment
    WHERE b.key = %(key)s AND b.updated_at > moment.now + interval '5 seconds'
)
SELECT GREATEST(0, (1 - LEAST(%(burst)s, b.tokens
            + GREATEST(0, EXTRACT(EPOCH FROM moment.now - b.updated_at)::float8) * %(rate)s)) / %(rate)s),
    GREATEST(0, EXTRACT(EPOCH FROM b.blocked_until - moment.now)::float8), b.blocked_why
FROM moment JOIN integrations_ratebucket b ON b.key = %(key)s
"""  # noqa: S608 constants only

# A line's row keeps its rate in `tokens` and the words that its items carry in `blocked_why`: what `closing` goes by.
_PLACE = f"""
{_MOMENT},
placed AS (
    INSERT INTO integrations_ratebucket AS b (key, tokens, updated_at, blocked_why, used)
    SELECT %(line)s, 1 / %(step)s, moment.now + (%(wait)s + %(step)s) * interval '1 second', %(words)s, 0 FROM moment
    ON CONFLICT (key) DO UPDATE SET tokens = EXCLUDED.tokens, blocked_why = EXCLUDED.blocked_why,
        updated_at = GREATEST(b.updated_at + %(step)s * interval '1 second', EXCLUDED.updated_at)
    RETURNING updated_at
)
SELECT EXTRACT(EPOCH FROM placed.updated_at - moment.now)::float8 - %(step)s FROM placed, moment
"""  # noqa: S608 constants only

# One row at a time: whoever takes locks first the one and then the other.
_GIVE_BACK = "UPDATE integrations_ratebucket SET tokens = tokens + 1 WHERE key = %(key)s"
_UNCOUNT = "UPDATE integrations_ratebucket SET used = GREATEST(0, used - 1) WHERE key = %(account)s"

_PAUSE = f"""
INSERT INTO integrations_ratebucket AS b (key, tokens, updated_at, blocked_until, blocked_why, used)
SELECT %(key)s, %(burst)s, moment.now, moment.now + %(seconds)s * interval '1 second', %(why)s, 0
FROM (SELECT {NOW} AS now) moment
ON CONFLICT (key) DO UPDATE SET blocked_until = EXCLUDED.blocked_until, blocked_why = EXCLUDED.blocked_why
WHERE b.blocked_until IS NULL OR b.blocked_until < EXCLUDED.blocked_until
"""  # noqa: S608 constants only


def take(key: str, *, account: str, limit: RateLimit, standing: Standing) -> Taken:
    """Take one call of `key`, and one of the account's calls of this day where these are limited."""
    given = {
        "key": key,
        "account": account,
        "burst": float(limit.burst),
        "rate": limit.rate,
        "step": 1 / limit.rate,
        "daily": limit.daily,
        "now": clock.injected(),
        "ahead": f"{Standing.NEW}{key}" if standing is Standing.NEW else None,
    }
    row = _one(_TAKE_FREELY if limit.daily is None else _TAKE_OF_A_DAY, given)
    if row is not None and limit.daily is None:
        return Taken(None)
    if row is not None:
        _tokens, used, to_midnight = row
        if used is not None:
            return Taken(None, used=used)
        # No call is made: the next who asks must hear of the day too, and not that there is no token this second.
        give_back(key, account=account, counted=False)
        return Taken(to_midnight, f"its {limit.daily:,} calls of this day are used up")
    tokens, pause, why = _one(_WAIT, given) or (0.0, 0.0, "")
    return Taken(max(tokens, pause or 0.0), why if pause else "")


def place(key: str, *, standing: Standing, wait: float, rate: float, words: str) -> float:
    """Return the seconds to a place in line, at least `wait`. Somebody who waits for the answer gets none."""
    if standing is Standing.ALONE:
        return wait
    given = {"line": f"{standing}{key}", "step": 1 / rate, "wait": wait, "words": words[:200], "now": clock.injected()}
    seconds: float = (_one(_PLACE, given) or (wait,))[0]
    return round(seconds, 6)


def give_back(key: str, *, account: str, counted: bool) -> None:
    """Undo a `take` whose call is not made after all; `counted`: its day was counted."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, {"key": key})
        if counted:
            cursor.execute(_UNCOUNT, {"account": account})


def pause(key: str, *, seconds: float, why: str, burst: int) -> None:
    """Keep everybody away from `key` for so long; a longer pause that is on already stays."""
    given: dict[str, Any] = {"key": key, "burst": float(burst), "seconds": seconds, "why": why[:200], "now": clock.injected()}
    with connection.cursor() as cursor:
        cursor.execute(_PAUSE, given)


def _one(statement: str, given: dict[str, Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row
