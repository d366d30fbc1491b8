"""What the runtime knows of an object: the exchanges with providers that were about it, and how long its work still waits."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts import clock
from integrations.events import TimelineAsked, TimelineEntry
from integrations.models import CallLog, Direction, QueueItem, QueueState

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


@dataclass(frozen=True, slots=True)
class Wait:
    """For about how many seconds an item still waits, and what for."""

    seconds: int
    reason: str

    @property
    def text(self) -> str:
        """Return it in words: "Waits for the rate limit of Stripe (charge, account 7), about 40 s."."""
        return f"{self.reason.rstrip('.')}, about {_span(self.seconds)}."


def expected_wait(item: QueueItem) -> Wait | None:
    """Return how long an item that was put off (by a rate limit, an open circuit, a failure) is expected to wait for its next
    try; None for one that waits for nothing. An item in a rate limit's line comes back at its place there."""
    if item.state != QueueState.PENDING or not item.errors:
        return None
    seconds = (item.due_at - clock.now()).total_seconds()
    return Wait(max(1, round(seconds)), item.last_error) if seconds > 0 else None


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
