"""The delivery engine: one asyncio loop that keeps many POSTs in flight, with claiming and settling in batches beside it.

At least once: a worker that dies leaves a lease that lapses, and the same event goes out again under the same `webhook-id`.
The loop itself never touches the ORM; four threads do: one finds and claims work, one settles it, one renews the leases, one
makes deliveries of events that have none and ends those that died with their worker; so that a slow claim or a database that
hangs on one connection does not cost what is in flight.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import psycopg
import structlog
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection, connections
from psycopg.conninfo import make_conninfo

from integrations.runtime import shifts
from webhooks.outbound.delivery import batches, burying, claims, renewing, settling
from webhooks.outbound.delivery.sender import Claimed, Outcome, Sender, Timeouts
from webhooks.outbound.publishing import sweeping
from webhooks.outbound.publishing.publish import CHANNEL

logger = structlog.get_logger(__name__)
T = TypeVar("T")


COLLECT_EVERY = (20_000, 20, 50)
"""Thresholds of the garbage collector during a shift."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one engine does at once; times in seconds.

    `retries` is the share of `in_flight` that deliveries may hold which were tried before: the rest is kept for first tries.
    `tenant` is how many places one tenant may hold for each that is free: one whose endpoints hang leaves room for the others,
    and one that is alone gets three quarters of them (dynamic thresholds, as network switches share a buffer between ports).
    `gather` is how long outcomes wait for company before they are settled, `spacing` how far apart claims begin that find room
    to spare, and searches for events without deliveries: what is published in quick succession is claimed together, and one
    that comes after a pause at once. `again` is when to look once more where there was work within the last `poll`. `renew` is
    how often leases are prolonged.
    `stop_grace` is what deliveries in flight get after a stop request; at the end of a shift they get their whole timeout.
    `settle_patience` is how long outcomes outlive a database that is away; those whose endpoint somebody holds are tried each
    `settle_again` for as long as their lease lasts: most often another engine holds it for the moment of its claim, and what
    waits takes places meanwhile.
    """

    in_flight: int = 400
    retries: float = 0.75
    tenant: float = 3.0
    batch: int = 128
    gather: float = 0.005
    spacing: float = 0.01
    renew: float = 10.0
    poll: float = 1.0
    again: float = 0.05
    stop_check: float = 0.2
    stop_grace: float = 2.0
    settle_patience: float = 15.0
    settle_again: float = 0.05
    timeouts: Timeouts = field(default_factory=Timeouts)


def run_shift(stop: Callable[[], bool], until: float) -> None:
    """Deliver what is due until `stop()` is true or `time.monotonic()` passes `until`. Returns with nothing left in flight.

    `stop` is called from a thread of the engine's own, several times a second.
    """
    with _little_collecting():
        asyncio.run(Engine().run(stop, until))


@contextmanager
def _little_collecting() -> Iterator[None]:
    """Keep the garbage collector from walking over all that Django has loaded, several times a second, for the sake of the few
    cycles that requests make: a quarter of the time went there."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class Engine:
    """One shift of delivery. Several may run side by side, in one process or on many machines."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._held_up: list[Outcome] = []
        self._dead: set[str] = set()
        self._held: dict[tuple[str, int], Claimed] = {}
        self._wake = asyncio.Event()
        self._published = asyncio.Event()
        self._arrived = asyncio.Event()
        self._last_found = float("-inf")
        self._stopping = False
        self._all_ended = False
        self._claimer = ThreadPoolExecutor(1, thread_name_prefix="delivery-claim")
        self._settler = ThreadPoolExecutor(1, thread_name_prefix="delivery-settle")
        self._renewer = ThreadPoolExecutor(1, thread_name_prefix="delivery-renew")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="delivery-sweep")

    async def run(self, stop: Callable[[], bool], until: float) -> None:
        """See `run_shift`."""
        helpers = [
            asyncio.create_task(each) for each in (self._listen(), self._watch(stop, until), self._renew(), self._sweep())
        ]
        flusher = asyncio.create_task(self._flush())
        try:
            async with Sender(connections=self._limits.in_flight, timeouts=self._limits.timeouts) as sender:
                while not self._stopping:
                    await self._take(sender)
                await self._in(self._claimer, shifts.hand_over)
                await self._finish(stop)
                self._all_ended = True
                self._arrived.set()
                await flusher
        finally:
            for task in (*helpers, flusher, *self._tasks):
                task.cancel()
            await asyncio.gather(*helpers, flusher, *self._tasks, return_exceptions=True)
            for executor in (self._claimer, self._settler, self._renewer, self._sweeper):
                with suppress(DatabaseError):
                    executor.submit(connections.close_all).result()
                executor.shutdown()

    async def _in(self, executor: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(function))

    async def _take(self, sender: Sender) -> None:
        """Claim what there is room for and send it; then wait for a notice, a settled batch, or the poll's turn."""
        self._wake.clear()
        began = time.monotonic()
        free = min(self._limits.in_flight - len(self._held), self._limits.batch)
        claimed = await self._claim(free) if free > 0 else []
        if claimed:
            self._last_found = began
        for one in claimed:
            self._held[one.lease] = one
            task = asyncio.create_task(self._deliver(sender, one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if free <= 0 or len(claimed) < free:
            # The timeout is the backstop: a retry that comes due sends no notice.
            with suppress(TimeoutError):
                # Another engine may hold, for the moment of its claim, all that is due: there is more where there was some.
                busy = began - self._last_found < self._limits.poll
                await asyncio.wait_for(self._wake.wait(), self._limits.again if busy else self._limits.poll)
            await self._apart(began)

    async def _apart(self, began: float) -> None:
        """Wait until the next search may begin after the one of `began`."""
        await asyncio.sleep(max(0.0, began + self._limits.spacing - time.monotonic()))

    async def _claim(self, free: int) -> list[Claimed]:
        most = max(1, int(self._limits.in_flight * self._limits.retries))
        retries = most - sum(one.number > 1 for one in self._held.values())
        held = Counter(one.tenant_id for one in self._held.values())
        places = claims.Places(self._limits.in_flight - len(self._held), self._limits.tenant, held)
        dead: list[str] = []
        try:
            return await self._in(self._claimer, lambda: _mended(lambda: _find_work(free, retries, places, dead.extend)))
        except DatabaseError as error:
            logger.warning("delivery_claim_failed", error=type(error).__name__)
        except Exception:
            logger.exception("delivery_claim_broke")  # one thing that can't be claimed must not end the shift for all others
        finally:
            if dead:
                self._dead.update(dead)
                self._published.set()
        return []

    async def _deliver(self, sender: Sender, claimed: Claimed) -> None:
        try:
            outcome = await sender.send(claimed)
        except Exception:
            # A bug must not end the shift: the lease lapses, and the lost attempt is on record.
            logger.exception("delivery_broke", delivery=claimed.id)
            self._held.pop(claimed.lease, None)
            return
        self._outcomes.append(outcome)
        self._arrived.set()

    async def _flush(self) -> None:
        """Settle outcomes in batches, until all deliveries have ended and theirs are settled."""
        give_up, again_at = math.inf, 0.0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), self._limits.settle_again if self._held_up else None)
            self._arrived.clear()
            ended = self._all_ended
            if not ended and len(self._outcomes) < self._limits.batch:
                await asyncio.sleep(self._limits.gather)
            while self._outcomes:
                batch = self._outcomes[: self._limits.batch]
                left = await self._settle(batch)
                if left and not self._held_up:
                    again_at = time.monotonic() + self._limits.settle_again
                del self._outcomes[: len(batch)]
                self._settled(batch, left)
            if self._held_up and time.monotonic() >= again_at:
                await self._settle_held_up()
                again_at = time.monotonic() + self._limits.settle_again
            if ended:
                give_up = min(give_up, time.monotonic() + self._limits.settle_patience)
                if not self._held_up or time.monotonic() > give_up:
                    return

    async def _settle_held_up(self) -> None:
        """Try once more what somebody's lock was in the way of. After all else: it may be in the way still."""
        waiting, self._held_up = self._held_up, []
        for first in range(0, len(waiting), self._limits.batch):
            batch = waiting[first : first + self._limits.batch]
            self._settled(batch, await self._settle(batch))

    def _settled(self, batch: list[Outcome], left: list[Outcome]) -> None:
        """Take note that all of a batch is settled but what is left."""
        self._held_up += left
        waiting = {outcome.claimed.lease for outcome in left}
        for outcome in batch:
            if outcome.claimed.lease not in waiting:
                self._held.pop(outcome.claimed.lease, None)
        if len(left) < len(batch):
            self._wake.set()

    async def _settle(self, batch: list[Outcome]) -> list[Outcome]:
        """Settle, patiently while the database is away, and return what has to wait for somebody's lock. What can't be stored
        is dropped: its lease lapses, and it is sent again."""
        give_up = math.inf
        while True:
            try:
                return await self._in(self._settler, lambda: _mended(lambda: settling.settle(batch)))
            except (OperationalError, InterfaceError) as error:
                logger.warning("delivery_settle_failed", error=type(error).__name__, count=len(batch))
                if time.monotonic() > give_up:
                    return []
                # From the first failure on, however long that took: there is always a second try.
                give_up = min(give_up, time.monotonic() + self._limits.settle_patience)
                await asyncio.sleep(0.5)
            except Exception:
                logger.exception("delivery_settle_broke", count=len(batch))
                # One outcome that can't be stored must not take the others with it.
                return [left for one in batch for left in await self._settle([one])] if len(batch) > 1 else []

    async def _renew(self) -> None:
        """Keep the leases of what is in flight or waits to be settled, as long as this process lives."""
        while True:
            await asyncio.sleep(self._limits.renew)
            held = list(self._held)
            try:
                gone = await self._in(self._renewer, lambda held=held: _mended(lambda: renewing.renew(held)))
            except DatabaseError as error:
                logger.warning("delivery_renewal_failed", error=type(error).__name__, count=len(held))
                continue
            except Exception:
                logger.exception("delivery_renewal_broke", count=len(held))  # without this task every lease would lapse
                continue
            # Settled in this very moment, or lapsed and taken by another: the fence keeps what comes of it from being stored.
            if lost := [lease for lease in gone if lease in self._held]:
                logger.warning("delivery_leases_lost", deliveries=[delivery_id for delivery_id, _fence in lost])
                for outcome in [each for each in self._held_up if each.claimed.lease in lost]:
                    self._held_up.remove(outcome)
                    self._held.pop(outcome.claimed.lease, None)

    async def _sweep(self) -> None:
        """Make deliveries of events that have none, and end those that died with their worker. On a thread of its own: neither
        what a tenant's filters take nor a lock that somebody holds keeps claims waiting."""
        while not self._stopping:
            self._published.clear()
            began = time.monotonic()
            dead, self._dead = sorted(self._dead), set()
            try:
                if await self._in(self._sweeper, partial(_mended, partial(self._spread, dead))):
                    self._wake.set()
            except DatabaseError as error:
                logger.warning("delivery_sweep_failed", error=type(error).__name__)
            except Exception:
                logger.exception("delivery_sweep_broke")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._published.wait(), self._limits.poll)
            await self._apart(began)

    def _spread(self, dead: list[str]) -> int:
        buried = burying.bury(dead, lease=claims.LEASE) if dead else 0
        return buried + sweeping.sweep(within=sweeping.FRESH, stop=lambda: self._stopping)

    async def _finish(self, stop: Callable[[], bool]) -> None:
        """Let what is in flight end. After a stop request it is cut off soon, and its leases are given back."""
        deadline = time.monotonic() + self._limits.timeouts.total + 1
        asked = False
        while self._tasks and time.monotonic() < deadline:
            if not asked and await self._in(self._claimer, stop):
                asked, deadline = True, min(deadline, time.monotonic() + self._limits.stop_grace)
            await self._wait_for_tasks(self._limits.stop_check)
        for task in self._tasks:
            task.cancel()
        await self._wait_for_tasks(5.0)

    async def _wait_for_tasks(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def _watch(self, stop: Callable[[], bool], until: float) -> None:
        watcher = ThreadPoolExecutor(1, thread_name_prefix="delivery-watch")
        try:
            while time.monotonic() < until and not await self._in(watcher, stop):
                await asyncio.sleep(max(0.0, min(self._limits.stop_check, until - time.monotonic())))
        except Exception:
            logger.exception("delivery_watch_broke")  # better a short shift than one that nobody can stop
        finally:
            self._stopping = True
            self._wake.set()
            watcher.submit(connections.close_all)
            watcher.shutdown(wait=False)

    async def _listen(self) -> None:
        """Wake the loop on each notice. Without this connection the poll still finds everything, later."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(_conninfo(), autocommit=True) as raw:
                    await raw.execute(f"LISTEN {CHANNEL}")
                    self._wake.set()
                    self._published.set()
                    async for _notice in raw.notifies():
                        self._wake.set()
                        self._published.set()
            except (psycopg.Error, OSError) as error:
                logger.warning("delivery_listen_failed", error=type(error).__name__)
            await asyncio.sleep(2.0)


def _find_work(free: int, retries: int, places: claims.Places, bury: Callable[[Sequence[str]], object]) -> list[Claimed]:
    """Form batches, and claim what is due."""
    batches.form()
    return claims.claim(free, retries=max(0, retries), places=places, bury=bury)


def _mended(work: Callable[[], T]) -> T:
    """Run database work on this thread's connection; a broken connection is dropped, so that the next try gets a new one."""
    try:
        return work()
    except DatabaseError:
        with suppress(Exception):  # it may be beyond closing; what is raised is what went wrong first
            connection.close()
        raise


def _conninfo() -> str:
    """Return what Django connects with, less what only its own connection classes understand."""
    parameters = connections["default"].get_connection_params()
    ours = {"cursor_factory", "context", "prepare_threshold"}
    return make_conninfo("", **{name: value for name, value in parameters.items() if name not in ours and value is not None})
