"""The circuit breaker, shared by all processes: closed, open, half-open by failure rate in a window."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import CircuitOpen, ProviderError
from integrations.models import BreakerState

WINDOW = timedelta(seconds=60)
MINIMUM_FAILURES = 5
FAILURE_RATE = 0.5
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=5)
PROBE_SPAN = timedelta(seconds=40)

State = BreakerState.State


def key_of(view: ConfigView) -> tuple[str, str]:
    """Return (key, host). A host that the tenant chose, and the simulators, break per config: nobody else suffers."""
    host = urlsplit(view.base_url).netloc
    own = view.environment is Environment.SIMULATOR or view.get("base_url") is not None
    return (f"{view.provider}|{host}|{view.id}" if own else f"{view.provider}|{host}"), host


def check(view: ConfigView) -> None:
    """Raise `CircuitOpen` with the seconds to wait while the circuit is open; let one probe through once it is time."""
    key, _host = key_of(view)
    row = BreakerState.objects.filter(key=key).first()
    if row is None or row.state == State.CLOSED:
        return
    now = clock.now()
    due = row.retry_at or now
    if now >= due:
        # Whoever moves `retry_at` on is the probe; the others wait until it has reported or has gone silent.
        won = BreakerState.objects.filter(pk=row.pk, retry_at=row.retry_at).update(
            state=State.HALF_OPEN, retry_at=now + PROBE_SPAN
        )
        if won:
            return
        due = now + timedelta(seconds=1)
    raise CircuitOpen(
        "The provider failed too often and is given a pause.",
        provider=view.provider,
        retry_after=max(1.0, (due - now).total_seconds()),
    )


def withdraw(view: ConfigView) -> None:
    """The call that `check` let through is not made after all: if it was the probe, the next one may be."""
    key, _host = key_of(view)
    BreakerState.objects.filter(key=key, state=State.HALF_OPEN).update(retry_at=clock.now())


def record(view: ConfigView, error: ProviderError | None) -> None:
    """Count how a call ended; open or close the circuit when the window says so."""
    key, host = key_of(view)
    now = clock.now()
    failed = error is not None and error.counts
    if not failed and not BreakerState.objects.filter(key=key).exclude(state=State.CLOSED, failures=0).exists():
        return  # healthy and nothing to forget: no write per call
    with transaction.atomic():
        defaults = {"provider": view.provider, "host": host, "window_started_at": now}
        BreakerState.objects.get_or_create(key=key, defaults=defaults)
        row = BreakerState.objects.select_for_update().get(key=key)
        if not failed and row.state != State.CLOSED:
            _close(row)
        elif failed and row.state == State.HALF_OPEN:
            _open(row)
        elif row.state == State.CLOSED:
            if now - row.window_started_at > WINDOW:
                row.window_started_at, row.successes, row.failures = now, 0, 0
            row.failures += failed
            row.successes += not failed
            if row.failures >= MINIMUM_FAILURES and row.failures / (row.failures + row.successes) >= FAILURE_RATE:
                _open(row)
        row.save()


def _open(row: BreakerState) -> None:
    now = clock.now()
    wait = min(FIRST_WAIT * 2 ** min(row.openings, 10), LONGEST_WAIT)
    row.state, row.opened_at, row.retry_at, row.openings = State.OPEN, now, now + wait, row.openings + 1


def _close(row: BreakerState) -> None:
    row.state, row.opened_at, row.retry_at, row.openings = State.CLOSED, None, None, 0
    row.window_started_at, row.successes, row.failures = clock.now(), 0, 0


def reset(key: str) -> None:
    """Close a circuit by hand."""
    BreakerState.objects.filter(key=key).update(state=State.CLOSED, retry_at=None, openings=0, successes=0, failures=0)
