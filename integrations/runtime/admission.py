"""How much work of one tenant may wait: above that its bulk work is refused at the door, with the time to come again.

Asked where work comes in by the API in bulk (messages, lists, retries of many), never for what is urgent (money, one-time
codes) and never for facts that others report to us: what has happened is always written down. Deliveries of webhooks, and
replays of them, stand in no queue of a tenant's and have bounds of their own. The bound is soft: one list that was let in may
expand beyond it, and an answer is good for a second.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.models import Tenant
from integrations.tenancy.views import tenant_of

SECONDS = 1.0
"""How long an answer is good; longer where finding it took long, so that asking never takes more than a tenth of the time."""
MOST_REMEMBERED = 10_000
LOOKED_BACK = timedelta(seconds=10)
SHORTEST_WAIT, UNKNOWN_WAIT, LONGEST_WAIT = 1.0, 60.0, 600.0

# The row with that number, if there is one: the walk along the tenant's line ends there, however many stand behind it.
_FULL = """
SELECT EXISTS (
    SELECT 1 FROM integrations_queueitem WHERE state = 'pending' AND tenant_id = %(tenant)s
    ORDER BY tenant_id, priority, due_at OFFSET %(before)s LIMIT 1
)
"""
_ENDED = """
SELECT count(*) FROM (
    SELECT 1 FROM integrations_queueitem
    WHERE state IN ('completed', 'cancelled', 'failed') AND finished_at > %(since)s AND tenant_id = %(tenant)s LIMIT 5000
) lately
"""

_answers: dict[int, tuple[float, int, float | None]] = {}
"""By tenant: until when (monotonic), for which bound, and the wait; None where there is room."""


class QueueFull(ProviderError):
    """So much of the tenant's work waits that no more bulk work is taken. Nothing was accepted; `retry_after` says when to
    try again."""

    code = "queue_full"
    retryable = True
    status_code = 429


def admit(tenant: Tenant) -> None:
    """Raise `QueueFull` where as much of the tenant's work waits as may (`Tenant.max_queued`, else HUB_MAX_QUEUED)."""
    bound = settings.HUB_MAX_QUEUED if tenant.max_queued is None else tenant.max_queued
    now = time.monotonic()
    valid_until, for_bound, wait = _answers.get(tenant.pk, (0.0, -1, None))
    if now >= valid_until or for_bound != bound:
        wait = _wait(tenant.pk, bound)
        if len(_answers) >= MOST_REMEMBERED:
            _answers.clear()
        _answers[tenant.pk] = (now + max(SECONDS, 10 * (time.monotonic() - now)), bound, wait)
    if wait is not None:
        raise QueueFull(f"{bound} items of work wait already; try again in about {wait:.0f} s.", retry_after=wait)


def admitted(urgent: Callable[[Request], bool] | None = None) -> Callable[..., Any]:
    """Decorate a view's method that accepts bulk work: 429 with `Retry-After` while the tenant's queue is full. Stands below
    `@idempotent`, so that a repeated request still gets its stored answer. What is `urgent` is always let in."""

    def decorate(view_method: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(view_method)
        def wrapper(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            try:
                admit(tenant_of(request))
            except QueueFull:
                if urgent is None or not urgent(request):
                    raise
            return view_method(view, request, *args, **kwargs)

        return wrapper

    return decorate


def forget() -> None:
    """Forget all answers; the next question is asked of the database."""
    _answers.clear()


def _wait(tenant_id: int, bound: int) -> float | None:
    """Return the seconds until a hundredth of the places should be free again, going by what ended lately; None where there
    is room now."""
    with connection.cursor() as cursor:
        if bound > 0:
            cursor.execute(_FULL, {"tenant": tenant_id, "before": bound - 1})
            if not cursor.fetchone()[0]:
                return None
        cursor.execute(_ENDED, {"tenant": tenant_id, "since": clock.now() - LOOKED_BACK})
        ended: int = cursor.fetchone()[0]
    if not ended:
        return UNKNOWN_WAIT
    wait: int = math.ceil(max(1, bound / 100) * LOOKED_BACK.total_seconds() / ended)
    return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)
