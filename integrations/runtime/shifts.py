"""Long work in bounded shifts: each is a django-q2 task that works for a fixed span and hands over to the next.

A shift beats in the database; where none of a kind beats, `ensure_running` starts one. Starting too many is harmless: a
shift that finds enough others alive ends at once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django_q.models import OrmQ
from django_q.tasks import async_task

from integrations.contracts import clock
from integrations.models import Heartbeat

logger = structlog.get_logger(__name__)

ShiftBody = Callable[[Callable[[], bool], float], None]
"""Works until `stop()` is true or `time.monotonic()` passes the deadline handed in."""

TASK = "integrations.runtime.shifts.work"
BEAT_SECONDS = 1.0
ALIVE = timedelta(seconds=8)

_bodies: dict[str, ShiftBody] = {}


def register_shift(kind: str, body: ShiftBody) -> None:
    """Make `body` one of the kinds of long work that the workers keep going."""
    _bodies[kind] = body


def wanted(kind: str) -> int:
    """Return how many shifts of this kind are to be alive at once."""
    return int(getattr(settings, "HUB_SHIFTS", {}).get(kind, 1))


def stop_requested() -> bool:
    """Tell whether the supervisor has asked this process group to stop."""
    flag = os.environ.get("HUB_STOP_FLAG", "")
    return bool(flag) and Path(flag).exists()


def alive(kind: str) -> int:
    """Return how many shifts of this kind have beaten lately."""
    return Heartbeat.objects.filter(kind=f"shift:{kind}", beat_at__gt=clock.now() - ALIVE).count()


def ensure_running() -> list[str]:
    """Start what is missing; return the kinds started. Called by the supervisor and by a schedule."""
    started = []
    # A task that a worker has taken is locked into the future; those of killed workers stay so for a while and don't count.
    waiting = [row.task for row in OrmQ.objects.filter(lock__lte=clock.now() + timedelta(seconds=1))]
    # One that can't be read (signed with an older SECRET_KEY) has neither.
    queued = [task["args"][0] for task in waiting if task.get("func") == TASK and task.get("args")]
    for kind in sorted(_bodies):
        if alive(kind) + queued.count(kind) < wanted(kind):
            async_task(TASK, kind)
            started.append(kind)
    return started


def work(kind: str) -> str:
    """The django-q2 task: one shift of `kind`. Returns why it ended."""
    if kind not in _bodies:
        return "unknown kind"
    if stop_requested():
        return "stopping"
    if alive(kind) >= wanted(kind):
        return "enough others"
    beat = _Beat(kind)
    token = _current.set(beat)
    until = time.monotonic() + settings.HUB_SHIFT_SECONDS
    try:
        _bodies[kind](stop_requested, until)
    finally:
        _current.reset(token)
        beat.end()
    return "stopped" if stop_requested() else "handed over"


def hand_over() -> None:
    """Let the next shift start now: called by a shift that takes no new work but has some to finish."""
    beat = _current.get()
    if beat is not None:
        beat.end()


class _Beat:
    """The heartbeat of a shift, from a thread of its own: a long call must not look like a death."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._name = f"shift:{kind}:{socket.gethostname()[:60]}:{os.getpid()}:{time.monotonic_ns()}"
        self._end = Event()
        self._started = clock.now()
        self._write()
        self._thread = Thread(target=self._run, daemon=True, name=self._name)
        self._thread.start()

    def _write(self) -> None:
        Heartbeat.objects.update_or_create(
            name=self._name,
            defaults={
                "kind": f"shift:{self._kind}",
                "host": socket.gethostname()[:100],
                "pid": os.getpid(),
                "group": os.environ.get("HUB_GROUP", ""),
                "started_at": self._started,
                "beat_at": clock.now(),
            },
        )

    def _run(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            try:
                self._write()
            except DatabaseError:
                connection.close()  # the database is away: silence is the truth until it is back
        connection.close()

    def end(self) -> None:
        """Stop beating and, unless all of us are stopping, let the next shift start at once."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join(timeout=5)
        try:
            Heartbeat.objects.filter(name=self._name).delete()
            if not stop_requested():
                async_task(TASK, self._kind)
        except DatabaseError:
            logger.warning("hand_over_failed", kind=self._kind)
            connection.close()


def drain(stop: Callable[[], bool], until: float) -> None:
    """The body of the queue's shift; see `draining`."""
    from integrations.runtime import draining  # it hands over by what stands above

    draining.drain(stop, until)


_current: ContextVar[_Beat | None] = ContextVar("current_shift", default=None)
register_shift("queue", drain)
