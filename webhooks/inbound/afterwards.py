"""What follows upon a stored request and need not be in its transaction: waking the workers, and counts that had to wait.

Within a transaction `NOTIFY` takes a lock on all of the database until the commit is on disk, and one at a time would be
committed. So workers are woken after it, by the request itself where nobody was woken just now, else some milliseconds later
for all that came meanwhile. A process that dies in between leaves nothing behind: whoever waits looks by himself too.
"""

from __future__ import annotations

import atexit
import threading
import time
from datetime import datetime

import structlog
from django.db import DatabaseError, connection

from integrations.runtime.queue import nudge
from webhooks.inbound.models import InboundEndpoint

logger = structlog.get_logger(__name__)

PAUSE = 0.05
"""Seconds for which what came is gathered."""

RETRY = 1.0
"""Seconds after which counts are tried again that the database did not take."""


class _Owed:
    """What this process still has to do. Counts outlive a failure of the database, up to `MOST` ways in."""

    MOST = 10_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._woken = float("-inf")
        self._wake = False
        self._counts: dict[str, tuple[int, datetime]] = {}

    def wake_workers(self) -> None:
        if connection.in_atomic_block:  # a caller's transaction, which they must not be woken before
            nudge()
            return
        now = time.monotonic()
        with self._lock:
            at_once = now - self._woken >= PAUSE
            if at_once:
                self._woken = now
            else:
                self._wake = True
        if not at_once:
            self._begin()
            return
        try:
            nudge()
        except DatabaseError:  # the request is stored: its sender need not send it again
            logger.exception("workers_not_woken")

    def count(self, endpoint_id: str, at: datetime) -> None:
        with self._lock:
            number, last = self._counts.get(endpoint_id, (0, at))
            if number or len(self._counts) < self.MOST:
                self._counts[endpoint_id] = number + 1, max(last, at)
        self._begin()

    def settle(self) -> bool:
        """Do all that is owed now; tell whether that is done."""
        with self._lock:
            counts, self._counts = self._counts, {}
            wake, self._wake = self._wake, False
            if wake:
                self._woken = time.monotonic()
        try:
            if wake:
                nudge()
            for endpoint_id in sorted(counts):
                _add(endpoint_id, *counts[endpoint_id])
                del counts[endpoint_id]
        except Exception:
            logger.exception("inbound_counts_delayed", ways_in=len(counts))
            with self._lock:
                for endpoint_id, (number, last) in counts.items():
                    since, at = self._counts.get(endpoint_id, (0, last))
                    self._counts[endpoint_id] = since + number, max(at, last)
            return False
        return True

    def _begin(self) -> None:
        self._wanted.set()
        # Not before it is needed: a server forks its processes after it has loaded us, and threads are not forked along.
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="inbound-afterwards", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(PAUSE)
            self._wanted.clear()
            done = self.settle()
            connection.close()
            if not done:
                time.sleep(RETRY)
                self._wanted.set()


_ADD = f"""
UPDATE {InboundEndpoint._meta.db_table} SET received = received + %s, last_received_at = greatest(last_received_at, %s)
WHERE id = %s
"""  # noqa: S608 a table name of our own


def _add(endpoint_id: str, number: int, last: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [number, last, endpoint_id])


_owed = _Owed()
atexit.register(_owed.settle)

wake_workers = _owed.wake_workers
"""Wake the workers for a request that is committed."""

count = _owed.count
"""Count a stored request of this way in a moment later."""

settle = _owed.settle
"""Do now what is owed by this process."""
