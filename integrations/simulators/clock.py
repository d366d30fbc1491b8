"""Time as the simulators see it, so that tests can move it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """`now()` is epoch seconds; `on_move` registers a function to call when time was moved by hand."""

    def now(self) -> float: ...

    def on_move(self, wake: Callable[[], None]) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def on_move(self, wake: Callable[[], None]) -> None:
        """Nothing to do: this clock is never moved by hand."""


class ManualClock:
    """A clock that stands still until `advance` is called."""

    def __init__(self, start: float = 1_783_660_526.0) -> None:
        self._now = start
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward and wake whoever waits for it."""
        with self._lock:
            self._now += seconds
        for wake in self._listeners:
            wake()

    def on_move(self, wake: Callable[[], None]) -> None:
        self._listeners.append(wake)


def iso(at: float) -> str:
    """Return epoch seconds as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
