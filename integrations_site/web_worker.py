"""The web processes' worker class: gunicorn's threads, with connections spread evenly over the processes.

All processes wait for connections on one socket, and whichever wakes first takes them. A sender (or a proxy) that opens a
handful at once and keeps them open so leaves most with one process, whose threads then share one processor while the others
idle. Here a process waits the longer before it takes one the more it has: one that has fewer takes it meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

WAIT = 20e-6
"""Seconds for each connection that is open here; some ten connections make more than what waking up differs by."""
LONGEST = 0.5e-3
"""A process with many connections still takes two thousand new ones a second."""


class EvenThreadWorker(ThreadWorker):  # type: ignore[misc] gunicorn has no types
    """`--worker-class integrations_site.web_worker.EvenThreadWorker`."""

    def accept(self, listener: Any) -> None:
        """Take a connection, if nobody with fewer has taken it meanwhile."""
        if self.nr_conns:
            time.sleep(min(self.nr_conns * WAIT, LONGEST))
        super().accept(listener)
