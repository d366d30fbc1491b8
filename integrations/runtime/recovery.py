"""Recovery: what becomes of items whose worker died or hangs.

A worker that lives prolongs the leases of what it runs; so a lapsed lease means that nobody is at it any more. What such an
item counts (`crashes`) makes it a suspect: it is run only where nothing else is at risk (see `draining`), and is given up
after `MOST_CRASHES` deaths in a row.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import OutcomeUnknown
from integrations.models import Attempt, AttemptState, QueueItem, QueueState
from integrations.runtime import jobs
from integrations.runtime.queue import SPARED
from integrations.runtime.settling import _Interrupted, is_outage, put_off_local, settle_failure

logger = structlog.get_logger(__name__)

BROKEN_RECOVERY_PAUSE = timedelta(minutes=1)
LOCK_PATIENCE_MS = 2000
"""How long an item's recovery waits for a row of its feature that somebody else holds."""
SPAN = 3.0
"""Seconds after which no further item is begun: whoever recovers has claims to make."""


def recover_lapsed(limit: int = 50) -> int:
    """Take care of items whose worker died or hangs; return how many.

    Without a `sending` attempt of the lapsed claim nothing was sent: it is due again. With one, the outcome is unknown. Each
    has a transaction of its own, and is set aside before it begins: one that breaks, whatever of it (a row that is locked, a
    deadlock, its own backend), waits for a minute and holds up no other. Raises only where the database is away.
    """
    recovered, until = 0, time.monotonic() + SPAN
    for _ in range(limit):
        item = _set_aside() if time.monotonic() < until else None
        if item is None:
            break
        try:
            with transaction.atomic(), scope(tenant=item.tenant):
                recovered += _recover(item)
        except Exception as error:
            if is_outage(error):
                raise
            logger.exception("recovery_broke", item=item.pk, kind=item.kind)
    return recovered


def _set_aside() -> QueueItem | None:
    """Return the item whose lease lapsed first, which nobody else recovers for a while now; None where there is none."""
    with transaction.atomic():
        lapsed = QueueItem.unscoped.filter(
            state=QueueState.PROCESSING, lease_until__lt=clock.now(), kind__in=jobs.kinds()
        ).select_related("tenant")
        item = lapsed.order_by("lease_until").select_for_update(skip_locked=True, of=("self",)).first()
        if item is not None:
            QueueItem.unscoped.filter(pk=item.pk).update(lease_until=clock.now() + BROKEN_RECOVERY_PAUSE)
    return item


def _recover(item: QueueItem) -> bool:
    """Settle what the worker left; False where it has settled it itself in the last moment."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {LOCK_PATIENCE_MS}")
    # Ours for the moment of settling, so that the dead worker, should it wake up, finds its lease lost.
    if not QueueItem.unscoped.filter(pk=item.pk, lease=item.lease, state=QueueState.PROCESSING).update(lease=uuid.uuid4()):
        return False
    sent = Attempt.unscoped.filter(item=item, fence=item.fence, state=AttemptState.SENDING).exists()
    item.refresh_from_db(from_queryset=QueueItem.unscoped.select_related("tenant"))
    job = jobs.get(item.kind)
    error = (OutcomeUnknown if sent else _Interrupted)("The worker died or hung in the middle.")
    # Ended by its own supervisor over something else: that is no sign against the item, and clears it of none.
    deaths = 0 if item.worker.startswith(SPARED) else 1
    logger.warning("lease_lapsed", item=item.pk, kind=item.kind, sent=sent, crashes=item.crashes + deaths)
    if isinstance(job, jobs.LocalJob):
        put_off_local(item, job, error.message, 0.0, error, deaths=deaths)
        return True
    if not sent:
        error.retry_after = 0.0
    settle_failure(item, job, error, deaths=deaths)
    return True
