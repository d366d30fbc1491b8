"""How one circuit moves: counts that fade, when it opens and for how long, and a hand that holds it. No queries here."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from integrations.models import BreakerState

WINDOW = timedelta(seconds=60)
HALF = WINDOW / 2
MOST_COUNTED = 200
"""Where calls are many, the last few hundred speak; a provider that dies must not have to fail as often as it went well."""
MINIMUM_FAILURES = 5
FAILURE_RATE = 0.5
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=5)
SPREAD = 0.2
"""By how much of itself a wait may be longer: jitter is only added."""
PROBE_SPAN = timedelta(seconds=40)
"""How long the one probe may be silent before another is let through."""

PROBE_LOOK = timedelta(seconds=5)
"""After which those whom a probe under way keeps waiting look again."""

State = BreakerState.State
HELD_OPEN, HELD_CLOSED = "open", "closed"


def held(row: BreakerState, now: datetime) -> str:
    """Return `open` or `closed` where a person holds it so at this time, else ''."""
    return row.forced if row.forced_until is None or row.forced_until > now else ""


def shown(row: BreakerState, now: datetime) -> str:
    """Return how it stands: `closed`, `open`, `half_open`, `held_open`, `held_closed`."""
    by_hand = held(row, now)
    return f"held_{by_hand}" if by_hand else str(row.state)


def fade(row: BreakerState, now: datetime) -> None:
    """Let the counts fade to this time: they are halved every half window, and are gone after a window without any. So nothing
    is forgotten at an edge, and nothing is remembered for long."""
    age = now - row.window_started_at
    if age >= WINDOW:
        row.successes = row.failures = 0
    if not timedelta(0) <= age < WINDOW:
        row.window_started_at = now  # also where a clock was put back
    elif age >= HALF:
        row.successes, row.failures = row.successes // 2, row.failures // 2
        row.window_started_at += HALF


def is_troubled(row: BreakerState, now: datetime) -> bool:
    """Tell whether successes matter now: against failures that are not forgotten yet, or to close it."""
    return row.state != State.CLOSED or (row.failures > 0 and now - row.window_started_at < WINDOW)


def count(row: BreakerState, now: datetime, *, successes: int, failures: int) -> None:
    """Add calls that have ended."""
    fade(row, now)
    row.successes += successes
    row.failures += failures
    while row.successes + row.failures > MOST_COUNTED:
        row.successes, row.failures = row.successes // 2, row.failures // 2


def is_failing(row: BreakerState) -> bool:
    """Tell whether the counts are reason to open it."""
    counted = row.failures + row.successes
    return row.failures >= MINIMUM_FAILURES and row.failures >= FAILURE_RATE * counted


def open_up(row: BreakerState, now: datetime) -> None:
    """Open it; each time in a row for twice as long."""
    wait = min(FIRST_WAIT * 2 ** min(row.openings, 10), LONGEST_WAIT)
    wait *= 1 + random.random() * SPREAD  # noqa: S311 spreads load, guards nothing
    row.opened_at = now if row.state == State.CLOSED else row.opened_at or now
    row.state, row.retry_at, row.openings = State.OPEN, now + wait, row.openings + 1


def close(row: BreakerState, now: datetime) -> None:
    """Close it and forget what was counted; what the last failure was stays to be read."""
    row.state, row.opened_at, row.retry_at, row.openings = State.CLOSED, None, None, 0
    row.window_started_at, row.successes, row.failures = now, 0, 0


def pause_of(row: BreakerState, now: datetime) -> float:
    """Return the seconds after which it is worth asking again, at least one."""
    if held(row, now) == HELD_OPEN:
        until = min(row.forced_until or now + LONGEST_WAIT, now + LONGEST_WAIT)
    else:
        until = row.retry_at or now
        if row.state == State.HALF_OPEN:
            until = min(until, now + PROBE_LOOK)  # the probe may be back at any moment
    return max(1.0, (until - now).total_seconds())
