"""One clock for the hub and its gateways, so that an hour passes for both at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime


class SharedClock:
    """The machine's time plus what the test added. `now` is for the simulators (epoch seconds), calling it for the hub."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        with self._lock:
            return time.time() + self._ahead

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def on_move(self, wake: Callable[[], None]) -> None:
        self._listeners.append(wake)

    def advance_to(self, moment: datetime) -> None:
        """Jump to `moment` if it lies ahead."""
        with self._lock:
            self._ahead = max(self._ahead, moment.timestamp() - time.time())
        for wake in self._listeners:
            wake()
