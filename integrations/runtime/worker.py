"""Claims queue items and runs them: the one retry loop of the hub.

A claim is a lease with a fence. Whatever a run learns is settled in one transaction with the feature's own rows; a lease
that lapses over a `sending` attempt is an unknown outcome, never a second call.
"""

from __future__ import annotations

import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import (
    AuthenticationFailed,
    Expired,
    NotConfigured,
    OutcomeUnknown,
    ProviderError,
    Undecided,
)
from integrations.models import Alert, Attempt, AttemptState, CallLog, Config, ConfigStatus, QueueItem, QueueState
from integrations.runtime import jobs
from integrations.runtime.alerts import raise_alert
from integrations.runtime.execute import execute
from integrations.runtime.queue import note

logger = structlog.get_logger(__name__)
T = TypeVar("T")

FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 3600.0
LONGEST_WAIT = 86_400.0  # however long a provider asks us to stay away
DATABASE_PATIENCE = 60.0
BROKEN_RECOVERY_PAUSE = timedelta(minutes=1)


class LeaseLost(Exception):
    """The item is no longer ours: nothing more may be done for it here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the item's state, with the adapter's result or the error where there is one."""

    state: QueueState
    result: Any = None
    error: ProviderError | None = None


def worker_name() -> str:
    """Return `<host>:<pid>:<group>`; the group is what a supervisor starts and ends as one."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{os.environ.get('HUB_GROUP', 'web')}"


def claim(limit: int, *, kinds: Sequence[str] | None = None) -> list[QueueItem]:
    """Take up to `limit` due items, most urgent first; two workers never get the same one."""
    with transaction.atomic():
        due = QueueItem.unscoped.filter(state=QueueState.PENDING, due_at__lte=clock.now(), kind__in=kinds or jobs.kinds())
        taken = list(due.order_by("priority", "due_at").select_for_update(skip_locked=True)[:limit])
        return [_lease(item) for item in taken]


def claim_one(item_id: int) -> QueueItem | None:
    """Take this item if it is pending (whether due or not); None where somebody else has it."""
    with transaction.atomic():
        item = QueueItem.unscoped.select_for_update(skip_locked=True).filter(pk=item_id, state=QueueState.PENDING).first()
        return _lease(item) if item else None


def _lease(item: QueueItem) -> QueueItem:
    item.state, item.lease, item.fence = QueueState.PROCESSING, uuid.uuid4(), item.fence + 1
    item.lease_until = clock.now() + timedelta(seconds=jobs.get(item.kind).lease_seconds)
    item.worker = worker_name()
    item.save(update_fields=["state", "lease", "fence", "lease_until", "worker"])
    return item


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


class _Interrupted(ProviderError):
    """Something of our own broke before anything was sent."""

    code = "interrupted"
    retryable = True


def _run_local(item: QueueItem, job: jobs.LocalJob) -> Outcome:
    try:
        with transaction.atomic():
            locked = _lock_mine(item)
            job.run(locked)
            _finish(locked, QueueState.COMPLETED)
    except LeaseLost:
        raise
    except jobs.RetryLater as later:
        put_off = later  # the name in `except` is gone before the lambda runs
        return patiently(lambda: _put_off_local(item, job, put_off.reason, put_off.seconds, put_off))
    except Exception as error:
        logger.exception("job_broke")
        broken = error
        return patiently(lambda: _put_off_local(item, job, f"{type(broken).__name__}", None, broken))
    return Outcome(QueueState.COMPLETED)


def _put_off_local(item: QueueItem, job: jobs.LocalJob, reason: str, wait: float | None, error: Exception) -> Outcome:
    with transaction.atomic():
        locked = _lock_mine(item)
        locked.attempts += 1
        note(locked, type(error).__name__, reason)
        if locked.attempts < locked.max_attempts:
            _put_off(locked, backoff(locked.attempts) if wait is None else wait)
            return Outcome(QueueState.PENDING)
        _finish(locked, QueueState.FAILED)
        job.failed(locked, error)
        _alert_dead(locked, reason)
    return Outcome(QueueState.FAILED)


def _mark_sending(item: QueueItem, operation: str) -> None:
    """Commit that the effect is about to be sent; refuse where the lease is no longer ours."""
    with transaction.atomic():
        _lock_mine(item)
        Attempt.unscoped.create(
            tenant_id=item.tenant_id, item=item, fence=item.fence, operation=operation, started_at=clock.now()
        )


def _settle_done(item: QueueItem) -> Outcome:
    with transaction.atomic():
        _finish(_lock_mine(item), QueueState.COMPLETED)
    return Outcome(QueueState.COMPLETED)


def _settle_success(item: QueueItem, job: jobs.ProviderJob, result: Any) -> Outcome:
    with transaction.atomic():
        locked = QueueItem.unscoped.select_for_update().get(pk=item.pk)
        ours = locked.lease == item.lease and locked.state == QueueState.PROCESSING
        # Not one that has succeeded already: the commit may have been done and only its confirmation lost.
        mine = Attempt.unscoped.filter(item=item, fence=item.fence).exclude(state=AttemptState.SUCCEEDED)
        sent = mine.update(state=AttemptState.SUCCEEDED, finished_at=clock.now())
        if not ours and not sent:
            raise LeaseLost
        # A late answer to an effect that we did send is the truth, even after the item was given up as unknown.
        locked.attempts += 1
        job.succeeded(locked, result)
        _finish(locked, QueueState.COMPLETED)
    return Outcome(QueueState.COMPLETED, result=result)


def _settle_failure(item: QueueItem, job: jobs.ProviderJob | jobs.LocalJob, error: ProviderError) -> Outcome:
    with transaction.atomic():
        locked = _lock_mine(item)
        locked.attempts += error.uses_attempt
        unknown = isinstance(error, OutcomeUnknown)
        undecided = isinstance(error, Undecided)
        wait = None if unknown and not undecided else _wait(locked, error)
        in_doubt = not unknown and _may_have_acted(locked, error)
        certain = not undecided and not in_doubt
        if wait is not None and certain and isinstance(job, jobs.ProviderJob) and job.gives_up(locked, error):
            wait = None
        if isinstance(error, AuthenticationFailed):
            _needs_attention(locked, error)
        if wait is None and in_doubt:
            error, unknown = OutcomeUnknown(error.message, provider=error.provider), True
        Attempt.unscoped.filter(item=item, fence=item.fence).update(
            state=AttemptState.UNKNOWN if unknown else AttemptState.FAILED,
            finished_at=clock.now(),
            error_class=type(error).__name__,
            detail=error.message,
        )
        note(locked, type(error).__name__, error.message)
        if wait is None and isinstance(error, OutcomeUnknown) and isinstance(job, jobs.ProviderJob):
            state = job.unknown(locked, error)
            _finish(locked, state)
            if state == QueueState.NEEDS_REVIEW:
                _alert_review(locked)
            return Outcome(state, error=error)
        if wait is not None:
            _put_off(locked, wait)
            if isinstance(job, jobs.ProviderJob):
                job.waiting(locked, error)
            return Outcome(QueueState.PENDING, error=error)
        _finish(locked, QueueState.FAILED)
        if error.retryable or isinstance(error, Expired):
            _alert_dead(locked, error.message)
        job.failed(locked, error)
        return Outcome(QueueState.FAILED, error=error)


def _may_have_acted(item: QueueItem, error: ProviderError) -> bool:
    """Tell whether an earlier, undecided try may have had its effect, and this error says nothing about that: a call that
    could not be made any more (nobody there, too late, refused at the door) is no proof that the first one did nothing."""
    says_nothing = error.retryable or isinstance(error, Expired | AuthenticationFailed | NotConfigured)
    return says_nothing and Attempt.unscoped.filter(item=item, state=AttemptState.UNKNOWN).exists()


def _wait(item: QueueItem, error: ProviderError) -> float | None:
    """Return the seconds to the next try, None where there is to be none."""
    if not error.retryable or item.attempts >= item.max_attempts:
        return None
    wait = min(error.retry_after, LONGEST_WAIT) if error.retry_after is not None else backoff(max(1, item.attempts))
    if item.not_after is not None and clock.now() + timedelta(seconds=wait) > item.not_after:
        return None
    return wait


def backoff(attempt: int) -> float:
    """Return the seconds before the try after `attempt` failed ones: doubling, capped, jitter only added."""
    base: float = min(FIRST_BACKOFF * 2 ** min(attempt - 1, 20), LONGEST_BACKOFF)
    return base * (1 + random.random() * 0.25)  # noqa: S311 spreads load, guards nothing


def _lock_mine(item: QueueItem) -> QueueItem:
    locked: QueueItem = QueueItem.unscoped.select_for_update().get(pk=item.pk)
    if locked.lease != item.lease or locked.state != QueueState.PROCESSING:
        raise LeaseLost
    return locked


def _put_off(item: QueueItem, wait: float) -> None:
    item.state, item.lease, item.lease_until = QueueState.PENDING, None, None
    item.due_at = clock.now() + timedelta(seconds=wait)
    item.save()


def _finish(item: QueueItem, state: QueueState) -> None:
    item.state, item.lease, item.lease_until, item.finished_at = state, None, None, clock.now()
    item.save()


def _alert_dead(item: QueueItem, reason: str) -> None:
    raise_alert(
        tenant_id=item.tenant_id,
        kind="queue_item_failed",
        subject=f"{item.kind} #{item.pk}",
        message=f"Given up after {item.attempts} attempts: {reason}",
    )


def _alert_review(item: QueueItem) -> None:
    raise_alert(
        tenant_id=item.tenant_id,
        kind="needs_review",
        subject=f"{item.kind} #{item.pk}",
        message="Sent, but no answer came and the provider can't be asked: a person must look.",
        level=Alert.Level.CRITICAL.value,
    )


def _needs_attention(item: QueueItem, error: AuthenticationFailed) -> None:
    # An item that names no config was served by the tenant's primary, or by the installation's account: the log knows.
    logged = CallLog.unscoped.filter(item=item).order_by("-id").values_list("config_id", flat=True)
    config_id = item.config_id or logged.first()
    configs = Config.unscoped.filter(tenant_id=item.tenant_id, pk=config_id)
    configs.update(status=ConfigStatus.NEEDS_ATTENTION, status_detail=error.message)
    raise_alert(
        tenant_id=item.tenant_id,
        kind="config_needs_attention",
        subject=f"{error.provider} {config_id or ''}".strip(),
        message=f"The provider refused the credentials: {error.message}",
        level=Alert.Level.CRITICAL.value,
    )


def recover_lapsed(limit: int = 50) -> int:
    """Take care of items whose worker died or hangs; return how many.

    Without a `sending` attempt of the lapsed claim nothing was sent: it is due again. With one, the outcome is unknown. An
    item whose job breaks over it is left for a while: it must not hold up the others.
    """
    recovered = 0
    with transaction.atomic():
        lapsed = QueueItem.unscoped.filter(
            state=QueueState.PROCESSING, lease_until__lt=clock.now(), kind__in=jobs.kinds()
        ).select_related("tenant")
        for item in lapsed.order_by("lease_until").select_for_update(skip_locked=True, of=("self",))[:limit]:
            try:
                with transaction.atomic(), scope(tenant=item.tenant):
                    _recover(item)
                recovered += 1
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                logger.exception("recovery_broke", item=item.pk, kind=item.kind)
                QueueItem.unscoped.filter(pk=item.pk).update(lease_until=clock.now() + BROKEN_RECOVERY_PAUSE)
    return recovered


def _recover(item: QueueItem) -> None:
    sent = Attempt.unscoped.filter(item=item, fence=item.fence, state=AttemptState.SENDING).exists()
    # Ours for the moment of settling, so that the dead worker, should it wake up, finds its lease lost.
    QueueItem.unscoped.filter(pk=item.pk).update(lease=uuid.uuid4())
    item.refresh_from_db(from_queryset=QueueItem.unscoped.select_related("tenant"))
    job = jobs.get(item.kind)
    error = (OutcomeUnknown if sent else _Interrupted)("The worker died or hung in the middle.")
    logger.warning("lease_lapsed", item=item.pk, kind=item.kind, sent=sent)
    if isinstance(job, jobs.LocalJob):
        _put_off_local(item, job, error.message, 0.0, error)
        return
    if not sent:
        error.retry_after = 0.0
    _settle_failure(item, job, error)


def patiently(settle: Callable[[], T]) -> T:
    """Run `settle`, again and again while the database is away: an answer in hand must not be lost to a restart.

    Gives up after a minute with the database's error: the lease then lapses and the outcome is reconciled.
    """
    deadline = time.monotonic() + DATABASE_PATIENCE
    wait = 0.1
    while True:
        try:
            return settle()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            logger.warning("database_away", retry_in=wait)
            connection.close()
            time.sleep(wait)
            wait = min(wait * 2, 2.0)
