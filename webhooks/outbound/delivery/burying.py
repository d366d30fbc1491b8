"""Ending what died with its worker: deliveries whose lease has lapsed over the last try that they were allowed.

What goes wrong with one of them must cost nobody else anything: each endpoint's are ended in a transaction of their own, one
after the other where one of them is the trouble, and what could not be ended comes up again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.db import InterfaceError, OperationalError, transaction

from integrations.contracts import clock
from webhooks.outbound.delivery import settling
from webhooks.outbound.delivery.database import is_held
from webhooks.outbound.models import Delivery, DeliveryState

logger = structlog.get_logger(__name__)


def bury(ids: Sequence[str], *, lease: timedelta) -> int:
    """Fail those of these deliveries that are still dead; return how many. What could not be ended, whatever the reason, is due
    again after the time of a lease. Raises only where the database is away."""
    mine: dict[str, list[str]] = {}
    found = Delivery.unscoped.filter(pk__in=ids).order_by("endpoint_id", "pk")
    for endpoint_id, delivery_id in found.values_list("endpoint_id", "pk"):
        mine.setdefault(endpoint_id, []).append(delivery_id)
    return sum(_bury(each, lease) for each in mine.values())


def _bury(ids: Sequence[str], lease: timedelta) -> int:
    try:
        buried = settling.bury_lost(ids, lease=lease)
        if buried is not None:
            return buried
        logger.warning("deliveries_not_buried", error="somebody holds their endpoint", count=len(ids))
    except (OperationalError, InterfaceError) as error:
        if not is_held(error):
            raise
        logger.warning("deliveries_not_buried", error=type(error).__name__, count=len(ids))
    except Exception:
        if len(ids) > 1:
            return sum(_bury([each], lease) for each in ids)
        logger.exception("delivery_not_buried", delivery=ids[0])
    _put_off(ids, lease)
    return 0


def _put_off(ids: Sequence[str], lease: timedelta) -> None:
    """Let them come up again later: due, each turn would draw them again, and they would stand before what can be sent."""
    now = clock.now()
    rows = Delivery.unscoped.filter(pk__in=ids, state=DeliveryState.PENDING, lease_until__lte=now, due_at__lte=now)
    with transaction.atomic():
        free = list(rows.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True))
        Delivery.unscoped.filter(pk__in=free).update(due_at=now + lease)
