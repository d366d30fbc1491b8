"""Replays: what is counted, what is sent again, and that nothing is skipped or taken twice whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.models import AuditEntry, QueueItem, QueueState, Tenant
from integrations.runtime.worker import claim, recover_lapsed, run
from tests.factories import START, MovableClock, make_tenant
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event, Replay, ReplayState
from webhooks.outbound.publishing import formats
from webhooks.outbound.publishing.publish import owe, publish
from webhooks.outbound.recovery import dead_letters, replays
from webhooks.outbound.recovery.replays import ReplayJob, cancel_replay, count_replay, start_replay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
HOUR = timedelta(hours=1)
SINCE = START - HOUR


@pytest.fixture
def school(db: None) -> Iterator[Tenant]:
    tenant = make_tenant("school")
    with scope(tenant=tenant):
        yield tenant


@pytest.fixture
def endpoint(school: Tenant) -> Endpoint:
    return make_endpoint(school)


def make_endpoint(tenant: Tenant, **fields: Any) -> Endpoint:
    return services.create_endpoint(tenant=tenant, **{"url": "http://127.0.0.1:8999/x", "events": ["*"], **fields})[0]


def add_events(tenant: Tenant, count: int, *, type: str = "payment.completed", name: str = "e", **content: Any) -> list[Event]:
    """Store events as if nobody had wanted them when they were published."""
    made = []
    for n in range(count):
        event = Event(tenant=tenant, type=type, key=f"{name}{n}", created=START - HOUR / 2, spread_at=START, payload="")
        event.payload = formats.standard(event.pk, type, event.created, {"id": "pay_1", **content})
        made.append(event)
    return list(Event.unscoped.bulk_create(made))


def owed(endpoint: Endpoint, events: list[Event], state: str) -> list[str]:
    """Give the endpoint a delivery of each event that ended so; return their ids."""
    rows = [each for event in events for each in owe(event, [endpoint])]
    ids = [each.pk for each in rows]
    Delivery.unscoped.filter(pk__in=ids).update(state=state, attempts=3, finished_at=START, dead_reason="exhausted")
    return ids


def settle(state: str = DeliveryState.DELIVERED, **rows: Any) -> int:
    """End what is pending, in place of an engine."""
    found: int = Delivery.unscoped.filter(state=DeliveryState.PENDING, **rows).update(state=state, finished_at=START)
    return found


def work_off() -> None:
    """Run what is due: replays need no network, so that this works inside a test's transaction too."""
    while items := claim(20):
        for item in items:
            run(item)


@pytest.mark.django_db(transaction=True)
def test_over_a_hundred_interleaved_failures_none_missed_and_none_repeated(
    school: Tenant, endpoint: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 events, each third failed, pages of 200; new events arrive, some fail again at once, and a worker dies."""
    events = add_events(school, 1000)
    failed = owed(endpoint, events[::3], "failed")
    owed(endpoint, events[1::3], "delivered")
    make_endpoint(school, events=["message.*"])
    counted = count_replay(endpoint=endpoint, since=SINCE)
    assert (counted.count, counted.by_type, counted.exact) == (len(failed), {"payment.completed": len(failed)}, True)
    replay = start_replay(endpoint=endpoint, since=SINCE)
    assert (replay.total, replay.state, replay.until) == (334, ReplayState.RUNNING, START)

    sent: list[str] = []
    pages = 0
    queue_page = replays._queue_page

    def dying(*args: Any) -> None:
        queue_page(*args)
        if pages == 1:
            raise SystemExit

    for _round in range(20):
        monkeypatch.setattr(replays, "_queue_page", dying if _round == 1 else queue_page)
        clock.advance(120)
        recover_lapsed()
        for item in claim(1):
            with suppress(SystemExit):
                run(item)
        batch = list(Delivery.objects.filter(state=DeliveryState.PENDING).values_list("pk", flat=True))
        assert bool(batch) == (_round in (0, 2)), "what a killed worker did went with it"
        sent += batch
        pages += bool(batch)
        # Some fail once more before the replay is over, and new ones arrive and fail: none of that is this run's.
        Delivery.unscoped.filter(pk__in=batch[::2]).update(state="failed")
        settle()
        publish(tenant_id=school.pk, type="payment.completed", object={"id": "new"}, key=f"new{_round}")
        settle("failed")
        if Replay.objects.get().state != ReplayState.RUNNING:
            break

    assert sorted(sent) == sorted(failed)
    replay.refresh_from_db()
    assert (replay.state, replay.looked_at, replay.queued) == (ReplayState.DONE, 334, 334)
    assert set(Delivery.objects.filter(pk__in=failed).values_list("attempts_allowed", flat=True)) == {3 + 12}
    assert QueueItem.objects.exclude(state=QueueState.COMPLETED).count() == 0


def worked_off(clock: MovableClock, rounds: int = 10) -> Replay:
    """Run the replay to its end, with nothing delivered meanwhile; return it."""
    for _ in range(rounds):
        work_off()
        clock.advance(1)
    return Replay.objects.order_by("-pk")[0]


def test_missing_is_what_it_wants_and_was_never_owed(school: Tenant, clock: MovableClock) -> None:
    endpoint = make_endpoint(school, events=["payment.*"], channels=["fees"], filter={"data.object.amount": {"$gt": 10}})
    other = make_endpoint(school, events=["message.failed"])
    wanted = add_events(school, 3, amount=11)
    add_events(school, 1, name="small", amount=5)
    unlabelled = add_events(school, 1, name="unlabelled", amount=11)
    add_events(school, 1, name="type", type="message.failed", amount=11)
    known = add_events(school, 1, name="known", amount=11)
    erased = add_events(school, 1, name="erased", amount=11)
    Event.unscoped.exclude(pk__in=[each.pk for each in unlabelled]).update(channels=["fees", "else"])
    Event.unscoped.filter(pk=erased[0].pk).update(payload="", erased_at=START)
    owed(endpoint, known, "delivered")
    with scope(tenant=school):
        services.send_test(endpoint=other)
    Event.unscoped.filter(type="webhook.test").update(created=START - HOUR / 2, channels=["fees"])

    counted = count_replay(endpoint=endpoint, since=SINCE, mode="missing")
    assert (counted.count, counted.by_type) == (3, {"payment.completed": 3})
    start_replay(endpoint=endpoint, since=SINCE, mode="missing")
    replay = worked_off(clock)
    assert (replay.state, replay.total, replay.queued) == (ReplayState.DONE, 3, 3)
    made = Delivery.objects.filter(endpoint=endpoint, state=DeliveryState.PENDING)
    assert sorted(made.values_list("event_id", flat=True)) == sorted(each.pk for each in wanted)
    assert set(made.values_list("attempts", "attempts_allowed")) == {(0, 12)}


def test_missing_without_filter_counts_what_it_sends_and_no_tests(school: Tenant, clock: MovableClock) -> None:
    endpoint = make_endpoint(school)
    other = make_endpoint(school)
    services.send_test(endpoint=other)
    services.dispatch(endpoint=other, type="order.created", object={"id": "1"})
    Event.unscoped.update(created=START - HOUR / 2)
    Event.unscoped.create(
        tenant=school,
        type="webhook.endpoint_failing",
        key="own",
        object_type="webhook",
        object_id=endpoint.pk,
        created=START - HOUR / 2,
        spread_at=START,
        payload="{}",
    )
    add_events(school, 2)
    assert count_replay(endpoint=endpoint, since=SINCE, mode="missing").by_type == {"payment.completed": 2}
    start_replay(endpoint=endpoint, since=SINCE, mode="missing")
    assert worked_off(clock).queued == 2


def test_all_is_failed_and_delivered_and_missing_but_not_what_is_owed_anyway(
    school: Tenant, endpoint: Endpoint, clock: MovableClock
) -> None:
    events = add_events(school, 5)
    failed, delivered, waiting = (owed(endpoint, [event], state)[0] for event, state in zip(
        events, ("failed", "delivered", "pending"), strict=False
    ))  # fmt: skip
    Delivery.unscoped.filter(pk=waiting).update(attempts=1)
    assert count_replay(endpoint=endpoint, since=SINCE, mode="all").count == 4
    start_replay(endpoint=endpoint, since=SINCE, mode="all")
    assert worked_off(clock).queued == 4
    states = {row.pk: (row.state, row.attempts, row.attempts_allowed) for row in Delivery.objects.all()}
    assert states[failed] == states[delivered] == ("pending", 3, 3 + 12)
    assert states[waiting] == ("pending", 1, 12)
    assert len(states) == 5


def test_what_a_person_discarded_goes_again_only_with_all(school: Tenant, endpoint: Endpoint, clock: MovableClock) -> None:
    kept, aside = owed(endpoint, add_events(school, 2), "failed")
    dead_letters.discard(ids=[aside])
    assert count_replay(endpoint=endpoint, since=SINCE).count == 1
    start_replay(endpoint=endpoint, since=SINCE)
    work_off()
    assert Delivery.objects.get(state="pending").pk == kept
    assert Delivery.objects.get(pk=kept).attempts_allowed == 3 + 12, "a whole schedule"
    settle()
    clock.advance(seconds=1)
    start_replay(endpoint=endpoint, since=SINCE, mode="all")
    work_off()
    assert set(Delivery.objects.filter(state="pending").values_list("pk", flat=True)) == {kept, aside}
    assert not AuditEntry.objects.filter(action__in=["endpoint.resent", "endpoint.redriven"]).exists(), "it is on record once"


def test_what_is_deleted_meanwhile_does_not_end_it(school: Tenant, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "PAGE", 2)
    failed = owed(endpoint, add_events(school, 5), "failed")
    next_ids = replays._next_ids

    def deleting(*args: Any) -> list[str]:
        ids = next_ids(*args)
        if args[0].looked_at == 0:
            Event.unscoped.filter(pk__in=ids).delete()
        return ids

    monkeypatch.setattr(replays, "_next_ids", deleting)
    replay = start_replay(endpoint=endpoint, since=SINCE)
    for _page in range(2):
        [item] = claim(1)
        run(item)
    monkeypatch.setattr(replays, "_next_ids", next_ids)
    work_off()
    replay.refresh_from_db()
    assert (replay.state, replay.queued) == (ReplayState.DONE, 1)
    assert Delivery.objects.get(state="pending").pk == failed[4]


def test_types_and_window_narrow_it_down(school: Tenant, endpoint: Endpoint, clock: MovableClock) -> None:
    for type in ("payment.completed", "payment.failed", "message.failed", "paymentx.completed"):
        owed(endpoint, add_events(school, 2, type=type, name=type), "failed")
    first, last = Event.unscoped.order_by("pk")[:2]
    Event.unscoped.filter(pk=first.pk).update(created=SINCE)  # included
    Event.unscoped.filter(pk=last.pk).update(created=START - HOUR / 4)  # not: the window ends there

    def count(**more: Any) -> dict[str, int]:
        return count_replay(endpoint=endpoint, since=SINCE, until=START - HOUR / 4, **more).by_type

    assert count(types=["payment.*"]) == {"payment.completed": 1, "payment.failed": 2}
    assert count(types=["message.failed", "payment.completed"]) == {"payment.completed": 1, "message.failed": 2}
    assert sum(count(types=["*"]).values()) == sum(count().values()) == 7
    start_replay(endpoint=endpoint, since=SINCE, until=START - HOUR / 4, types=["payment.*"])
    assert worked_off(clock).queued == 3


@pytest.mark.parametrize(
    ("since", "until", "attr"),
    [
        (START, None, "since"),
        (START + HOUR, None, "since"),
        (START - HOUR, START - HOUR, "until"),
        (START - timedelta(days=90, seconds=1), None, "since"),
    ],
)
def test_windows_that_are_none(endpoint: Endpoint, since: Any, until: Any, attr: str) -> None:
    for act in (count_replay, start_replay):
        with pytest.raises(InvalidRequest) as raised:
            act(endpoint=endpoint, since=since, until=until)
        assert raised.value.attr == attr
    assert Replay.objects.count() == 0


def test_an_end_that_lies_ahead_is_now(endpoint: Endpoint) -> None:
    assert start_replay(endpoint=endpoint, since=SINCE, until=START + HOUR).until == START


def test_one_at_a_time_and_not_while_it_is_off(school: Tenant, endpoint: Endpoint, clock: MovableClock) -> None:
    first = start_replay(endpoint=endpoint, since=SINCE)
    with pytest.raises(Conflict, match="Another replay"):
        start_replay(endpoint=endpoint, since=SINCE)
    start_replay(endpoint=make_endpoint(school), since=SINCE)  # of another endpoint is another matter
    cancel_replay(endpoint=endpoint, replay_id=first.pk)
    services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
    with pytest.raises(Conflict, match="switched off"):
        start_replay(endpoint=endpoint, since=SINCE)
    assert Replay.objects.filter(endpoint=endpoint).count() == 1


def test_cancelling_ends_it_between_two_pages(
    school: Tenant, endpoint: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "PAGE", 2)
    owed(endpoint, add_events(school, 5), "failed")
    replay = start_replay(endpoint=endpoint, since=SINCE)
    [item] = claim(1)
    run(item)
    for _ in range(2):
        assert cancel_replay(endpoint=endpoint, replay_id=replay.pk).state == ReplayState.CANCELLED
    done = worked_off(clock)
    assert (done.state, done.queued, done.looked_at) == (ReplayState.CANCELLED, 2, 2)
    assert Delivery.objects.filter(state=DeliveryState.PENDING).count() == 2
    actions = AuditEntry.objects.filter(action__startswith="endpoint.replay").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["endpoint.replayed", "endpoint.replay_cancelled"]


def test_what_is_done_cant_be_cancelled_and_what_is_elsewhere_is_not_there(
    school: Tenant, endpoint: Endpoint, clock: MovableClock
) -> None:
    replay = start_replay(endpoint=endpoint, since=SINCE)
    with pytest.raises(Replay.DoesNotExist):
        cancel_replay(endpoint=make_endpoint(school), replay_id=replay.pk)
    assert worked_off(clock).state == ReplayState.DONE
    with pytest.raises(Conflict, match="done"):
        cancel_replay(endpoint=endpoint, replay_id=replay.pk)


def test_it_never_floods(school: Tenant, endpoint: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "MOST_OWED", 5)
    monkeypatch.setattr(replays, "PAGE", 3)
    owed(endpoint, add_events(school, 12), "failed")
    start_replay(endpoint=endpoint, since=SINCE)
    most = 0
    for _ in range(200):
        work_off()
        waiting = Delivery.objects.filter(state=DeliveryState.PENDING).count()
        most = max(most, waiting)
        clock.advance(60)
        if waiting == 5 and Replay.objects.get().detail == "waits until less is owed":
            settle()
        if Replay.objects.get().state != ReplayState.RUNNING:
            break
    replay = Replay.objects.get()
    assert (replay.state, replay.queued, replay.detail, most) == (ReplayState.DONE, 12, "", 5)
    assert QueueItem.objects.count() < 30


def test_it_waits_while_the_endpoint_is_off_and_ends_with_it(school: Tenant, endpoint: Endpoint, clock: MovableClock) -> None:
    owed(endpoint, add_events(school, 3), "failed")
    replay = start_replay(endpoint=endpoint, since=SINCE)
    services.disable_endpoint(endpoint_id=endpoint.pk, tenant_id=school.pk, reason="it keeps failing")
    for _ in range(12):
        work_off()
        clock.advance(600)
    replay.refresh_from_db()
    assert (replay.state, replay.queued, replay.detail) == ("running", 0, "waits until the endpoint is on again")
    assert QueueItem.objects.count() < 25, "it waits longer and longer"
    services.delete_endpoint(endpoint_id=endpoint.pk)
    work_off()
    replay.refresh_from_db()
    assert (replay.state, replay.detail) == (ReplayState.FAILED, "the endpoint was deleted")


def test_a_replay_that_keeps_breaking_is_failed_and_says_so(
    school: Tenant, endpoint: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("bug")

    owed(endpoint, add_events(school, 1), "failed")
    start_replay(endpoint=endpoint, since=SINCE)
    monkeypatch.setattr(replays, "_queue_page", broken)
    for _ in range(ReplayJob.max_attempts):
        work_off()
        clock.advance(hours=12)
    replay = Replay.objects.get()
    assert (replay.state, replay.detail) == (ReplayState.FAILED, "it broke off: RuntimeError")
    start_replay(endpoint=endpoint, since=clock() - HOUR)  # the way is free again


def test_no_tenant_replays_anothers_events(school: Tenant, endpoint: Endpoint, clock: MovableClock) -> None:
    studio = make_tenant("studio")
    add_events(school, 2)
    with scope(tenant=studio):
        theirs = add_events(studio, 3)
    start_replay(endpoint=endpoint, since=SINCE, mode="all")
    assert worked_off(clock).queued == 2
    assert Delivery.unscoped.filter(event__in=theirs).count() == 0
    assert set(Delivery.unscoped.values_list("tenant_id", flat=True)) == {school.pk}


def test_counting_by_content_stops_somewhere_and_says_so(
    school: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(replays, "COUNTED_AT_MOST", 2)
    endpoint = make_endpoint(school, filter={"type": "payment.completed"})
    add_events(school, 3)
    counted = count_replay(endpoint=endpoint, since=SINCE, mode="missing")
    assert (counted.count, counted.exact) == (2, False)
    replay = start_replay(endpoint=endpoint, since=SINCE, mode="missing")
    assert (replay.total, replay.detail) == (2, "There is more than was counted.")
    assert worked_off(clock).queued == 3
