"""What the runtime knows of an object: the exchanges with providers that were about it."""

from __future__ import annotations

from integrations.events import TimelineAsked, TimelineEntry
from integrations.models import CallLog, Direction

LONGEST = 200


def timeline_entries(question: TimelineAsked) -> list[TimelineEntry]:
    """Return one `call` entry per exchange about the object, oldest first, the newest `LONGEST` of them."""
    rows = CallLog.unscoped.filter(
        tenant_id=question.tenant_id, reference_type=question.object_type, reference_id=question.object_id
    ).order_by("-id")[:LONGEST]
    return [_entry(row) for row in reversed(rows)]


def _entry(row: CallLog) -> TimelineEntry:
    answer = f"HTTP {row.status_code}" if row.status_code is not None else row.get_status_display().lower()
    way = "called" if row.direction == Direction.OUTBOUND else "called us"
    problem = f": {row.error}" if row.error else ""
    return TimelineEntry(
        at=row.created,
        kind="call",
        text=f"{row.provider} {way}, {row.operation}, {answer}{problem}",
        status=row.status,
        object_type="log",
        object_id=str(row.pk),
        duration_ms=row.duration_ms,
    )
