"""Removes what is kept for a time only. Small batches, each its own transaction: nobody waits for a long lock.

A run ends in time (`LONGEST`), has the kinds of rows and the tenants take turns, and is followed at once by another while
anything is left: no kind and no tenant, however much of it there is, keeps what is old of the others alive.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django_q.models import Schedule

from integrations.contracts import clock
from integrations.events import StillOpenAsked, ask_all
from integrations.models import (
    ApiKeyUsage,
    AuditEntry,
    CallLog,
    Heartbeat,
    IdempotencyRecord,
    LogStatus,
    QueueItem,
    QueueState,
    RateBucket,
    RateSlot,
)
from integrations.runtime import breaker
from integrations.runtime.keeping import Kept, days_ago, kept_by_all

logger = structlog.get_logger(__name__)

IDEMPOTENCY_KEPT = timedelta(hours=24)
HEARTBEAT_KEPT = timedelta(days=1)
BUCKET_KEPT = timedelta(days=7)
SLOT_KEPT = timedelta(hours=1)
USAGE_KEPT = timedelta(days=400)
BATCH = 1000
LONGEST = 45.0
"""Seconds that one run deletes, as long as a shift: work that waits for a task worker never waits longer for a purge, and the
engine, which would end a task by force, never has to."""
_ENDED_WELL = (QueueState.COMPLETED, QueueState.CANCELLED)
T = TypeVar("T")


class Span:
    """How long a run may still delete. A batch that was begun is finished, and there is always time for one. `unfinished`: it
    ended before all was gone."""

    def __init__(self, seconds: float | None = None) -> None:
        self._ends = time.monotonic() + (LONGEST if seconds is None else seconds)
        self.unfinished = False

    def is_over(self) -> bool:
        return time.monotonic() >= self._ends

    def leave_off(self) -> None:
        """Something is left for the next one."""
        self.unfinished = True

    def part(self, among: int) -> Span:
        """Return one of so many equal parts of the time that is left."""
        return Span(max(0.0, self._ends - time.monotonic()) / among)


FOR_EVER = Span(math.inf)
Chore = Callable[[Span], int]
"""Deletes one kind of rows as long as the span lasts, at least one batch; returns how many."""


def purge() -> dict[str, int]:
    """Delete what each tenant keeps for a time only (`keeping.Kept`): call logs, and later those of calls that failed; items of
    the queue that ended, and later those that failed. Of all: audit entries older than AUDIT_RETENTION_DAYS, counts of API
    keys' use older than 400 days, idempotency records older than 24 hours, heartbeats older than a day, token buckets that
    nobody took from for a week (full again by then), places of calls that lapsed an hour ago, circuits of removed accounts
    or that nobody's calls went through for a month. Return how many rows of each. Called hourly by a schedule, and
    again while something is left (see `run`); several at once are harmless."""
    now = clock.now()

    def each(rows: QuerySet[Any]) -> Chore:
        return lambda span: delete_in_batches(rows, span=span)

    chores: dict[str, Chore] = {
        "idempotency_records": each(IdempotencyRecord.unscoped.filter(created__lt=now - IDEMPOTENCY_KEPT)),
        "api_key_usage": each(ApiKeyUsage.unscoped.filter(day__lt=now.date() - USAGE_KEPT)),
        "audit_entries": each(AuditEntry.unscoped.filter(created__lt=now - timedelta(days=settings.AUDIT_RETENTION_DAYS))),
        "heartbeats": each(Heartbeat.objects.filter(beat_at__lt=now - HEARTBEAT_KEPT)),
        "rate_buckets": each(RateBucket.objects.filter(updated_at__lt=now - BUCKET_KEPT)),
        "rate_slots": each(RateSlot.objects.filter(lapses_at__lt=now - SLOT_KEPT)),
        "circuits": lambda span: in_batches(breaker.left_over(), breaker.forget, span=span),
        # Logs before the items they belong to: what is gone need not forget its item.
        "call_logs": lambda whole: for_each_tenant(
            lambda tenant_id, kept, span: delete_in_batches(old_logs(tenant_id, kept), by="created", span=span), whole
        ),
        "queue_items": lambda whole: for_each_tenant(
            lambda tenant_id, kept, span: in_batches(
                old_items(tenant_id, kept), lambda keys: _delete_items(tenant_id, keys), by="finished_at", span=span
            ),
            whole,
        ),
    }
    return run("purged", chores, schedule="integrations.runtime.retention.purge")


def run(name: str, chores: Mapping[str, Chore], *, schedule: str | None, span: Span | None = None) -> dict[str, int]:
    """Do these chores in turns for `LONGEST` seconds at most, log it as `name`, and return what each deleted. While something
    is left, the schedule that calls the function of that path (if any) has its next run at once."""
    span = span or Span()
    counts = in_turns(chores, lambda chore, part: chores[chore](part), span)
    logger.info(name, unfinished=span.unfinished, **counts)
    if span.unfinished and schedule:
        # The engine looks a few times a minute who is due: in between everybody else's work has the machine.
        now = timezone.now()
        Schedule.objects.filter(func=schedule, next_run__gt=now).update(next_run=now)
    return counts


def in_turns(whom: Iterable[T], work: Callable[[T, Span], int], span: Span) -> dict[T, int]:
    """Work for each of them, with an equal part of the time that is left (what one does not need is the others'), then again
    for those that have something left, until nobody has or the time is over. Return the sum of each."""
    waiting = list(whom)
    sums = dict.fromkeys(waiting, 0)
    while waiting:
        unfinished = []
        for number, each in enumerate(waiting):
            part = span.part(len(waiting) - number)
            sums[each] += work(each, part)
            if part.unfinished:
                unfinished.append(each)
        waiting = unfinished
        if waiting and span.is_over():
            span.leave_off()
            break
    return sums


def old_logs(tenant_id: int, kept: Kept) -> QuerySet[CallLog]:
    """Return the tenant's logs that may go. What did not end well (whatever has no success) is kept longer."""
    old = Q(status=LogStatus.SUCCESS) | Q(created__lt=days_ago(kept.failed_call_log_days))
    return CallLog.unscoped.filter(old, tenant_id=tenant_id, created__lt=days_ago(kept.call_log_days))


def old_items(tenant_id: int, kept: Kept) -> QuerySet[QueueItem]:
    """Return the tenant's items that may go: never one that waits, runs, is being found out about or needs a person."""
    old = Q(state__in=_ENDED_WELL) | Q(finished_at__lt=days_ago(kept.failed_queue_days))
    ended = [*_ENDED_WELL, QueueState.FAILED]
    return QueueItem.unscoped.filter(old, tenant_id=tenant_id, state__in=ended, finished_at__lt=days_ago(kept.queue_days))


def _delete_items(tenant_id: int, keys: list[Any]) -> int:
    """Those of a payment or the like that is still going on stay: others decide by how often it was tried."""
    rows = QueueItem.unscoped.filter(pk__in=keys)
    about = {(kind, of) for kind, of in rows.values_list("reference_type", "reference_id") if of}
    still_open = set(ask_all(StillOpenAsked(tenant_id=tenant_id, references=frozenset(about)))) if about else set()
    if still_open:
        found = rows.values_list("pk", "reference_type", "reference_id")
        rows = QueueItem.unscoped.filter(pk__in=[pk for pk, kind, of in found if (kind, of) not in still_open])
    deleted: int = rows.delete()[0]
    return deleted


def for_each_tenant(work: Callable[[int, Kept, Span], int], span: Span) -> int:
    """Do this for every tenant, in turns (see `tenants_in_turns`); return the sum."""
    kept = dict(kept_by_all())
    return tenants_in_turns(kept, lambda tenant_id, part: work(tenant_id, kept[tenant_id], part), span)


def tenants_in_turns(tenant_ids: Iterable[int], work: Callable[[int, Span], int], span: Span) -> int:
    """Work for each of these as `in_turns`, but for none once the time is over: there may be very many. Who is first is another
    one each minute. Return the sum."""

    def in_time(tenant_id: int, part: Span) -> int:
        if tenant_id != order[0] and span.is_over():
            part.leave_off()
            return 0
        return work(tenant_id, part)

    order = _from_another_one(list(tenant_ids), clock.now())
    return sum(in_turns(order, in_time, span).values())


def _from_another_one(everyone: list[int], now: datetime) -> list[int]:
    # Multiples of the golden ratio fall evenly between 0 and 1: of many, nobody is far from the start for long.
    first = int(len(everyone) * (now.timestamp() // 60 * 0.6180339887498949 % 1))
    return everyone[first:] + everyone[:first]


def delete_in_batches(rows: QuerySet[Any], *, by: str = "pk", span: Span = FOR_EVER) -> int:
    """Delete these rows in the order of the column `by` (never null), some at a time; return how many rows went, with those
    that went along. See `in_batches`."""
    return in_batches(rows, lambda keys: rows.model._base_manager.filter(pk__in=keys).delete()[0], by=by, span=span)


def in_batches(
    rows: QuerySet[Any], act: Callable[[list[Any]], int], *, by: str = "pk", size: int | None = None, span: Span = FOR_EVER
) -> int:
    """Call `act` with the keys of these rows, batch after batch (see `batches`); return the sum of what it returns. Each batch
    has a transaction of its own, in which its rows are locked and still to be acted on: what somebody else holds, or has just
    changed, is passed over."""
    total = 0
    for keys in batches(rows, by=by, size=size, span=span):
        # Read before and locked now: a `LIMIT` under the lock would ask for what somebody else holds again and again.
        with transaction.atomic():
            lock = rows.model._base_manager.select_for_update(skip_locked=True).filter(pk__in=keys).order_by("pk")
            mine = list(lock.values_list("pk", flat=True))
            still = list(rows.filter(pk__in=mine).order_by().values_list("pk", flat=True))
            total += act(still) if still else 0
    return total


def batches(rows: QuerySet[Any], *, by: str = "pk", size: int | None = None, span: Span = FOR_EVER) -> Iterator[list[Any]]:
    """Yield the keys of these rows in the order of the column `by` (never null), `size` (else `BATCH`) at a time.

    A batch begins where the one before ended. Asked from the start each time, PostgreSQL would step over the entries of all
    rows that are dead but not yet vacuumed, batch after batch: quadratic work. Between two batches the process pauses
    (RETENTION_PAUSE_SECONDS) so that vacuum, and everybody else's work, keep pace.
    """
    size = size or BATCH
    ordered = rows.order_by("pk") if by == "pk" else rows.order_by(by, "pk")
    last: tuple[Any, Any] | None = None
    while True:
        some = ordered
        if last is not None and by == "pk":
            some = some.filter(pk__gt=last[1])
        elif last is not None:
            # The first condition is a range of the index; the second leaves out equals that had their turn.
            some = some.filter(**{f"{by}__gte": last[0]}).filter(Q(**{f"{by}__gt": last[0]}) | Q(pk__gt=last[1]))
        found = list(some.annotate(walked_by=F(by)).values_list("walked_by", "pk")[:size])
        if not found:
            return
        last = found[-1]
        yield [pk for _, pk in found]
        if len(found) < size:
            return
        if span.is_over():
            span.leave_off()
            return
        time.sleep(settings.RETENTION_PAUSE_SECONDS)
