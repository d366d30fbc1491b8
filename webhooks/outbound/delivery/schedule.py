"""When a failed delivery is tried again: fixed delays, jitter only added, `Retry-After` honoured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

_MINUTE, _HOUR = 60.0, 3600.0
DELAYS = (
    5.0,
    30.0,
    2 * _MINUTE,
    10 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    6 * _HOUR,
    12 * _HOUR,
    24 * _HOUR,
    24 * _HOUR,
    24 * _HOUR,
)
"""Seconds after the first, second ... failed attempt; about four days in all."""

MAX_AGE = timedelta(days=7)
"""No automatic try comes later than this after a delivery was made, released or sent again by a person, whatever receivers
ask for."""

REFUSAL_DELAYS = (60.0, 30 * _MINUTE, 2 * _HOUR)
"""Seconds after the first, second and third answer that says no to the request itself; the fourth ends it. A few tries all the
same: a wrong deployment or an expired certificate is often put right within hours."""

JITTER = 0.1
MAX_RETRY_AFTER = 24 * _HOUR
MAX_PAUSE = _HOUR
"""Seconds that a `Retry-After` stops all of an endpoint at most; the delivery that got it waits as long as was asked."""


def attempts_of(delays: Sequence[float]) -> int:
    """Return how many automatic tries an endpoint's own delays mean; empty: the hub's schedule."""
    return len(delays or DELAYS) + 1


def delay_after(
    attempt: int, *, delays: Sequence[float] = (), retry_after: float | None = None, jitter: float | None = None
) -> float:
    """Return the seconds to wait after failed attempt number `attempt` (from 1).

    Never less than the schedule's delay nor than what the receiver asked for; up to a tenth is added, so that what failed
    together does not come back together. `jitter` in 0..1 replaces the random number. `delays` are the endpoint's own.
    """
    schedule = delays or DELAYS
    base = float(schedule[min(attempt, len(schedule)) - 1])
    if retry_after is not None:
        base = max(base, retry_after)
    return base * (1 + JITTER * (random.random() if jitter is None else jitter))  # noqa: S311 spreading load, no secret


def delay_after_refusal(refusal: int, *, retry_after: float | None = None, jitter: float | None = None) -> float | None:
    """Return the seconds to wait after refusal number `refusal` (from 1) of a delivery; None: it is not tried again."""
    if refusal > len(REFUSAL_DELAYS):
        return None
    return delay_after(refusal, delays=REFUSAL_DELAYS, retry_after=retry_after, jitter=jitter)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the header's seconds, given as a number or as an HTTP date, clamped to 0..24 h; None where it says nothing."""
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER) if len(text) <= 12 else MAX_RETRY_AFTER
    try:
        seconds = (parsedate_to_datetime(text) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):  # TypeError: a date without a zone
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
