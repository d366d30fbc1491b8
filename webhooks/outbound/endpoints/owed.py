"""What an endpoint is owed, when it comes and goes: held, sent, discarded, or ended with it.

In pages, by the order of publishing: the first in the transaction of the change, so that a small backlog has moved when that
commits; the rest is the queue's, a transaction for each page. However much is owed, nobody who switches an endpoint waits for
it, and neither do those who settle deliveries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from django.db import OperationalError, connection, transaction
from django.db.models import F, Q, QuerySet

from integrations.contracts import clock
from integrations.models import OPEN_STATES, QueueItem
from integrations.runtime.jobs import LocalJob
from integrations.runtime.queue import enqueue
from integrations.tenancy import audit
from webhooks.outbound.delivery.schedule import MAX_AGE, attempts_of
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint
from webhooks.outbound.publishing.publish import nudge

KIND = "webhook.owed"
PAGE = 1000
"""Deliveries that one transaction moves."""
LOOK_SECONDS = 5.0
"""How long a statement of the first page may take; beyond that, all of it is left to the queue."""
LONGEST_LOOK = timedelta(minutes=10)
"""The same for a page of the queue's: what is held has no index, and an endpoint may have had millions of deliveries."""
_CANCELED = "57014"


class Move(StrEnum):
    """What may be done with all that an endpoint is owed. `send` gives each a whole schedule of tries; `release` only lets
    go of what is held."""

    HOLD = "hold"
    SEND = "send"
    RELEASE = "release"
    DISCARD = "discard"
    END = "end"


def move(endpoint: Endpoint, what: Move) -> None:
    """Do this with all that the endpoint is owed by now and that is not in flight: the first page at once, the rest by the
    queue. In the transaction of the change that calls for it, with the endpoint's row locked."""
    newest = Delivery.unscoped.filter(endpoint=endpoint).order_by("-position")
    until = newest.values_list("position", flat=True).first()
    if until is None:
        return
    if what is Move.DISCARD:
        _in_time(endpoint, Move.HOLD, until)  # what is pending could go out before its page's turn
    moved, after = _in_time(endpoint, what, until)
    if after is None:
        _moved(endpoint, what, moved)
    else:
        _go_on(endpoint, what, moved, after, until)


def is_moving(endpoint: Endpoint, *what: Move) -> bool:
    """Tell whether the queue still has such a move of the endpoint to make (none named: any)."""
    return any(not what or item.payload["what"] in what for item in _open_moves(endpoint))


def step(endpoint: Endpoint, what: Move, *, after: int, until: int | None = None) -> tuple[int, int | None]:
    """Move one page of what was published after the position `after`, up to `until`; return how many that were, and where the
    next page begins, None where there is none. In a transaction, with the endpoint's row locked."""
    states, act = _ACTS[what]
    if what is Move.SEND:
        # What was discarded when the endpoint was switched on before stays so, though the queue has not got there yet.
        mine = [item.payload["until"] for item in _open_moves(endpoint) if item.payload["what"] == Move.DISCARD]
        after = max([after, *mine])
    resting = Q(lease_until__isnull=True) | Q(lease_until__lte=clock.now())  # what is in flight is its worker's to settle
    waiting = Delivery.unscoped.filter(resting, endpoint=endpoint, state__in=states, position__gt=after)
    if until is not None:
        waiting = waiting.filter(position__lte=until)
    page = list(waiting.order_by("position").values_list("pk", "position")[:PAGE])
    # Locked in the order of their ids, as everywhere, and looked at anew.
    locked = waiting.filter(pk__in=[pk for pk, _position in page]).order_by("pk").select_for_update()
    ids = list(locked.values_list("pk", flat=True))
    if ids:
        act(endpoint, Delivery.unscoped.filter(pk__in=ids))
    return len(ids), page[-1][1] if len(page) == PAGE else None


def bury(deliveries: QuerySet[Delivery], reason: DeadReason, error: str) -> None:
    """Fail these deliveries for good, and those that go out with them; what has arrived once stays delivered."""
    ids = list(deliveries.values_list("pk", flat=True))
    ended = {"finished_at": clock.now(), "last_error": error}
    for rows in (
        Delivery.unscoped.filter(pk__in=ids),
        Delivery.unscoped.filter(carrier_id__in=ids, state=DeliveryState.BATCHED),
    ):
        arrived = rows.filter(delivered_at__isnull=False)
        arrived_ids = list(arrived.values_list("pk", flat=True))
        rows.exclude(pk__in=arrived_ids).update(**ended, state=DeliveryState.FAILED, dead_reason=reason)
        arrived.filter(pk__in=arrived_ids).update(**ended, state=DeliveryState.DELIVERED, dead_reason="")


class OwedJob(LocalJob):
    """Moves one page and queues the next. A move that the endpoint's next switch has overtaken ends: that one's own goes over
    all that is left. What was to be discarded is discarded all the same."""

    kind = KIND
    max_attempts = 100

    def run(self, item: QueueItem) -> None:
        endpoint = Endpoint.unscoped.select_for_update(no_key=True).get(pk=item.payload["endpoint"], tenant_id=item.tenant_id)
        what = Move(item.payload["what"])
        deleted = endpoint.deleted_at is not None
        if deleted != (what is Move.END) or (what is Move.HOLD and endpoint.is_active):
            return
        if what is Move.SEND and not endpoint.is_active:
            return
        _limit_statements(LONGEST_LOOK.total_seconds())
        until = item.payload["until"]
        moved, after = step(endpoint, what, after=item.payload["after"], until=until)
        moved += item.payload["moved"]
        if after is None:
            _moved(endpoint, what, moved)
        else:
            _go_on(endpoint, what, moved, after, until)


def _in_time(endpoint: Endpoint, what: Move, until: int) -> tuple[int, int | None]:
    """Move the first page, unless that takes too long: then nothing, and the next page is the first."""
    try:
        with transaction.atomic():
            before = _limit_statements(LOOK_SECONDS)
            found = step(endpoint, what, after=-1, until=until)
            _limit_statements(before)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _CANCELED:
            raise
        return 0, -1
    return found


def _limit_statements(seconds: float | str) -> str:
    """Limit what a statement of this transaction may take; return the limit so far, as PostgreSQL spells it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        [[before]] = cursor.fetchall()
        limit = seconds if isinstance(seconds, str) else f"{int(seconds * 1000)}ms"
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
    return str(before)


def _go_on(endpoint: Endpoint, what: Move, moved: int, after: int, until: int) -> None:
    enqueue(
        tenant_id=endpoint.tenant_id,
        kind=KIND,
        payload={"endpoint": endpoint.pk, "what": what.value, "after": after, "until": until, "moved": moved},
        reference=("webhook", endpoint.pk),
    )


def _open_moves(endpoint: Endpoint) -> QuerySet[QueueItem]:
    found: QuerySet[QueueItem] = QueueItem.unscoped.filter(
        tenant_id=endpoint.tenant_id,
        reference_type="webhook",
        reference_id=endpoint.pk,
        kind=KIND,
        state__in=OPEN_STATES,
    )
    return found


def _moved(endpoint: Endpoint, what: Move, count: int) -> None:
    """All of it has moved."""
    if what is Move.DISCARD and count:
        audit.record(
            tenant_id=endpoint.tenant_id,
            action="endpoint.discarded",
            object_type="endpoint",
            object_id=endpoint.pk,
            object_name=endpoint.name,
            changes={"count": [None, count]},
        )


# --- What is done with a page ---------------------------------------------------------------------------------------------


def _hold(endpoint: Endpoint, rows: QuerySet[Delivery]) -> None:
    rows.update(state=DeliveryState.HELD)


def _release(endpoint: Endpoint, rows: QuerySet[Delivery]) -> None:
    now = clock.now()
    rows.update(state=DeliveryState.PENDING, due_at=now, expires_at=now + MAX_AGE)
    nudge()


def _send(endpoint: Endpoint, rows: QuerySet[Delivery]) -> None:
    tries = attempts_of(endpoint.retry_delays)
    rows.exclude(event__type=TEST_EVENT).update(attempts_allowed=F("attempts") + tries)
    _release(endpoint, rows)


def _discard(endpoint: Endpoint, rows: QuerySet[Delivery]) -> None:
    bury(rows, DeadReason.DISCARDED, "discarded when the endpoint was switched on again")


def _end(endpoint: Endpoint, rows: QuerySet[Delivery]) -> None:
    bury(rows, DeadReason.DELETED, "the endpoint was deleted")


# Not only what is held: a worker that died left its lease behind, a batch that lost its carrier gathers.
_WAITING = (DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.HELD)
_ACTS: dict[Move, tuple[tuple[DeliveryState, ...], Callable[[Endpoint, QuerySet[Delivery]], None]]] = {
    Move.HOLD: ((DeliveryState.PENDING, DeliveryState.GATHERING), _hold),
    Move.SEND: (_WAITING, _send),
    Move.RELEASE: ((DeliveryState.HELD,), _release),
    Move.DISCARD: (_WAITING, _discard),
    Move.END: (_WAITING, _end),
}
