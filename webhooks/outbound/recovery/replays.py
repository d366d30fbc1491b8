"""Replays: an endpoint's events of a window sent again in the background, counted first, with progress, and never twice.

A replay walks its events in the order of their ids. Each page of it is one transaction: what is sent again, how far it got,
and the queue's next item commit together, so that a worker that dies in between neither skips nor repeats anything.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import QueueItem
from integrations.runtime.jobs import LocalJob
from integrations.runtime.queue import enqueue
from integrations.tenancy import audit
from webhooks.outbound.endpoints.services import require_on
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import (
    DeadReason,
    Delivery,
    DeliveryState,
    Endpoint,
    Event,
    Replay,
    ReplayMode,
    ReplayState,
)
from webhooks.outbound.publishing.publish import OPERATIONAL, owe, wants
from webhooks.outbound.recovery.resending import send_again

KIND = "webhook.replay"
LONGEST = timedelta(days=90)
PAGE = 200
"""Events that one transaction looks at."""
MOST_OWED = 1000
"""A replay adds nothing while its endpoint is owed so many: it waits, and new events are not queued behind a flood."""
COUNTED_AT_MOST = 50_000
"""Events whose content a count reads at most; beyond that it is a lower bound."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 600.0

_TESTS = Q(type=TEST_EVENT) | Q(object_type="webhook", key__startswith="test_")
"""What was sent to one endpoint on request: nobody missed it."""


@dataclass(frozen=True, slots=True)
class ReplayCount:
    """What a replay would send. `exact` is false where counting stopped at `COUNTED_AT_MOST`: there are more."""

    count: int
    by_type: dict[str, int]
    exact: bool = True


def count_replay(
    *,
    endpoint: Endpoint,
    since: datetime,
    until: datetime | None = None,
    mode: str = ReplayMode.FAILED,
    types: Sequence[str] = (),
) -> ReplayCount:
    """Return how many events `start_replay` would send with these arguments, now; raise `InvalidRequest` like it."""
    end = _checked_window(since, until)
    return _count(Replay(tenant_id=endpoint.tenant_id, endpoint=endpoint, mode=mode, types=list(types), since=since, until=end))


def start_replay(
    *,
    endpoint: Endpoint,
    since: datetime,
    until: datetime | None = None,
    mode: str = ReplayMode.FAILED,
    types: Sequence[str] = (),
    requested_by: str = "",
) -> Replay:
    """Begin to send the endpoint's events of `since` <= time of publishing < `until` again, inside the tenant's scope.

    `until` is now where it is not given or lies ahead. `types` are event types or wildcards; empty: all. Each is sent by the
    rules of `retry_delivery`, with a whole schedule of tries; what a person discarded only in mode `all`. What was never owed
    becomes owed as if it had just been published. Tests are left out.

    Raises `InvalidRequest` for a window that is empty or longer than 90 days, and `Conflict` while the endpoint is off or
    another replay of it runs.
    """
    end = _checked_window(since, until)
    with transaction.atomic():
        locked = Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk, deleted_at__isnull=True)
        require_on(locked)
        if Replay.objects.filter(endpoint=locked, state=ReplayState.RUNNING).exists():
            raise Conflict("Another replay of this endpoint is running: wait for its end, or cancel it.")
        replay = Replay(
            tenant_id=locked.tenant_id,
            endpoint=locked,
            mode=mode,
            types=list(types),
            since=since,
            until=end,
            requested_by=(requested_by or audit.current_actor().name)[:150],
        )
        counted = _count(replay)
        replay.total = counted.count
        replay.detail = "" if counted.exact else "There is more than was counted."
        replay.save(force_insert=True)
        enqueue(
            tenant_id=locked.tenant_id,
            kind=KIND,
            payload={"replay": replay.pk},
            reference=("replay", replay.pk),
            key=f"{replay.pk}:0",
        )
        audit.record(
            tenant_id=locked.tenant_id,
            action="endpoint.replayed",
            object_type="endpoint",
            object_id=locked.pk,
            object_name=locked.name,
            changes={
                "replay": [None, replay.pk],
                "mode": [None, str(mode)],
                "since": [None, since.isoformat()],
                "until": [None, end.isoformat()],
            },
        )
    return replay


def cancel_replay(*, endpoint: Endpoint, replay_id: str) -> Replay:
    """End a replay that runs; what it queued so far is sent. Cancelling twice is once. Raises `Replay.DoesNotExist`, and
    `Conflict` for one that has ended otherwise."""
    with transaction.atomic():
        replay: Replay = Replay.objects.select_for_update().get(pk=replay_id, endpoint=endpoint)
        if replay.state == ReplayState.CANCELLED:
            return replay
        if replay.state != ReplayState.RUNNING:
            raise Conflict(f"This replay is {replay.state}.")
        _end(replay, ReplayState.CANCELLED, f"cancelled by {audit.current_actor().name}")
        audit.record(
            tenant_id=replay.tenant_id,
            action="endpoint.replay_cancelled",
            object_type="endpoint",
            object_id=replay.endpoint_id,
            object_name=endpoint.name,
            changes={"replay": [replay.pk, None]},
        )
    return replay


class ReplayJob(LocalJob):
    """Works off one page of a replay and queues the next."""

    kind = KIND

    def run(self, item: QueueItem) -> None:
        replay = Replay.objects.select_for_update().filter(pk=item.payload["replay"]).first()
        if replay is None or replay.state != ReplayState.RUNNING:
            return
        endpoint = Endpoint.objects.select_for_update(no_key=True).get(pk=replay.endpoint_id)
        if endpoint.deleted_at is not None:
            _end(replay, ReplayState.FAILED, "the endpoint was deleted")
            return
        room = MOST_OWED - _owed(endpoint)
        if room <= 0 or not endpoint.is_active:
            why = "waits until less is owed" if endpoint.is_active else "waits until the endpoint is on again"
            self._wait(item, replay, why)
            return
        ids = _next_ids(replay, endpoint, min(room, PAGE))
        if not ids:
            _end(replay, ReplayState.DONE, "")
            return
        _queue_page(replay, endpoint, _locked(ids))
        replay.cursor = ids[-1]  # though none of them may be there any more: what comes after them may
        replay.detail = ""
        replay.save(update_fields=["cursor", "looked_at", "queued", "detail"])
        self._go_on(item, waits=0)

    def failed(self, item: QueueItem, error: Exception) -> None:
        replay = Replay.objects.select_for_update().filter(pk=item.payload["replay"], state=ReplayState.RUNNING).first()
        if replay is not None:
            _end(replay, ReplayState.FAILED, f"it broke off: {type(error).__name__}")

    def _wait(self, item: QueueItem, replay: Replay, why: str) -> None:
        replay.detail = why
        replay.save(update_fields=["detail"])
        self._go_on(item, waits=item.payload.get("waits", 0) + 1)

    @staticmethod
    def _go_on(item: QueueItem, *, waits: int) -> None:
        # A key of its own: this item is still open, and would be taken for the new one.
        pause = min(FIRST_WAIT * 2 ** (waits - 1), LONGEST_WAIT) if waits else 0.0
        enqueue(
            tenant_id=item.tenant_id,
            kind=KIND,
            payload={"replay": item.payload["replay"], "waits": waits},
            reference=(item.reference_type, item.reference_id),
            key=f"{item.payload['replay']}:{item.pk}",
            due_at=clock.now() + timedelta(seconds=pause),
        )


def _checked_window(since: datetime, until: datetime | None) -> datetime:
    now = clock.now()
    if since >= now:
        raise InvalidRequest("This lies ahead: nothing has been published since.", attr="since")
    if until is not None and until <= since:
        raise InvalidRequest("The window ends before it begins.", attr="until")
    end = min(until or now, now)
    if end - since > LONGEST:
        raise InvalidRequest(f"The window may be {LONGEST.days} days long at most.", attr="since")
    return end


def _owed(endpoint: Endpoint) -> int:
    """Return what the endpoint is owed, each kind counted up to `MOST_OWED`. One question for each: so that every one of them
    is answered from a small index, however much the endpoint was sent in its life."""
    mine = Delivery.unscoped.filter(endpoint=endpoint)
    kinds = (
        mine.filter(state=DeliveryState.PENDING),
        mine.filter(state=DeliveryState.GATHERING),
        Delivery.unscoped.filter(state=DeliveryState.BATCHED, carrier__endpoint=endpoint, carrier__state=DeliveryState.PENDING),
    )
    return sum(kind.order_by()[:MOST_OWED].count() for kind in kinds)


def _end(replay: Replay, state: ReplayState, detail: str) -> None:
    replay.state, replay.detail, replay.finished_at = state, detail[:200], clock.now()
    replay.save(update_fields=["state", "detail", "finished_at", "cursor", "looked_at", "queued"])


# --- Which events ---------------------------------------------------------------------------------------------------------


def _candidates(replay: Replay) -> QuerySet[Event]:
    """Return the events that a replay looks at; whether its endpoint wants one that it was never owed is decided in `_fits`."""
    events = Event.unscoped.filter(tenant_id=replay.tenant_id, created__gte=replay.since, created__lt=replay.until)
    events = events.exclude(_TESTS).exclude(payload="").filter(_matching(replay.types))
    mine = Delivery.unscoped.filter(event=OuterRef("pk"), endpoint_id=replay.endpoint_id)
    # What a person discarded is not sent behind their back: it takes `all`.
    failed = mine.filter(state="failed").exclude(dead_reason=DeadReason.DISCARDED)
    finished = mine.filter(state__in=["failed", "delivered"])
    own_troubles = Q(type__startswith=OPERATIONAL, object_id=replay.endpoint_id)
    never_owed = ~Exists(mine) & _matching(replay.endpoint.events) & ~own_troubles
    if replay.mode == ReplayMode.FAILED:
        return events.filter(Exists(failed))
    if replay.mode == ReplayMode.MISSING:
        return events.filter(never_owed)
    return events.filter(Exists(finished) | never_owed)


def _matching(patterns: Sequence[str]) -> Q:
    """Return the condition for `subscribes(patterns, type)`; no patterns let every type through."""
    if not patterns or "*" in patterns:
        return Q()
    condition = Q(type__in=[each for each in patterns if not each.endswith(".*")])
    for each in patterns:
        if each.endswith(".*"):
            condition |= Q(type__startswith=each[:-1])
    return condition


def _next_ids(replay: Replay, endpoint: Endpoint, size: int) -> list[str]:
    replay.endpoint = endpoint
    return list(_candidates(replay).filter(pk__gt=replay.cursor).order_by("pk").values_list("pk", flat=True)[:size])


def _locked(ids: Sequence[str]) -> list[Event]:
    """Return these events, as far as they are still kept, their rows locked: nobody takes their payload away meanwhile."""
    return list(Event.unscoped.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk"))


def _queue_page(replay: Replay, endpoint: Endpoint, page: list[Event]) -> None:
    known = dict(Delivery.unscoped.filter(endpoint=endpoint, event__in=page).values_list("event_id", "pk"))
    queued = 0
    if known and replay.mode != ReplayMode.MISSING:
        wanted = {DeliveryState.FAILED} if replay.mode == ReplayMode.FAILED else {DeliveryState.FAILED, DeliveryState.DELIVERED}
        everything = replay.mode == ReplayMode.ALL
        sent = send_again(list(known.values()), states=wanted, whole_schedule=True, discarded=everything, recorded_as="")
        queued = len(sent.queued)
    if replay.mode != ReplayMode.FAILED:
        for event in page:
            if event.pk not in known and event.payload and _fits(endpoint, event):
                queued += len(owe(event, [endpoint]))
    replay.looked_at += len(page)
    replay.queued += queued


def _fits(endpoint: Endpoint, event: Event) -> bool:
    return wants(endpoint, event, json.loads(event.payload))


def _count(replay: Replay) -> ReplayCount:
    """Count by type. Events are read for it only where the endpoint chooses by channel or content."""
    endpoint, found = replay.endpoint, _candidates(replay)
    if replay.mode == ReplayMode.FAILED or not (endpoint.channels or endpoint.filter):
        by_type = Counter(_by_type(found))
        return ReplayCount(sum(by_type.values()), dict(sorted(by_type.items())))
    known = Exists(Delivery.unscoped.filter(event=OuterRef("pk"), endpoint_id=endpoint.pk))
    by_type = Counter(_by_type(found.filter(known)))
    looked = 0
    for event in found.filter(~known).order_by("pk")[: COUNTED_AT_MOST + 1].iterator(chunk_size=500):
        looked += 1
        if looked <= COUNTED_AT_MOST and _fits(endpoint, event):
            by_type[event.type] += 1
    return ReplayCount(sum(by_type.values()), dict(sorted(by_type.items())), exact=looked <= COUNTED_AT_MOST)


def _by_type(events: QuerySet[Event]) -> dict[str, int]:
    return dict(events.order_by().values_list("type").annotate(count=Count("pk")))
