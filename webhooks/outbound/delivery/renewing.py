"""Renewing leases: what is in flight, or waits to be settled, stays ours for as long as this process lives."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import structlog
from django.db import transaction

from integrations.contracts import clock
from webhooks.outbound.delivery.claims import LEASE
from webhooks.outbound.delivery.database import prepared

logger = structlog.get_logger(__name__)

_LOCK = """
SELECT d.id, d.fence FROM webhooks_outbound_delivery d
JOIN unnest(%(ids)s::text[], %(fences)s::int[]) AS mine (id, fence) ON mine.id = d.id AND mine.fence = d.fence
WHERE d.state = 'pending' AND d.lease IS NOT NULL ORDER BY d.id FOR UPDATE OF d
"""
_RENEW = "UPDATE webhooks_outbound_delivery SET lease_until = %(until)s, due_at = %(until)s WHERE id = ANY(%(ids)s)"


def renew(leases: Iterable[tuple[str, int]]) -> Collection[tuple[str, int]]:
    """Prolong leases (delivery and fence) to their full length from now on; return those that are no longer ours.

    One whose fence has moved on belongs to another worker, or was settled: it is left alone.
    """
    wanted = set(leases)
    if not wanted:
        return set()
    with transaction.atomic(), prepared() as cursor:
        ordered = sorted(wanted)
        cursor.execute(_LOCK, {"ids": [each[0] for each in ordered], "fences": [each[1] for each in ordered]})
        mine: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.execute(_RENEW, {"until": clock.now() + LEASE, "ids": [row[0] for row in mine]})
    return wanted - {(row[0], row[1]) for row in mine}
