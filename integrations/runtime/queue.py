"""Putting work into the queue and what people may do to it. Claiming is in `claims.py`, running in `worker.py`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.models import AttemptState, QueueItem, QueueState
from integrations.runtime import jobs

CHANNEL = "hub_queue"
GONE, SPARED = "gone@", "spared@"
"""How an item's `worker` begins whose process is known to be dead: over the item, as far as anybody knows, or certainly not."""


def enqueue(
    *,
    tenant_id: int,
    kind: str,
    payload: dict[str, Any] | None = None,
    reference: tuple[str, str] = ("", ""),
    key: str = "",
    due_at: datetime | None = None,
    not_after: datetime | None = None,
    config_id: int | None = None,
    priority: int = 5,
    max_attempts: int | None = None,
) -> QueueItem:
    """Add an item in the caller's transaction and wake the workers when it commits.

    With a `key` there is at most one open item of this tenant, kind and key: the open one is returned instead. `payload`
    holds ids, never a secret. Nothing is called after `not_after`.
    """
    job = jobs.get(kind)
    item = QueueItem(
        tenant_id=tenant_id,
        kind=kind,
        payload=payload or {},
        reference_type=reference[0],
        reference_id=reference[1],
        key=key,
        due_at=due_at or clock.now(),
        not_after=not_after,
        config_id=config_id,
        priority=priority,
        max_attempts=max_attempts or job.max_attempts,
    )
    # The open item that stands in the way may end between our insert and our look: then there is room for ours.
    while not _added(item):
        existing = open_twins(item).first()
        if existing is not None:
            return existing
    if item.due_at <= clock.now():
        nudge()
    return item


def _added(item: QueueItem) -> bool:
    """Insert the item; False, with the transaction unharmed, where an open one has its key."""
    try:
        with transaction.atomic():
            item.save(force_insert=True)
    except IntegrityError:
        if not item.key:
            raise
        return False
    return True


def nudge() -> None:
    """Wake waiting workers once the current transaction has committed (at once where none is open).

    Once for each transaction, and not as a part of it: the commits of all that notify wait for each other. Should we die in
    between, the workers find the work when they next look.
    """
    if not any(_notify in waiting for waiting in connection.run_on_commit):
        transaction.on_commit(_notify, robust=True)


def _notify() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")


def cancel_item(item_id: int, *, tenant_id: int, by: str) -> QueueItem:
    """Cancel a pending item; raise `Conflict` where it runs or has ended already, and where an earlier try may have had its
    effect: the job is told that it failed, which must be true."""
    with transaction.atomic():
        item: QueueItem = QueueItem.unscoped.select_for_update().get(pk=item_id, tenant_id=tenant_id)
        if item.state != QueueState.PENDING:
            raise Conflict(f"Only a pending item can be cancelled; this one is {item.state}.")
        if item.tries.filter(state__in=[AttemptState.SENDING, AttemptState.UNKNOWN]).exists():
            raise Conflict("An earlier try may have had its effect: the item goes on until that is known.")
        note(item, "Cancelled", f"cancelled by {by}")
        item.state, item.finished_at = QueueState.CANCELLED, clock.now()
        item.save()
        job = jobs.get(item.kind)
        job.failed(item, Conflict(f"Cancelled by {by}.", provider_code="cancelled"))
    return item


def retry_item(item_id: int, *, tenant_id: int, by: str) -> QueueItem:
    """Make a failed or cancelled item pending again, with fresh attempts; run a pending one at once.

    Raises `Conflict` for an item that runs, is done, or whose outcome is unknown: an effect that may have happened is not
    repeated by a click.
    """
    with transaction.atomic():
        item: QueueItem = QueueItem.unscoped.select_for_update().get(pk=item_id, tenant_id=tenant_id)
        if item.state not in (QueueState.FAILED, QueueState.CANCELLED, QueueState.PENDING):
            raise Conflict(f"An item that is {item.state} can't be retried.")
        if item.tries.filter(state__in=[AttemptState.SENDING, AttemptState.UNKNOWN]).exists():
            raise Conflict("This call may have been carried out already; it is not repeated.")
        if item.not_after is not None and item.not_after < clock.now():
            raise Conflict("This was only valid until a time that has passed; start it anew.")
        if item.key and item.state != QueueState.PENDING and open_twins(item).exists():
            raise Conflict("The same work is queued already.")
        if item.state != QueueState.PENDING:
            item.attempts, item.finished_at = 0, None
        note(item, "Retried", f"retried by {by}")
        item.state, item.due_at = QueueState.PENDING, clock.now()
        item.save()
        nudge()
    return item


def open_twins(item: QueueItem) -> QuerySet[QueueItem]:
    """Return other open items of the same tenant, kind and key."""
    open_states = [QueueState.PENDING, QueueState.PROCESSING]
    same = QueueItem.unscoped.filter(tenant_id=item.tenant_id, kind=item.kind, key=item.key, state__in=open_states)
    return same.exclude(pk=item.pk)


def note(item: QueueItem, error_class: str, detail: str) -> None:
    """Add a line to the item's history (the last 50 are kept); the caller saves."""
    entry = {"at": clock.now().isoformat(), "attempt": item.attempts, "error": error_class, "detail": detail}
    item.errors = [*item.errors, entry][-50:]
    item.last_error = detail


def release_dead(
    host: str,
    is_alive: Callable[[int], bool],
    is_spared: Callable[[int, str], bool] = lambda _pid, _group: False,
    begun_by: Callable[[int, str], set[int] | None] = lambda _pid, _group: None,
) -> int:
    """Let go of what processes of this machine held that are gone; return how many items.

    What they were in the middle of is then recovered at once, instead of when the lease lapses; what they had not begun is due
    as before. `is_alive` takes a process id, the other two that of a dead one and its group: `is_spared` is True where it was
    ended over what was none of its items' doing, `begun_by` tells what it was in the middle of (None: nobody knows). Only a
    supervisor on the same machine can tell.
    """
    held = QueueItem.unscoped.filter(state=QueueState.PROCESSING, worker__startswith=f"{host[:60]}:")
    released = 0
    for pk, worker in held.values_list("pk", "worker"):
        _host, number, group = worker.split(":", 2)
        pid = int(number)
        if is_alive(pid):
            continue
        row, begun = held.filter(pk=pk, worker=worker), begun_by(pid, group)
        # Whatever the list says: where something may have been sent, recovering finds out.
        if begun is not None and pk not in begun and not row.filter(tries__fence=F("fence")).exists():
            released += row.update(state=QueueState.PENDING, lease=None, lease_until=None, worker="")
            nudge()
            continue
        # Renamed, so that it is let go of once: a recovery that breaks has its pause.
        left = (SPARED if is_spared(pid, group) else GONE) + worker
        released += row.update(lease_until=clock.now() - timedelta(seconds=1), worker=left[:100])
    return released
