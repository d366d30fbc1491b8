"""Events without deliveries: made later where many want them, found where a publisher left none."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.models import Tenant
from integrations.runtime import schedules
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import MakeEndpoint, Receiver, deliver, publish
from webhooks.outbound.delivery import claims
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, Endpoint, Event
from webhooks.outbound.publishing import sweeping
from webhooks.outbound.publishing.publish import SPREAD_AT_ONCE

pytestmark = pytest.mark.django_db(transaction=True)

MANY = SPREAD_AT_ONCE + 10


@pytest.fixture
def many(school: Tenant, make_endpoint: MakeEndpoint) -> list[Endpoint]:
    return [make_endpoint(school, f"/{number}")[0] for number in range(MANY)]


def test_what_many_want_is_delivered_soon(school: Tenant, receiver: Receiver, many: list[Endpoint]) -> None:
    event_id = publish(school)
    assert (Delivery.unscoped.count(), Event.unscoped.get().spread_at) == (0, None)
    deliver()
    assert {request.path for request in receiver.requests} == {f"/{number}" for number in range(MANY)}
    assert {request.headers["webhook-id"] for request in receiver.requests} == {event_id}
    assert len(receiver.requests) == MANY
    assert Event.unscoped.get().spread_at is not None
    assert sweeping.sweep() == 0


def test_only_what_wants_it_is_owed_it(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint, many: list[Endpoint]
) -> None:
    off, other, gone = many[:3]
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=off.pk, changes={"is_active": False})
        services.update_endpoint(endpoint_id=other.pk, changes={"events": ["payment.failed"]})
        services.delete_endpoint(endpoint_id=gone.pk)
    foreign, _ = make_endpoint(studio, "/foreign")
    Delivery.unscoped.all().delete()
    Event.unscoped.all().delete()
    publish(school)
    assert sweeping.sweep() == 1
    states = dict(Delivery.unscoped.values_list("endpoint_id", "state"))
    assert set(states) == {endpoint.pk for endpoint in many} - {other.pk, gone.pk}
    assert foreign.pk not in states
    assert {state for endpoint_id, state in states.items() if endpoint_id != off.pk} == {"pending"}
    assert states[off.pk] == "held"


def test_a_crash_in_between_leaves_nothing_and_the_next_makes_all(
    school: Tenant, many: list[Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(school)
    real, calls = sweeping.owe, []

    def crashing(event: Event, endpoints: Any) -> Any:
        calls.append(len(endpoints))
        if len(calls) == 2:
            raise RuntimeError("the worker dies here")
        return real(event, endpoints)

    monkeypatch.setattr(sweeping, "AT_ONCE", 25)
    monkeypatch.setattr(sweeping, "owe", crashing)
    assert sweeping.sweep() == 0
    assert (calls, Delivery.unscoped.count(), Event.unscoped.get().spread_at) == ([25, 25], 0, None)
    assert sweeping.sweep() == 1
    assert calls == [25, 25, 25, 25, 10]
    assert Delivery.unscoped.count() == MANY
    assert Event.unscoped.get().spread_at is not None


def test_some_deliveries_that_are_there_already_are_left_alone(school: Tenant, many: list[Endpoint]) -> None:
    publish(school)
    event = Event.unscoped.get()
    sweeping.owe(event, many[:7])
    before = set(Delivery.unscoped.values_list("pk", flat=True))
    assert sweeping.sweep() == 1
    after = set(Delivery.unscoped.values_list("pk", flat=True))
    assert (len(after), before <= after) == (MANY, True)


def test_two_sweepers_at_once_make_each_once(school: Tenant, many: list[Endpoint]) -> None:
    for number in range(6):
        publish(school, f"k{number}")
    barrier, counts = Barrier(2), []

    def sweeper() -> None:
        try:
            barrier.wait(10)
            counts.append(sweeping.sweep())
        finally:
            connection.close()

    threads = [Thread(target=sweeper) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(counts) == 6
    assert Delivery.unscoped.count() == 6 * MANY


def test_one_that_cant_be_spread_does_not_hold_up_the_others(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    for key in ("broken", "good", "erased"):
        publish(school, key)
    Delivery.unscoped.all().delete()
    Event.unscoped.update(spread_at=None)
    Event.unscoped.filter(key="broken").update(payload="{", created=clock.now() - timedelta(hours=1))
    Event.unscoped.filter(key="erased").update(payload="")
    assert sweeping.sweep() == 2
    assert list(Delivery.unscoped.values_list("event__key", flat=True)) == ["good"]
    assert list(Event.unscoped.filter(spread_at__isnull=True).values_list("key", flat=True)) == ["broken"]


def test_engines_look_at_fresh_events_only_and_the_tick_at_all(school: Tenant, many: list[Endpoint]) -> None:
    publish(school, "old")
    Event.unscoped.update(created=clock.now() - sweeping.FRESH - timedelta(seconds=1))
    publish(school, "new")
    assert sweeping.sweep(within=sweeping.FRESH) == 1
    assert set(Delivery.unscoped.values_list("event__key", flat=True)) == {"new"}
    assert sweeping.sweep() == 1
    ticks = {tick.function: tick.minutes for tick in schedules.TICKS}
    assert ticks["webhooks.outbound.publishing.sweeping.tick"] == 1


def test_what_was_owed_to_an_endpoint_in_the_moment_of_its_deletion_ends(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    with scope(tenant=school):
        services.delete_endpoint(endpoint_id=endpoint.pk)
    Delivery.unscoped.update(state="pending", finished_at=None, dead_reason="")  # as its publisher commits after that
    assert sweeping.tick() == {"spread": 0, "orphans": 1, "released": 0}
    row = Delivery.unscoped.get()
    assert (row.state, row.dead_reason, row.last_error) == ("failed", "deleted", "the endpoint was deleted")
    assert sweeping.tick() == {"spread": 0, "orphans": 0, "released": 0}
    assert receiver.requests == []


def test_an_event_that_is_not_committed_is_not_swept(school: Tenant, many: list[Endpoint]) -> None:
    with transaction.atomic():
        publish(school)
        found: list[int] = []

        def sweeper() -> None:
            try:
                found.append(sweeping.sweep())
            finally:
                connection.close()

        thread = Thread(target=sweeper)
        thread.start()
        thread.join(20)
        assert found == [0]
        transaction.set_rollback(True)
    assert sweeping.sweep() == 0
    assert (Event.unscoped.count(), Delivery.unscoped.count()) == (0, 0)


def test_what_is_held_though_its_endpoint_is_on_goes_out(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    off, _ = make_endpoint(school, "/off")
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=off.pk, changes={"is_active": False})
    publish(school)
    clock.advance(60)
    # As a publisher commits it who had found the endpoint off, after it was switched on.
    Delivery.unscoped.filter(endpoint=endpoint).update(state="held", expires_at=clock())
    assert sweeping.tick()["released"] == 1
    row = Delivery.unscoped.get(endpoint=endpoint)
    assert (row.state, row.due_at, row.expires_at) == ("pending", clock(), clock() + MAX_AGE)
    assert Delivery.unscoped.get(endpoint=off).state == "held"
    assert [each.id for each in claims.claim(10)] == [row.pk]


def test_the_daily_look_finds_what_no_tick_found(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    on, _ = make_endpoint(school)
    gone, _ = make_endpoint(school, "/gone")
    publish(school)
    with scope(tenant=school):
        services.delete_endpoint(endpoint_id=gone.pk)
    Delivery.unscoped.update(state="held", finished_at=None, dead_reason="")
    clock.advance(days=3)
    assert sweeping.tick() == {"spread": 0, "orphans": 0, "released": 0}
    assert sweeping.tidy(thoroughly=True) == {"orphans": 1, "released": 1}
    assert dict(Delivery.unscoped.values_list("endpoint_id", "state")) == {on.pk: "pending", gone.pk: "failed"}


@pytest.mark.parametrize("state", ["pending", "gathering"])
def test_what_comes_back_to_a_deleted_endpoint_ends_however_late(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, state: str
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    with scope(tenant=school):
        services.delete_endpoint(endpoint_id=endpoint.pk)
    Delivery.unscoped.update(state=state, finished_at=None, dead_reason="")
    clock.advance(days=30)
    assert sweeping.tick()["orphans"] == 1
    assert Delivery.unscoped.get().dead_reason == "deleted"


# --- In turns -------------------------------------------------------------------------------------------------------------


def unspread(tenant: Tenant, keys: list[str]) -> None:
    for key in keys:
        publish(tenant, key)
    Event.unscoped.filter(tenant=tenant).update(spread_at=None)


def test_tenants_take_turns_and_each_keeps_its_order(school: Tenant, studio: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    unspread(school, ["s1", "s2", "s3"])
    unspread(studio, ["t1"])
    spread: list[str] = []
    monkeypatch.setattr(sweeping, "wanted_by", lambda event: spread.append(event.key) or [])
    assert sweeping.sweep(stop=lambda: len(spread) == 3) == 3
    assert spread == ["s1", "t1", "s2"]
    assert sweeping.sweep() == 1
    assert spread == ["s1", "t1", "s2", "s3"]


def test_nobody_overtakes_who_is_at_work_on_a_tenant(school: Tenant, studio: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    unspread(school, ["s1", "s2"])
    unspread(studio, ["t1"])
    spread: list[str] = []
    others: list[int] = []

    def at_work(event: Event) -> list[Endpoint]:
        spread.append(event.key)
        if event.key == "s1":
            thread = Thread(target=other)
            thread.start()
            thread.join(20)
        return []

    def other() -> None:
        try:
            others.append(sweeping.sweep())
        finally:
            connection.close()

    monkeypatch.setattr(sweeping, "wanted_by", at_work)
    assert sweeping.sweep() == 2
    assert others == [1]
    assert spread == ["s1", "t1", "s2"]
