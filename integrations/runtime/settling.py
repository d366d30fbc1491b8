"""Settling: how a run's end is written down, in one transaction with the feature's own rows.

Whoever settles holds the item's row and its lease; a lease that is lost settles nothing, with one exception: the late answer
to an effect that was really sent is the truth.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

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
from integrations.runtime.queue import note

FIRST_BACKOFF = 5.0
LONGEST_BACKOFF = 3600.0
LONGEST_WAIT = 86_400.0  # however long a provider asks us to stay away
OUTAGE_PAUSE = 15.0
_OUTAGES = ("08", "53", "57P", "58")
"""How an SQLSTATE begins: connections, resources, shutdown, the system. A statement's time limit (57014) is none of these."""
_OWN_DOING = frozenset({"53200", "53400"})
"""A statement that needs more memory than there is, or more than a setting allows: that is the work of whoever sent it."""
MOST_CRASHES = 3
"""Workers, or connections to the database, that may die over an item in a row before it is given up."""


class LeaseLost(Exception):
    """The item is no longer ours: nothing more may be done for it here."""


class _Interrupted(ProviderError):
    """Something of our own broke before anything was sent."""

    code = "interrupted"
    retryable = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the item's state, with the adapter's result or the error where there is one."""

    state: QueueState
    result: Any = None
    error: ProviderError | None = None


# One statement, so that announcing costs one journey to the database: the lock on the item is held until the row is committed.
_ANNOUNCE = """
INSERT INTO integrations_attempt
    (id, tenant_id, item_id, fence, operation, state, started_at, finished_at, error_class, detail)
SELECT %(id)s, q.tenant_id, q.id, %(fence)s, %(operation)s, 'sending', %(now)s, NULL, '', ''
FROM integrations_queueitem q WHERE q.id = %(item)s AND q.lease = %(lease)s AND q.state = 'processing'
FOR UPDATE
"""


def mark_sending(item: QueueItem, operation: str) -> None:
    """Commit that the effect is about to be sent; refuse where the lease is no longer ours."""
    given: dict[str, Any] = {"id": uuid.uuid4(), "item": item.pk, "lease": item.lease, "fence": item.fence}
    given |= {"operation": operation, "now": clock.now()}
    with connection.cursor() as cursor:
        cursor.execute(_ANNOUNCE, given)
        if cursor.rowcount != 1:
            raise LeaseLost


def lock_mine(item: QueueItem) -> QueueItem:
    """Return the item as it is now, locked; raise `LeaseLost` where it is not ours any more."""
    locked = _lock(item)
    if not _is_ours(item, locked):
        raise LeaseLost
    return locked


def _lock(item: QueueItem) -> QueueItem:
    locked: QueueItem = QueueItem.unscoped.select_for_update().get(pk=item.pk)
    if QueueItem._meta.get_field("tenant").is_cached(item):
        locked.tenant = item.tenant
    return locked


def _is_ours(item: QueueItem, locked: QueueItem) -> bool:
    return locked.lease == item.lease and locked.state == QueueState.PROCESSING


def settle_done(item: QueueItem) -> Outcome:
    """Settle a run that had nothing left to do."""
    with transaction.atomic():
        locked = lock_mine(item)
        locked.crashes = 0
        finish(locked, QueueState.COMPLETED)
    return Outcome(QueueState.COMPLETED)


def settle_success(item: QueueItem, job: jobs.ProviderJob, result: Any) -> Outcome:
    """Settle the answer of the provider, with what the job makes of it."""
    with transaction.atomic():
        locked = _lock(item)
        # Not one that has succeeded already: the commit may have been done and only its confirmation lost.
        mine = Attempt.unscoped.filter(item=item, fence=item.fence).exclude(state=AttemptState.SUCCEEDED)
        sent = mine.update(state=AttemptState.SUCCEEDED, finished_at=clock.now())
        if not sent and not _is_ours(item, locked):
            raise LeaseLost
        # A late answer to an effect that we did send is the truth, even after the item was given up as unknown.
        locked.attempts += 1
        locked.crashes = 0
        job.succeeded(locked, result)
        finish(locked, QueueState.COMPLETED)
    return Outcome(QueueState.COMPLETED, result=result)


def settle_failure(
    item: QueueItem, job: jobs.ProviderJob | jobs.LocalJob, error: ProviderError, *, deaths: int | None = None
) -> Outcome:
    """Settle an error: put the item off, or end it as failed or unknown. `deaths`: the run never ended, and so many of them
    are added to what the item counts; None: it ended, which clears the count."""
    with transaction.atomic():
        locked = lock_mine(item)
        locked.attempts += error.uses_attempt
        locked.crashes = 0 if deaths is None else locked.crashes + deaths
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
            finish(locked, state)
            if state == QueueState.NEEDS_REVIEW:
                _alert_review(locked)
            return Outcome(state, error=error)
        if wait is not None:
            _put_off(locked, wait)
            if isinstance(job, jobs.ProviderJob):
                job.waiting(locked, error)
            return Outcome(QueueState.PENDING, error=error)
        finish(locked, QueueState.FAILED)
        if error.retryable or isinstance(error, Expired):
            _alert_dead(locked, error.message)
        job.failed(locked, error)
        return Outcome(QueueState.FAILED, error=error)


def put_off_local(
    item: QueueItem, job: jobs.LocalJob, reason: str, wait: float | None, error: Exception, *, deaths: int | None = None
) -> Outcome:
    """Settle a local job that could not be done: again after `wait` seconds (None: back-off), or failed. `deaths` as above."""
    with transaction.atomic():
        locked = lock_mine(item)
        away = is_outage(error)
        locked.attempts += not away
        locked.crashes = 0 if deaths is None else locked.crashes + deaths
        note(locked, type(error).__name__, reason)
        if locked.attempts < locked.max_attempts and locked.crashes < MOST_CRASHES:
            again = OUTAGE_PAUSE if away else backoff(locked.attempts)
            _put_off(locked, again if wait is None else wait)
            return Outcome(QueueState.PENDING)
        finish(locked, QueueState.FAILED)
        job.failed(locked, error)
        _alert_dead(locked, reason)
    return Outcome(QueueState.FAILED)


def is_outage(error: BaseException) -> bool:
    """Tell whether the database itself was unable: no connection, no space, shut down or starting. That says nothing about the
    item, and must not use up its tries however long it lasts."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return False
    code = getattr(error.__cause__, "sqlstate", None) or ""
    if not code:
        return isinstance(error, OperationalError | InterfaceError)
    return code.startswith(_OUTAGES) and code not in _OWN_DOING


def _may_have_acted(item: QueueItem, error: ProviderError) -> bool:
    """Tell whether an earlier, undecided try may have had its effect, and this error says nothing about that: a call that
    could not be made any more (nobody there, too late, refused at the door) is no proof that the first one did nothing."""
    says_nothing = error.retryable or isinstance(error, Expired | AuthenticationFailed | NotConfigured)
    return says_nothing and Attempt.unscoped.filter(item=item, state=AttemptState.UNKNOWN).exists()


def _wait(item: QueueItem, error: ProviderError) -> float | None:
    """Return the seconds to the next try, None where there is to be none."""
    if not error.retryable or item.attempts >= item.max_attempts or item.crashes >= MOST_CRASHES:
        return None
    wait = min(error.retry_after, LONGEST_WAIT) if error.retry_after is not None else backoff(max(1, item.attempts))
    if item.not_after is not None and clock.now() + timedelta(seconds=wait) > item.not_after:
        return None
    return wait


def backoff(attempt: int) -> float:
    """Return the seconds before the try after `attempt` failed ones: doubling, capped, jitter only added."""
    base: float = min(FIRST_BACKOFF * 2 ** min(attempt - 1, 20), LONGEST_BACKOFF)
    return base * (1 + random.random() * 0.25)  # noqa: S311 spreads load, guards nothing


def _put_off(item: QueueItem, wait: float) -> None:
    item.state, item.lease, item.lease_until = QueueState.PENDING, None, None
    item.due_at = clock.now() + timedelta(seconds=wait)
    item.save()


def finish(item: QueueItem, state: QueueState) -> None:
    """End the locked item in this state."""
    item.state, item.lease, item.lease_until, item.finished_at = state, None, None, clock.now()
    item.save()


def _alert_dead(item: QueueItem, reason: str) -> None:
    deaths = f", {item.crashes} workers in a row died over it or lost the database" if item.crashes >= MOST_CRASHES else ""
    raise_alert(
        tenant_id=item.tenant_id,
        kind="queue_item_failed",
        subject=f"{item.kind} #{item.pk}",
        message=f"Given up after {item.attempts} attempts{deaths}: {reason}",
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
