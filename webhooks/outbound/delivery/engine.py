"""The delivery engine: one asyncio loop that keeps many POSTs in flight, with claiming and settling in batches beside it.

At least once: a worker that dies leaves a lease that lapses, and the same event goes out again under the same `webhook-id`.
The loop itself never touches the ORM; four threads do: one finds and claims work, one settles it, one renews the leases, one
makes deliveries of events that have none; so that a slow claim or a database that hangs on one connection does not cost what
is in flight.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
import structlog
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection, connections
from psycopg.conninfo import make_conninfo

from integrations.runtime import shifts
from webhooks.outbound.delivery import batches, claims, renewing, settling
from webhooks.outbound.delivery.sender import Claimed, Outcome, Sender, Timeouts
from webhooks.outbound.publishing import sweeping
from webhooks.outbound.publishing.publish import CHANNEL

logger = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one engine does at once; times in seconds.

    `retries` is the share of `in_flight` that deliveries may hold which were tried before: the rest is kept for first tries.
    `tenant` is how many places one tenant may hold for each that is free: one whose endpoints hang leaves room for the others,
    and one that is alone is not held up (dynamic thresholds, as network switches share a buffer between ports).
    `gather` is how long outcomes wait for company before they are settled, `renew` how often leases are prolonged.
    `stop_grace` is what deliveries in flight get after a stop request; at the end of a shift they get their whole timeout.
    `settle_patience` is how long outcomes outlive a database that is away.
    """

    in_flight: int = 400
    retries: float = 0.75
    tenant: float = 1.0
    batch: int = 64
    gather: float = 0.005
    renew: float = 10.0
    poll: float = 1.0
    stop_check: float = 0.2
    stop_grace: float = 2.0
    settle_patience: float = 15.0
    timeouts: Timeouts = field(default_factory=Timeouts)


def run_shift(stop: Callable[[], bool], until: float) -> None:
    """Deliver what is due until `stop()` is true or `time.monotonic()` passes `until`. Returns with nothing left in flight.

    `stop` is called from a thread of the engine's own, several times a second.
    """
    asyncio.run(Engine().run(stop, until))


class Engine:
    """One shift of delivery. Several may run side by side, in one process or on many machines."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._held: dict[tuple[str, int], Claimed] = {}
        self._wake = asyncio.Event()
        self._published = asyncio.Event()
        self._arrived = asyncio.Event()
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
        free = min(self._limits.in_flight - len(self._held), self._limits.batch)
        claimed = await self._claim(free) if free > 0 else []
        for one in claimed:
            self._held[one.lease] = one
            task = asyncio.create_task(self._deliver(sender, one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if free <= 0 or len(claimed) < free:
            # The timeout is the backstop: a retry that comes due sends no notice.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._limits.poll)

    async def _claim(self, free: int) -> list[Claimed]:
        most = max(1, int(self._limits.in_flight * self._limits.retries))
        retries = most - sum(one.number > 1 for one in self._held.values())
        held = Counter(one.tenant_id for one in self._held.values())
        places = claims.Places(self._limits.in_flight - len(self._held), self._limits.tenant, held)
        try:
            return await self._in(self._claimer, lambda: _mended(lambda: _find_work(free, retries, places)))
        except DatabaseError as error:
            logger.warning("delivery_claim_failed", error=type(error).__name__)
        except Exception:
            logger.exception("delivery_claim_broke")  # one thing that can't be claimed must not end the shift for all others
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
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            ended = self._all_ended
            if not ended and len(self._outcomes) < self._limits.batch:
                await asyncio.sleep(self._limits.gather)
            while self._outcomes:
                batch = self._outcomes[: self._limits.batch]
                await self._settle(batch)
                del self._outcomes[: len(batch)]
                for outcome in batch:
                    self._held.pop(outcome.claimed.lease, None)
            self._wake.set()
            if ended:
                return

    async def _settle(self, batch: list[Outcome]) -> None:
        """Settle, patiently while the database is away. What can't be stored is dropped: its lease lapses, and it is sent
        again."""
        give_up = time.monotonic() + self._limits.settle_patience
        while True:
            try:
                return await self._in(self._settler, lambda: _mended(lambda: settling.settle(batch)))
            except (OperationalError, InterfaceError) as error:
                logger.warning("delivery_settle_failed", error=type(error).__name__, count=len(batch))
                if time.monotonic() > give_up:
                    return None
                await asyncio.sleep(0.5)
            except Exception:
                logger.exception("delivery_settle_broke", count=len(batch))
                if len(batch) > 1:  # one outcome that can't be stored must not take the others with it
                    for one in batch:
                        await self._settle([one])
                return None

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

    async def _sweep(self) -> None:
        """Make deliveries of events that have none. On a thread of its own: what a tenant's filters take holds up no claim."""
        while not self._stopping:
            self._published.clear()
            try:
                if await self._in(self._sweeper, lambda: _mended(self._spread)):
                    self._wake.set()
            except DatabaseError as error:
                logger.warning("delivery_sweep_failed", error=type(error).__name__)
            except Exception:
                logger.exception("delivery_sweep_broke")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._published.wait(), self._limits.poll)

    def _spread(self) -> int:
        return sweeping.sweep(within=sweeping.FRESH, stop=lambda: self._stopping)

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


def _find_work(free: int, retries: int, places: claims.Places) -> list[Claimed]:
    """Form batches, and claim what is due."""
    batches.form()
    return claims.claim(free, retries=max(0, retries), places=places)


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
