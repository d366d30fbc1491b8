"""What the worker supervisor does in the database, in a thread of its own.

The watching of processes must go on when the database hangs; so nothing here is called by the watching thread, they
only exchange small values. Every error of the database is survived: the connection is closed, the next round retries.
"""

import datetime
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

logger = logging.getLogger(__name__)

BEAT_EVERY = 2.0
STALE_AFTER = datetime.timedelta(seconds=45)
_FORGET_AFTER = datetime.timedelta(seconds=10)
_GROUPS_REMEMBERED = 50


class DatabaseDuties:
    """Heartbeat of the supervisor, restart of shifts, stale rows, restart of the server noticed."""

    def __init__(self, *, beat_every: float = BEAT_EVERY, stale_after: datetime.timedelta = STALE_AFTER) -> None:
        self.host = socket.gethostname()
        self.name = f"supervisor:{self.host}:{os.getpid()}"
        self.reachable = threading.Event()
        self._beat_every = beat_every
        self._stale_after = stale_after
        self._started_at = timezone.now()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._finish = threading.Event()
        self._group: str | None = None
        self._detail: dict[str, Any] = {}
        self._server_seen: datetime.datetime | None = None
        self._complaint: str | None = None
        self._culprit: int | None = None
        self._spared: dict[str, frozenset[int]] = {}
        self.folder: Path | None = None
        """Where the processes of a group write down what they are in the middle of, if they do."""
        self._to_forget: list[str] = []
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="database-duties", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def group_started(self, group: str) -> None:
        """A new group runs: its rows are watched from now on."""
        with self._lock:
            self._group = group
            self._complaint = None
            self._culprit = None
            self._server_seen = None
            self._detail = {}
        self._wake.set()

    def group_complete(self, detail: dict[str, Any]) -> None:
        """The group is up: `detail` (process ids by role) is shown in the supervisor's row."""
        with self._lock:
            self._detail = detail
        self._wake.set()

    def group_stopping(self) -> None:
        """The group was told to end: no new shifts for it, and silence of the old ones is no reason to complain."""
        with self._lock:
            self._detail = {}

    def group_ended(self, group: str) -> None:
        """The group is dead, so are its rows: they are deleted as soon as the database answers."""
        with self._lock:
            self._group = None
            self._detail = {}
            self._to_forget.append(group)
        self._wake.set()

    def spare(self, group: str, pids: Iterable[int]) -> None:
        """These processes are about to be ended over what is none of their doing: nothing that they run is to be blamed. Said
        before they are. One of which the database tells that it hangs is not among them."""
        with self._lock:
            self._spared[group] = frozenset(pids) - {self._culprit or 0}
            while len(self._spared) > _GROUPS_REMEMBERED:
                del self._spared[next(iter(self._spared))]

    def _is_spared(self, pid: int, group: str) -> bool:
        with self._lock:
            return pid in self._spared.get(group, ())

    def complaint(self) -> str | None:
        """Why the present group should be ended, if the database tells so."""
        with self._lock:
            return self._complaint

    def finish(self, timeout: float = 5.0) -> None:
        """Delete what is ours and end the thread; gives up quietly when the database doesn't answer in time."""
        self._finish.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._finish.is_set():
            self._round(self._beat)
            self._wake.wait(self._beat_every)
            self._wake.clear()
        self._round(self._leave)
        connection.close()

    def _round(self, work: Callable[[], None]) -> None:
        try:
            work()
            if self._trouble is not None:
                logger.warning("the database answers again")
            self._trouble = None
            self.reachable.set()
        except (DatabaseError, InterfaceError) as error:
            trouble = str(error).strip()
            if trouble != self._trouble:
                # Said once, not at every round.
                logger.warning("the database does not answer as it should: %s", trouble)
            self._trouble = trouble
            self.reachable.clear()
            connection.close()
        except Exception:
            # A mistake in a shift's start must not end the heartbeat, nor the watch.
            logger.exception("the supervisor's work in the database failed")
            connection.close()

    def _beat(self) -> None:
        from integrations.models import Heartbeat  # after django.setup()

        now = timezone.now()
        with self._lock:
            group, detail, forget = self._group, dict(self._detail), list(self._to_forget)
        self._look_for_restart(group)
        if forget:
            Heartbeat.objects.filter(group__in=forget).delete()
            with self._lock:
                self._to_forget = [name for name in self._to_forget if name not in forget]
        Heartbeat.objects.update_or_create(
            name=self.name,
            defaults={
                "kind": "supervisor",
                "host": self.host,
                "pid": os.getpid(),
                # Not the group: its rows are deleted with it, this one outlives it.
                "group": "",
                "started_at": self._started_at,
                "beat_at": now,
                "detail": {"group": group, "processes": detail},
            },
        )
        self._delete_rows_of_dead_processes(now)
        self._release_dead()
        if group is not None and detail:
            self._look_for_stale_rows(group, now)
            from integrations.runtime import shifts

            shifts.ensure_running()

    def _release_dead(self) -> None:
        from integrations.runtime import begun
        from integrations.runtime.queue import release_dead

        folder = self.folder
        if folder is None:
            release_dead(self.host, _lives, self._is_spared)
            return
        # Who dies from here on is looked at in the next round, list and all.
        lists = begun.lists_of_the_dead(folder, _lives)
        release_dead(self.host, _lives, self._is_spared, lambda pid, group: begun.begun_by(folder, pid, group))
        begun.remove(lists)

    def _look_for_restart(self, group: str | None) -> None:
        """A restarted server has cut every connection of the group, and a pusher without one sleeps 10 s and exits."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_postmaster_start_time()")
            started = cursor.fetchone()[0]
        with self._lock:
            if group is None or group != self._group:
                return
            if self._server_seen is None:
                self._server_seen = started
            elif self._server_seen != started:
                self._complaint = "the database was restarted"

    def _look_for_stale_rows(self, group: str, now: datetime.datetime) -> None:
        from integrations.models import Heartbeat

        row = Heartbeat.objects.filter(group=group, beat_at__lt=now - self._stale_after).order_by("beat_at").first()
        if row is None:
            return
        with self._lock:
            if group == self._group:
                self._complaint = f"no heartbeat of {row.name} since {row.beat_at:%H:%M:%S}"
                self._culprit = row.pid

    def _delete_rows_of_dead_processes(self, now: datetime.datetime) -> None:
        """Rows of this machine whose process is gone: left by a supervisor that was killed with its group."""
        from integrations.models import Heartbeat

        old = Heartbeat.objects.filter(host=self.host, beat_at__lt=now - _FORGET_AFTER).exclude(name=self.name)
        for row in old:
            if not _lives(row.pid):
                Heartbeat.objects.filter(pk=row.pk, beat_at=row.beat_at).delete()

    def _leave(self) -> None:
        from integrations.models import Heartbeat

        with self._lock:
            groups = [*self._to_forget, *([self._group] if self._group else [])]
        Heartbeat.objects.filter(group__in=groups).delete()
        Heartbeat.objects.filter(name=self.name).delete()


def _lives(pid: int) -> bool:
    """Tell whether that process of this machine still does something. A zombie, which nobody may ever collect, doesn't."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
