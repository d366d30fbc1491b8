"""Runs claimed queue items: the one retry loop of the hub.

A claim is a lease with a fence (`claims`). Whatever a run learns is settled in one transaction with the feature's own rows
(`settling`); a lease that lapses over a `sending` attempt is an unknown outcome, never a second call (`recovery`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import Expired, OutcomeUnknown, ProviderError
from integrations.models import Attempt, QueueItem, QueueState
from integrations.runtime import jobs, settling
from integrations.runtime.claims import claim, claim_one, worker_name
from integrations.runtime.execute import execute
from integrations.runtime.recovery import recover_lapsed
from integrations.runtime.settling import LeaseLost, Outcome, _Interrupted, backoff, finish

logger = structlog.get_logger(__name__)
T = TypeVar("T")

DATABASE_PATIENCE = 60.0
MOST_BREAKS = 5
"""Connections that may break in the middle of the same writes before these are taken for what breaks them."""
MOST_BREAKS_OF_A_JOB = 2
"""The same for a local job, which does more; a suspect's may break once."""
_BREAKS = "The connection to the database broke each time that this ran."

_lock_mine = settling.lock_mine
_mark_sending = settling.mark_sending
_put_off_local = settling.put_off_local
_settle_done = settling.settle_done
_settle_failure = settling.settle_failure
_settle_success = settling.settle_success


class ConnectionsBroke(OperationalError):
    """The database is there, and each connection to it is lost over the same work."""


def claim_and_run(item: QueueItem) -> Outcome:
    """Try an item once in this request; where a worker was faster, report what is known of it."""
    claimed = claim_one(item.pk)
    if claimed is None:
        return Outcome(QueueState(QueueItem.unscoped.values_list("state", flat=True).get(pk=item.pk)))
    return run(claimed)


def run(item: QueueItem) -> Outcome:
    """Run a claimed item to its next settled state. Never raises for what went wrong with the item."""
    job = jobs.get(item.kind)
    with structlog.contextvars.bound_contextvars(item=item.pk, kind=item.kind), scope(tenant=item.tenant):
        try:
            if item.not_after is not None and clock.now() > item.not_after:
                error = Expired("Too late: this was only to be done until a time that has passed.")
                return patiently(lambda: _settle_failure(item, job, error))
            if isinstance(job, jobs.LocalJob):
                return _run_local(item, job)
            return _run_call(item, job)
        except LeaseLost:
            logger.warning("lease_lost")
            return Outcome(QueueState(QueueItem.unscoped.values_list("state", flat=True).get(pk=item.pk)))


def _run_call(item: QueueItem, job: jobs.ProviderJob) -> Outcome:
    try:
        call = job.prepare(item)
        if call is None:
            return patiently(lambda: _settle_done(item))
        result = _perform(item, job, call)
    except LeaseLost:
        raise
    except ProviderError as error:
        failure = error
        return patiently(lambda: _settle_failure(item, job, failure))
    except Exception as error:
        logger.exception("call_broke")
        broken = _broken(item, error)
        return patiently(lambda: _settle_failure(item, job, broken))
    try:
        return patiently(lambda: _settle_success(item, job, result))
    except (LeaseLost, OperationalError, InterfaceError):
        raise
    except Exception as error:
        # The provider has done it and we can't write it down: the truth is learned as after any lost answer.
        logger.exception("settling_broke")
        unsettled = _broken(item, error)
        return patiently(lambda: _settle_failure(item, job, unsettled))


def _perform(item: QueueItem, job: jobs.ProviderJob, call: jobs.Call) -> Any:
    def mark() -> None:
        _mark_sending(item, call.operation)

    if isinstance(job, jobs.EffectJob):
        return job.perform(item, mark)
    return execute(call, tenant_id=item.tenant_id, item=item, before_effect=mark)


def _broken(item: QueueItem, error: Exception) -> ProviderError:
    """Return what a bug, or a database that went away, means: unknown once an effect was sent, else worth another try."""
    sent = patiently(lambda: Attempt.unscoped.filter(item=item, fence=item.fence).exists())
    kind = OutcomeUnknown if sent else _Interrupted
    return kind(f"The call was interrupted here ({type(error).__name__}).")


def _run_local(item: QueueItem, job: jobs.LocalJob) -> Outcome:
    def attempt() -> Outcome:
        with transaction.atomic():
            locked = _lock_mine(item)
            job.run(locked)
            locked.crashes = 0
            finish(locked, QueueState.COMPLETED)
        return Outcome(QueueState.COMPLETED)

    try:
        # Where the connection went, all that it had written went too, or was committed: then our lease is gone with it.
        return patiently(attempt, over=_is_gone, breaks=1 if item.crashes else MOST_BREAKS_OF_A_JOB)
    except LeaseLost:
        raise
    except ConnectionsBroke as error:
        # The database is there, and goes whenever this runs: that counts like a worker's death.
        logger.warning("job_breaks_connections", crashes=item.crashes + 1)
        fatal = error
        return patiently(lambda: _put_off_local(item, job, _BREAKS, None, fatal, deaths=1))
    except jobs.RetryLater as later:
        put_off = later  # the name in `except` is gone before the lambda runs
        return patiently(lambda: _put_off_local(item, job, put_off.reason, put_off.seconds, put_off))
    except Exception as error:
        logger.exception("job_broke")
        broken = error
        return patiently(lambda: _put_off_local(item, job, f"{type(broken).__name__}", None, broken))


def _is_gone(error: Exception) -> bool:
    """Tell whether the error means that the connection is no more, and not that a statement was refused or cut short."""
    code = getattr(error.__cause__, "sqlstate", None)
    return code is None or code[:2] == "08" or code in {"57P01", "57P02", "57P03", "53300"}


def patiently(
    settle: Callable[[], T], over: Callable[[Exception], bool] = lambda _error: True, *, breaks: int = MOST_BREAKS
) -> T:
    """Run `settle`, again and again while the database is away: an answer in hand must not be lost to a restart. `over` tells
    which of its errors to outlast.

    Gives up after a minute with the database's error: the lease then lapses and the outcome is reconciled. Raises
    `ConnectionsBroke` before that, where so many connections were made and each was lost in the middle of `settle`: a database
    that comes back each time, and goes over this, must not be taken down for a minute.
    """
    deadline = time.monotonic() + DATABASE_PATIENCE
    wait, broke, again = 0.1, 0, False
    while True:
        there = False
        try:
            connection.ensure_connection()
            if again and not connection.in_atomic_block:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")  # a pooler lets in though there is no database behind it
            there = True
            return settle()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block or time.monotonic() > deadline or not over(error):
                raise
            broke += there and _is_gone(error)
            if broke >= breaks:
                connection.close()
                raise ConnectionsBroke(str(error)) from error.__cause__
            logger.warning("database_away", retry_in=wait)
            connection.close()
            again = True
            time.sleep(wait)
            wait = min(wait * 2, 2.0)


__all__ = [
    "LeaseLost",
    "Outcome",
    "backoff",
    "claim",
    "claim_and_run",
    "claim_one",
    "patiently",
    "recover_lapsed",
    "run",
    "worker_name",
]
