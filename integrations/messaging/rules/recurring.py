"""Messages that are sent again and again: when each is due, and the tick that queues those that are.

Of moments that were missed (the hub was down, the tenant switched off) only the latest is sent: nobody wants last week's seven
reports at once. A moment is a time on the tenant's wall clock, whatever summer time does; where that falls into the hour that
is left out it is an hour later, and where an hour comes twice it is the first of them.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.ids import new_token
from integrations.messaging.models import Channel, RecurringMessage
from integrations.messaging.rules.fetching import check_address
from integrations.messaging.rules.requesting import check_request
from integrations.models import QueueItem
from integrations.runtime.alerts import resolve_alert
from integrations.runtime.queue import enqueue

KIND = "message.recur"
ALERT = "recurring_message_not_sent"
BATCH = 100
WRITABLE = (
    "name", "channel", "request", "frequency", "at", "weekday", "day", "attachment_url", "attachment_name", "ends_at",
    "is_active",
)  # fmt: skip
Frequency = RecurringMessage.Frequency


def enqueue_due() -> int:
    """Queue each active message whose moment has come and move it on to its next one; return how many. Run by the tick; two
    at once, or late, do no harm."""
    queued = 0
    while batch := _enqueue_batch():
        queued += batch
    return queued


def _enqueue_batch() -> int:
    now = clock.now()
    with transaction.atomic():
        due = RecurringMessage.unscoped.filter(is_active=True, next_at__lte=now, tenant__is_active=True)
        rows = list(
            due.select_related("tenant").order_by("next_at", "pk").select_for_update(of=("self",), skip_locked=True)[:BATCH]
        )
        for row in rows:
            moment, row.next_at = _latest(row, now)
            row.save(update_fields=["next_at"])
            enqueue(
                tenant_id=row.tenant_id,
                kind=KIND,
                payload={"recurring": row.pk, "key": message_key(row, moment), "moment": moment.isoformat()},
                reference=("recurring", str(row.pk)),
                key=message_key(row, moment),
                # When the next one is due this one is old, and only the latest is wanted.
                not_after=following(row, moment),
            )
    return len(rows)


def send_now(*, recurring: RecurringMessage) -> QueueItem:
    """Queue the message once more, at once, beside its moments (also where it is off or has ended); return the item, the open
    one where it is being sent by hand already. The network is not touched."""
    with transaction.atomic():
        locked = RecurringMessage.unscoped.select_for_update().get(pk=recurring.pk)
        return enqueue(
            tenant_id=locked.tenant_id,
            kind=KIND,
            payload={"recurring": locked.pk, "key": f"recurring:{locked.pk}:{new_token()}", "moment": ""},
            reference=("recurring", str(locked.pk)),
            key=f"recurring:{locked.pk}:now",
        )


def message_key(row: RecurringMessage, moment: datetime) -> str:
    """Return the key by which a moment's message is sent once."""
    return f"recurring:{row.pk}:{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def following(row: RecurringMessage, after: datetime) -> datetime:
    """Return the first moment after `after`, in UTC, regardless of `ends_at`."""
    day = after.astimezone(row.tenant.zone).date()
    while True:
        if _falls_on(row, day):
            moment = datetime.combine(day, row.at, row.tenant.zone).astimezone(UTC)
            if moment > after:
                return moment
        day += timedelta(days=1)


def plan(row: RecurringMessage) -> datetime | None:
    """Return when an active message is next due, counted from now; None for one that is off or has ended."""
    if not row.is_active:
        return None
    return _unless_ended(row, following(row, clock.now()))


def save_recurring(*, recurring: RecurringMessage, values: Mapping[str, Any], actor: str = "") -> RecurringMessage:
    """Write a new recurring message or change one; it is then due at its next moment from now on.

    Raises `InvalidRequest` naming the first bad field.
    """
    for name in WRITABLE:
        if name in values:
            setattr(recurring, name, values[name])
    if recurring.pk is None:
        recurring.created_by = actor[:150]
    # To switch one off is possible whatever has become wrong with it.
    problems = problems_of(recurring) if dict(values) != {"is_active": False} else {}
    if problems:
        field, problem = next(iter(problems.items()))
        raise InvalidRequest(problem, attr=field)
    arrange(recurring)
    recurring.save()
    return recurring


def arrange(recurring: RecurringMessage) -> None:
    """Drop what its frequency does not use and set when it is next due; the caller saves."""
    recurring.weekday = recurring.weekday if recurring.frequency == Frequency.WEEKLY else None
    recurring.day = recurring.day if recurring.frequency == Frequency.MONTHLY else None
    recurring.next_at = plan(recurring)


def problems_of(recurring: RecurringMessage) -> dict[str, str]:
    """Return {field: what is wrong with it}."""
    problems: dict[str, str] = {}
    try:
        recurring.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        problems = {field: " ".join(texts) for field, texts in error.message_dict.items()}
    if recurring.frequency == Frequency.WEEKLY and recurring.weekday is None:
        problems.setdefault("weekday", "A weekly message needs its day of the week, 0 for Monday.")
    if recurring.frequency == Frequency.MONTHLY and recurring.day is None:
        problems.setdefault("day", "A monthly message needs its day of the month.")
    if recurring.attachment_url:
        if recurring.channel != Channel.EMAIL:
            problems.setdefault("attachment_url", "Only an e-mail takes an attachment from an address.")
        try:
            check_address(recurring.attachment_url)
        except InvalidRequest as error:
            problems.setdefault("attachment_url", error.message)
    if "request" not in problems and "channel" not in problems:
        try:
            check_request(recurring.channel, recurring.request)
        except InvalidRequest as error:
            problems["request"] = error.message
    return problems


def solved(row: RecurringMessage) -> None:
    """Note that the message was sent: its earlier trouble is over."""
    if row.last_problem:
        resolve_alert(tenant_id=row.tenant_id, kind=ALERT, subject=f"recurring {row.pk}")
    row.last_at, row.last_problem = clock.now(), ""
    row.save(update_fields=["last_at", "last_problem"])


def _latest(row: RecurringMessage, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the latest moment that has come, and the next one, None where it would be after the end."""
    assert row.next_at is not None  # noqa: S101 tells the type checker what the query has chosen by
    moment = row.next_at
    while (later := _unless_ended(row, following(row, moment))) is not None and later <= now:
        moment = later
    return moment, later


def _unless_ended(row: RecurringMessage, moment: datetime) -> datetime | None:
    return moment if row.ends_at is None or moment <= row.ends_at else None


def _falls_on(row: RecurringMessage, day: date) -> bool:
    match row.frequency:
        case Frequency.WEEKLY:
            return day.weekday() == row.weekday
        case Frequency.MONTHLY:
            last = calendar.monthrange(day.year, day.month)[1]
            return day.day == min(row.day or 1, last)
        case _:
            return True
