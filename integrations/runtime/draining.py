"""The queue's shift: one thread claims, some run what it claimed, and one keeps the leases of what takes long.

A thread keeps its connection for the whole shift. Where runs are short, a few items are claimed ahead, so that no thread waits
for a claim; what was claimed and can't begin soon is given back, as is all of it when the shift ends.

An item over which a worker has died is a suspect. It runs alone in its process, before the shift's other work begins or
while there is none, and no other suspect runs meanwhile: should it kill another worker, nothing else is blamed.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Condition, Event, Lock, Thread

import psycopg
import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections

from integrations.contracts import clock
from integrations.models import QueueItem
from integrations.runtime import jobs, shifts
from integrations.runtime.begun import Begun
from integrations.runtime.claims import URGENT, Places, Turns, claim, is_something_due, next_due, release, renew
from integrations.runtime.notices import Listener
from integrations.runtime.queue import CHANNEL, nudge
from integrations.runtime.worker import patiently, recover_lapsed, run

logger = structlog.get_logger(__name__)

POLL = 0.5
"""Seconds between two looks where nothing is heard."""
RECOVER_EVERY = 2.0
RENEW_EVERY = 10.0
STALE = 1.0
"""Seconds after which an item that was claimed ahead and could not begin is given back."""
SHORT = 0.05
"""Mean seconds of a run up to which items are claimed ahead."""
AHEAD_PAUSE = 5.0
"""Seconds without claiming ahead after that."""
PAUSE = 0.02
"""Seconds from one claim to the next that a notice asks for, while there is enough to do."""
SHORT_PAUSE = 0.005
"""The same while there is not."""
CONTENDED = 0.05
SUSPECTS_SPAN = 10.0
"""Seconds that a shift gives to suspects before it turns to the rest."""
SUSPECTS_LOCK = 0x6875625F73757370
"""The number of the advisory lock of whoever runs suspects."""


@dataclass(frozen=True, slots=True)
class _Run:
    item: QueueItem
    since: float


class Drain:
    """One shift of the queue; several may run side by side, in one process or on many machines."""

    def __init__(self, *, threads: int, ahead: int) -> None:
        self._threads = max(1, threads)
        self._ahead = ahead
        self._reserve = self._threads // 8
        lock = Lock()
        self._work = Condition(lock)  # for the threads: something may begin
        self._changed = Condition(lock)  # for the claimer: there is room, or something was heard
        self._ready: list[_Run] = []
        self._running: dict[int, _Run] = {}
        self._begun = Begun(self._threads + 1)
        self._closing = False
        self._heard = True
        self._ended = 0
        self._claimed_at = 0.0
        self._seconds = 0.0
        self._ahead_from = 0.0
        self._turns = Turns()
        self._recovered_at = 0.0
        self._kept = Event()

    def run(self, stop: Callable[[], bool], until: float) -> None:
        """Work until `stop()` is true or `time.monotonic()` passes `until`; return with nothing left running."""
        self._begun.open()
        keeper = Thread(target=self._keep, daemon=True, name="queue-keeper")
        keeper.start()
        listener = Listener(CHANNEL, self._hear)
        listener.start()
        threads = [Thread(target=self._thread, daemon=True, name=f"queue-{number}") for number in range(self._threads)]
        try:
            self._guarded(lambda: self._run_suspects(stop, until))
            for thread in threads:
                thread.start()
            while not stop() and time.monotonic() < until:
                self._guarded(lambda: self._turn(stop, until))
        finally:
            self._close(threads)
            listener.end()
            self._kept.set()
            keeper.join(5)
            self._begun.close()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (DatabaseError, psycopg.Error) as error:
            logger.warning("database_away", error=type(error).__name__)
            connection.close()
            time.sleep(0.5)

    def _close(self, threads: list[Thread]) -> None:
        with self._work:
            self._closing = True
            unbegun, self._ready = [each.item for each in self._ready], []
            self._work.notify_all()
        self._give_back(unbegun)
        shifts.hand_over()
        for thread in threads:
            if thread.ident is not None:
                thread.join()

    # --- claiming -----------------------------------------------------------------------------------------------------

    def _turn(self, stop: Callable[[], bool], until: float) -> None:
        if time.monotonic() - self._recovered_at > RECOVER_EVERY:
            # Noted before: should recovering fail, there is claiming all the same until it is time to try again.
            self._recovered_at = time.monotonic()
            recover_lapsed()
            if self._is_idle():
                self._run_suspects(stop, until)
        self._drop_stale()
        with self._changed:
            low, free = self._is_low(), self._free()
            try_now = free > 0 and (low or self._heard)
        if not try_now:
            self._wait(lambda: self._free() > 0 and (self._heard or self._is_low()), POLL)
            return
        if self._heard:
            # Each notice asks for a look, since it may be of something urgent; but not each one for a look of its own.
            time.sleep(max(0.0, self._claimed_at + (SHORT_PAUSE if low else PAUSE) - time.monotonic()))
        self._claim()

    def _claim(self) -> None:
        with self._changed:
            self._heard = False
            ended, free = self._ended, self._free()
            held = [each.item for each in (*self._running.values(), *self._ready)]
        places = Places.beside(held, free=free, reserve=self._reserve)
        taken = claim(free, places=places, turns=self._turns, suspects=False)
        self._claimed_at = time.monotonic()
        with self._work:
            self._ready += [_Run(item, self._claimed_at) for item in taken]
            self._ready.sort(key=lambda each: each.item.priority > URGENT)
            self._work.notify(len(taken))
            idle = not self._running and not self._ready
        if len(taken) == free or (self._turns.home is not None and is_something_due()):
            return  # and look on at once: there may be more of it in the part of the ring that was not seen yet
        if self._turns.more:
            # Its tenant has as many places as it gets, or others were claiming it in this moment.
            self._wait(lambda: self._heard or (self._ended > ended and self._is_low()), CONTENDED if idle else POLL)
            return
        due = next_due()
        seconds = POLL if due is None else min(POLL, max(0.0, (due - clock.now()).total_seconds()))
        self._wait(lambda: self._heard, seconds)

    def _wait(self, woken: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(woken, timeout=seconds)

    def _free(self) -> int:
        """Return how many items may be claimed beside those that are held."""
        ahead = self._ahead if self._seconds < SHORT and time.monotonic() > self._ahead_from else 0
        return max(0, self._threads + ahead - len(self._running) - len(self._ready))

    def _is_low(self) -> bool:
        """Tell whether so little is ready that it is time for the next batch."""
        return len(self._ready) <= self._threads // 4

    def _is_idle(self) -> bool:
        with self._work:
            return not self._running and not self._ready

    def _drop_stale(self) -> None:
        """Give back what was claimed ahead and stands behind runs that turned out long: somebody else may be free."""
        with self._work:
            stale = [each for each in self._ready if time.monotonic() - each.since > STALE]
            if not stale:
                return
            self._ready = [each for each in self._ready if each not in stale]
            self._ahead_from = time.monotonic() + AHEAD_PAUSE
        self._give_back([each.item for each in stale])

    def _give_back(self, items: list[QueueItem]) -> None:
        if not items:
            return
        try:
            patiently(lambda: release(items))
            nudge()
        except (DatabaseError, psycopg.Error):
            logger.warning("not_given_back", count=len(items))  # their leases lapse
            connection.close()

    def _run_suspects(self, stop: Callable[[], bool], until: float) -> None:
        """Run, one by one and with nothing beside them, the items over which a worker has died: here, and no other ones at the
        same time elsewhere, for one that takes the database with it would be taken for many."""
        with _alone_in_the_database() as alone:
            if alone:
                self._run_each_suspect(stop, until)

    def _run_each_suspect(self, stop: Callable[[], bool], until: float) -> None:
        give_up = min(until, time.monotonic() + SUSPECTS_SPAN)
        turns = Turns()
        while not stop() and time.monotonic() < give_up:
            before = turns.after
            suspects = claim(1, suspects=True, turns=turns)
            if not suspects:
                if turns.cut and turns.after > before:
                    continue
                return
            alone = _Run(suspects[0], time.monotonic())
            with self._work:
                self._running[alone.item.pk] = alone
                self._begun.note(self._running)
            self._carry_out(alone)

    def _hear(self) -> None:
        with self._changed:
            self._heard = True
            self._changed.notify()

    # --- running ------------------------------------------------------------------------------------------------------

    def _thread(self) -> None:
        try:
            while (begun := self._begin()) is not None:
                self._carry_out(begun)
        finally:
            connections.close_all()

    def _begin(self) -> _Run | None:
        """Wait for an item that may begin; None when the shift ends."""
        with self._work:
            while True:
                running = [each.item for each in self._running.values()]
                places = Places.beside(running, free=self._threads - len(running), reserve=self._reserve)
                for number, each in enumerate(self._ready):
                    if not places.none_for(each.item.tenant_id, urgent=each.item.priority <= URGENT):
                        del self._ready[number]
                        begun = _Run(each.item, time.monotonic())
                        self._running[each.item.pk] = begun
                        self._begun.note(self._running)
                        return begun
                if self._closing:
                    return None
                self._work.wait()

    def _carry_out(self, begun: _Run) -> None:
        try:
            _leave_dead_connection()
            run(begun.item)
        except Exception:
            logger.exception("run_broke", item=begun.item.pk)  # the lease lapses, and the item is recovered
            with suppress(Exception):
                connection.close()
        finally:
            with self._work:
                self._running.pop(begun.item.pk, None)
                self._begun.note(self._running)
                self._seconds += (time.monotonic() - begun.since - self._seconds) / 8
                self._ended += 1
                self._changed.notify()
                if self._ready:
                    self._work.notify()

    # --- keeping ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Prolong the leases of long runs while their threads live, up to what their kind may take at most."""
        while not self._kept.wait(RENEW_EVERY):
            with self._work:
                long = [each for each in self._running.values() if _may_go_on(each)]
            if not long:
                continue
            try:
                renew(each.item for each in long)
            except DatabaseError as error:
                logger.warning("leases_not_renewed", error=type(error).__name__, count=len(long))
            finally:
                connection.close()  # seldom used: it is not kept


@contextmanager
def _alone_in_the_database() -> Iterator[bool]:
    """Give True while nobody else runs suspects. The lock is this connection's: it goes with it, and with the process. A pooler
    gives each statement another connection: there nobody is kept away."""
    if connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"]:
        yield True
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [SUSPECTS_LOCK])
        mine = bool(cursor.fetchone()[0])
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [SUSPECTS_LOCK])


def _may_go_on(held: _Run) -> bool:
    seconds = time.monotonic() - held.since
    job = jobs.get(held.item.kind)
    return isinstance(job, jobs.ProviderJob) and RENEW_EVERY / 2 < seconds < job.longest_seconds


def _leave_dead_connection() -> None:
    """Close this thread's connection where the server has done so: an idle one has nothing to read but its own end."""
    raw = connection.connection
    if raw is None:
        return
    if raw.closed:
        connection.close()
        return
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    if poll.poll(0):
        connection.close()


def drain(stop: Callable[[], bool], until: float) -> None:
    """The body of the queue's shift: claim what is due, run it on a few threads, recover what others dropped."""
    Drain(threads=settings.HUB_QUEUE_THREADS, ahead=settings.HUB_QUEUE_AHEAD).run(stop, until)
