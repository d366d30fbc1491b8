"""How an endpoint fares: its breaker, its pauses, and the ladder that ends in switching it off. Rules only, no database.

The **breaker** opens after ten failures in a row that speak of the endpoint's state (`Outcome.unwell`), for half a minute that
doubles each time up to a quarter of an hour; then one request at a time is let through, until one is answered. What waits
meanwhile loses no attempt. While closed, `openings` counts the failures towards opening; once open, how often in a row it did.

The **ladder** counts every failed attempt in a row and the time since the first: both five days and twenty attempts must have
passed before the endpoint is switched off, so that neither a short outage nor a single old event does it. At 50, 70 and 90 per
cent of the way the tenant is told. Tests, attempts that our own side cut off or lost, and what our side could not make are no
evidence of either kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from webhooks.outbound.delivery.schedule import MAX_PAUSE
from webhooks.outbound.delivery.sender import ErrorClass, Outcome
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import Breaker, EndpointHealth

OPEN_AFTER = 10
OPEN_SECONDS, MAX_OPEN_SECONDS = 30.0, 900.0

DISABLE_AFTER = timedelta(days=5)
DISABLE_FAILURES = 20
RUNGS = (50, 70, 90)

FIELDS = (
    "paused_until",
    "breaker",
    "breaker_until",
    "openings",
    "failures",
    "failing_since",
    "warned",
    "last_success_at",
    "last_failure_at",
)
"""What `learn` may change."""

_PAUSING = (429, 503)
_NO_EVIDENCE = {ErrorClass.INTERRUPTED, ErrorClass.LOST, ErrorClass.SECRET, ErrorClass.ERASED}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tenant is to be told: `warn` is the rung reached (0: none), `disable` why it is switched off (empty: it is
    not)."""

    recovered: bool = False
    warn: int = 0
    disable: str = ""


def learn(health: EndpointHealth, outcomes: Sequence[Outcome]) -> Verdict:
    """Take outcomes of one endpoint into its health (unsaved), in the order in which they ended, and judge it."""
    warned_before, recovered = health.warned, False
    for outcome in sorted(outcomes, key=lambda each: (each.finished_at, each.claimed.id)):
        _pause(health, outcome)
        if outcome.claimed.event_type == TEST_EVENT or outcome.error_class in _NO_EVIDENCE:
            continue
        _breaker(health, outcome)
        if outcome.delivered:
            recovered = recovered or health.warned > 0
            health.failures, health.failing_since, health.warned = 0, None, 0
            health.last_success_at = outcome.finished_at
            warned_before = 0
        else:
            health.failures += 1
            health.failing_since = health.failing_since or outcome.finished_at
            health.last_failure_at = outcome.finished_at
            health.warned = max(health.warned, _rung(_progress(health, outcome.finished_at)))
    percent = _progress(health, health.last_failure_at) if health.failing_since and health.last_failure_at else 0
    if percent >= 100:
        since = health.failing_since
        return Verdict(recovered, disable=f"it failed {health.failures} times in a row since {since:%Y-%m-%d %H:%M} UTC")
    return Verdict(recovered, warn=health.warned if health.warned > warned_before else 0)


def _progress(health: EndpointHealth, now: datetime) -> int:
    """Return how many per cent of the way to being switched off the endpoint has gone; both measures count, the smaller one
    says."""
    if health.failing_since is None:
        return 0
    by_time = (now - health.failing_since) / DISABLE_AFTER
    return int(100 * min(by_time, health.failures / DISABLE_FAILURES) + 1e-9)


def _rung(percent: int) -> int:
    return max((rung for rung in RUNGS if rung <= percent), default=0)


def _pause(health: EndpointHealth, outcome: Outcome) -> None:
    if outcome.status_code in _PAUSING and outcome.retry_after:
        until = outcome.finished_at + timedelta(seconds=min(outcome.retry_after, MAX_PAUSE))
        health.paused_until = max(health.paused_until or until, until)


def _breaker(health: EndpointHealth, outcome: Outcome) -> None:
    if outcome.error_class is ErrorClass.BLOCKED:
        return  # nothing was sent: that says nothing about who would have answered
    if not outcome.unwell:
        health.breaker, health.breaker_until, health.openings = Breaker.CLOSED, None, 0
    elif health.breaker == Breaker.CLOSED:
        health.openings += 1
        if health.openings >= OPEN_AFTER:
            _open(health, 1, outcome.finished_at)
    elif health.breaker == Breaker.HALF_OPEN:
        _open(health, health.openings + 1, outcome.finished_at)


def _open(health: EndpointHealth, openings: int, now: datetime) -> None:
    seconds = min(OPEN_SECONDS * 2 ** min(openings - 1, 10), MAX_OPEN_SECONDS)
    health.breaker, health.openings, health.breaker_until = Breaker.OPEN, openings, now + timedelta(seconds=seconds)
