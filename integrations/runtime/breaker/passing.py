"""One call's way through its circuit: asked before the call, told afterwards how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.db import Error as DatabaseError
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    CircuitOpen,
    Expired,
    InvalidRequest,
    NotConfigured,
    ProviderError,
    Throttled,
    UnsupportedOperation,
)
from integrations.models import BreakerState
from integrations.runtime.breaker import circuit, rows, telling
from integrations.runtime.breaker.circuit import HELD_CLOSED, HELD_OPEN, PROBE_SPAN, State
from integrations.runtime.breaker.memory import MEMORY

SAYS_NOTHING = (InvalidRequest, UnsupportedOperation, NotConfigured, Expired, Throttled, CircuitOpen)
"""Errors that may come without any answer of the provider: neither for nor against it."""
LONGEST_HOST = 70  # so that an alert's subject holds the whole key
LONGEST_ERROR = 500


def key_of(view: ConfigView) -> tuple[str, str]:
    """Return (key, host). A host that the tenant chose, and the simulators, break per config: nobody else suffers."""
    own = str(view.get("base_url") or "")
    address = own or view.base_url
    host = urlsplit(address if "//" in address else f"//{address}").netloc.rpartition("@")[2]
    key = f"{view.provider}|{host[:LONGEST_HOST]}"
    return (f"{key}|{view.id}" if own or view.environment is Environment.SIMULATOR else key), host


@dataclass(frozen=True, slots=True)
class Passage:
    """A call that may be made. `tenant_id`: whose own host it is, None for a provider's own. `probe`: until when this call is
    the one that finds out whether the provider is back."""

    key: str
    provider: str
    host: str
    tenant_id: int | None
    probe: datetime | None = None

    def withdraw(self) -> None:
        """The call is not made after all, or says nothing: if it was the probe, the next one may be."""
        if self.probe is not None:
            mine = BreakerState.objects.filter(key=self.key, state=State.HALF_OPEN, retry_at=self.probe)
            mine.update(retry_at=rows.moment())

    def record(self, error: ProviderError | None) -> None:
        """Count how the call ended; open or close the circuit where that is reason to.

        A failure is counted in the database at once and exactly. Successes are gathered and written at most once a second,
        without failures only by the dozen, so that a call that goes well writes nothing by itself. Of calls that began before
        the circuit opened nothing is counted while it is open.
        """
        now = clock.now()
        if error is not None and error.counts:
            self._write(MEMORY.take(self.key, now), error)
        elif isinstance(error, SAYS_NOTHING):
            self.withdraw()
        elif self.probe is not None:
            self._write(MEMORY.take(self.key, now) + 1, None)
        elif successes := MEMORY.succeeded(self.key, now):
            self._write(successes, None)

    def _write(self, successes: int, error: ProviderError | None) -> None:
        try:
            with transaction.atomic():
                self._count(successes, error)
        except DatabaseError:
            MEMORY.give_back(self.key, clock.now(), successes - (error is None))
            raise

    def _count(self, successes: int, error: ProviderError | None) -> None:
        row, now = rows.lock_or_make(self.key, provider=self.provider, host=self.host)
        by_hand = circuit.held(row, now)
        if row.forced and not by_hand:
            row.forced, row.forced_by, row.forced_until = "", "", None
        before = row.state
        if before != State.CLOSED and by_hand != HELD_CLOSED and self.probe is None:
            return
        if error is not None:
            row.last_error = f"{type(error).__name__}: {error.message}".replace("\x00", "")[:LONGEST_ERROR]
        opens = False
        if before == State.CLOSED:
            circuit.count(row, now, successes=successes, failures=error is not None)
            opens = error is not None and circuit.is_failing(row)
        elif error is None:
            circuit.close(row, now)
        else:
            opens = before == State.HALF_OPEN
        if opens and by_hand != HELD_CLOSED:
            circuit.open_up(row, now)
            telling.opened(row, tenant_id=self.tenant_id, now=now)
        elif before != State.CLOSED == row.state:
            telling.closed(row, now=now)
        row.save()


def check(view: ConfigView) -> Passage:
    """Return the call's passage. Raises `CircuitOpen` with the seconds to wait while the circuit is open; once it is time, one
    call at a time passes as the probe.

    A circuit that was closed is looked up once a second in each process: that one has opened elsewhere is seen a second later
    at most.
    """
    key, host = key_of(view)
    passage = Passage(key, view.provider, host, view.tenant_id if key.endswith(f"|{view.id}") and view.id else None)
    here = clock.now()
    if MEMORY.passes(key, here):
        return passage
    found = rows.find(key)
    if found is None:
        rows.make(key, provider=view.provider, host=host)  # so that people can see it, and hold it before it ever failed
        MEMORY.saw_closed(key, here, troubled=False)
        return passage
    row, now = found
    by_hand = circuit.held(row, now)
    if by_hand == HELD_OPEN:
        raise _refusal(view, row, now, "Calls to the provider are held back by hand.")
    if by_hand == HELD_CLOSED or row.state == State.CLOSED:
        MEMORY.saw_closed(key, here, troubled=circuit.is_troubled(row, now))
        return passage
    if row.retry_at is None or now >= row.retry_at:
        # Whoever moves `retry_at` on is the probe; the others wait until it has reported or has gone silent.
        lease = now + PROBE_SPAN
        mine = BreakerState.objects.filter(pk=row.pk, state=row.state, retry_at=row.retry_at)
        if mine.update(state=State.HALF_OPEN, retry_at=lease):
            return Passage(key, view.provider, host, passage.tenant_id, probe=lease)
        row.state, row.retry_at = State.HALF_OPEN, lease
    raise _refusal(view, row, now, "The provider failed too often and is given a pause.")


def _refusal(view: ConfigView, row: BreakerState, now: datetime, words: str) -> CircuitOpen:
    return CircuitOpen(words, provider=view.provider, retry_after=circuit.pause_of(row, now))
