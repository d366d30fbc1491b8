"""What one process remembers of circuits: that a call may pass, for a second; and successes that are not written down yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from integrations.runtime.breaker.circuit import HALF, MOST_COUNTED, WINDOW

FRESH = timedelta(seconds=1)
"""How long a circuit is taken for closed without looking; an opening elsewhere, or a person's hand, is seen after that."""
MOST_KNOWN = 1000
WORTH_WRITING = 20
"""Successes for which a write is worth its while where nothing fails."""


@dataclass(slots=True)
class _Known:
    since: datetime
    successes: int = 0
    seen: datetime | None = None
    troubled: bool = False
    written: datetime | None = None


class Memory:
    """Bounded: the circuit that was met first is forgotten first. Only that calls pass is remembered, so that an open circuit
    is always looked up and what is stale can at most let a second's calls through."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[str, _Known] = {}

    def passes(self, key: str, now: datetime) -> bool:
        """Tell whether the circuit was seen closed less than a second ago."""
        known = self._known.get(key)
        return known is not None and _is_within(FRESH, known.seen, now)

    def saw_closed(self, key: str, now: datetime, *, troubled: bool) -> None:
        with self._lock:
            known = self._of(key, now)
            known.seen, known.troubled = now, troubled

    def succeeded(self, key: str, now: datetime) -> int:
        """Count a success; return how many are to be written down now: at most once a second, and where nothing fails only
        when there are many."""
        with self._lock:
            known = self._of(key, now)
            _fade(known, now)
            known.successes = min(known.successes + 1, MOST_COUNTED)
            due = known.troubled or known.successes >= WORTH_WRITING
            if not due or _is_within(FRESH, known.written, now):
                return 0
            known.written = now
            return _take(known)

    def take(self, key: str, now: datetime) -> int:
        """Return the successes not written down yet, for whoever writes anyway; the next call looks the circuit up."""
        with self._lock:
            known = self._of(key, now)
            known.seen, known.written = None, now
            _fade(known, now)
            return _take(known)

    def give_back(self, key: str, now: datetime, successes: int) -> None:
        """They could not be written."""
        with self._lock:
            known = self._of(key, now)
            known.successes = min(known.successes + successes, MOST_COUNTED)
            known.written = None

    def forget(self, key: str | None = None) -> None:
        """Forget a circuit, or all of them."""
        with self._lock:
            if key is None:
                self._known.clear()
            else:
                self._known.pop(key, None)

    def __len__(self) -> int:
        return len(self._known)

    def _of(self, key: str, now: datetime) -> _Known:
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            known = self._known[key] = _Known(since=now)
        return known


MEMORY = Memory()


def _take(known: _Known) -> int:
    successes, known.successes = known.successes, 0
    return successes


def _fade(known: _Known, now: datetime) -> None:
    age = now - known.since
    if not timedelta(0) <= age < HALF:
        known.successes = known.successes // 2 if timedelta(0) <= age < WINDOW else 0
        known.since = now


def _is_within(span: timedelta, moment: datetime | None, now: datetime) -> bool:
    return moment is not None and timedelta(0) <= now - moment < span
