"""Calls at once: each holds a row of its account's while it lasts; one whose caller died lapses by itself."""

from __future__ import annotations

from typing import Any

from django.db import connection, transaction

from integrations.contracts import clock
from integrations.models import RateSlot
from integrations.models.operations import NOW

# Taken by one after the other, so that what is counted is what there is; nobody's rows are locked while a call lasts.
_ONE_BY_ONE = "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))"
_TAKE = f"""
WITH moment AS MATERIALIZED (SELECT {NOW} AS now),
lapsed AS (
    DELETE FROM integrations_rateslot s USING moment WHERE s.key = %(key)s AND s.lapses_at <= moment.now
)
INSERT INTO integrations_rateslot (key, lapses_at)
SELECT %(key)s, moment.now + %(seconds)s * interval '1 second' FROM moment
WHERE (SELECT count(*) FROM integrations_rateslot s WHERE s.key = %(key)s AND s.lapses_at > moment.now) < %(most)s
    AND NOT EXISTS (SELECT 1 FROM integrations_ratebucket ahead
        WHERE ahead.key = %(ahead)s::text AND ahead.updated_at > moment.now + interval '1 second' / %(most)s)
RETURNING id
"""  # noqa: S608 constants only
_RENEW = f"UPDATE integrations_rateslot SET lapses_at = {NOW} + %(seconds)s * interval '1 second' WHERE id = %(id)s"  # noqa: S608


def take(key: str, *, most: int, seconds: float, ahead: str | None) -> int | None:
    """Take one of `most` places for so many seconds; None where all are taken, or others stand in the line `ahead`."""
    given: dict[str, Any] = {"key": key, "most": most, "seconds": seconds, "ahead": ahead, "now": clock.injected()}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ONE_BY_ONE, given)
        cursor.execute(_TAKE, given)
        row = cursor.fetchone()
    return row[0] if row else None


def renew(slot: int, *, seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, {"id": slot, "seconds": seconds, "now": clock.injected()})


def release(slot: int) -> None:
    RateSlot.objects.filter(pk=slot).delete()
