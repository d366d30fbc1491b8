"""What somebody's lock, or one delivery that can't be ended, costs the others: nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from integrations.contracts import clock
from integrations.models import Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import FAST, MakeEndpoint, Receiver, deliver, only_delivery, publish, wait_until
from webhooks.outbound.delivery import claims, settling
from webhooks.outbound.delivery.engine import Engine
from webhooks.outbound.delivery.sender import Claimed, ErrorClass, Outcome
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint, EndpointHealth

pytestmark = pytest.mark.django_db(transaction=True)


def outcome(claimed: Claimed, status: int = 200) -> Outcome:
    now, failed = clock.now(), status >= 300
    kind = ErrorClass.HTTP_STATUS if failed else None
    return Outcome(
        claimed=claimed,
        started_at=now,
        finished_at=now,
        duration_ms=1,
        status_code=status,
        error_class=kind,
        error="no" * failed,
    )


@contextmanager
def holding(statement: str) -> Iterator[None]:
    """Hold the locks of a statement, on another connection, for the length of the block."""
    ready, done = Flag(), Flag()

    def holder() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
                ready.set()
                done.wait(60)
        finally:
            connection.close()

    thread = Thread(target=holder)
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        done.set()
        thread.join(20)


def editing(endpoint: Endpoint) -> Any:
    return holding(f"SELECT 1 FROM webhooks_outbound_endpoint WHERE id = '{endpoint.pk}' FOR NO KEY UPDATE")


# --- Burials --------------------------------------------------------------------------------------------------------------


def kill(key: str) -> str:
    """Let a delivery's worker have died over its last try; return its id."""
    past = clock.now() - timedelta(seconds=1)
    [one] = Delivery.unscoped.filter(event__key=key)
    Delivery.unscoped.filter(pk=one.pk).update(
        attempts=12, lease="00000000-0000-4000-8000-000000000000", lease_until=past, due_at=past
    )
    return str(one.pk)


def breaking_over(monkeypatch: pytest.MonkeyPatch, *ids: str) -> None:
    real: Callable[..., None] = settling._tell

    def tell(deaths: Sequence[Any], *args: Any) -> None:
        if {death.delivery_id for death in deaths} & {*ids}:
            raise RuntimeError("this one can't be told of")
        real(deaths, *args)

    monkeypatch.setattr(settling, "_tell", tell)


def test_a_burial_that_breaks_costs_nobody_a_try(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    make_endpoint(school)
    make_endpoint(studio, "/studio")
    for key in ("bad", "dead", "s1"):
        publish(school, key)
    publish(studio, "t1")
    bad, dead = kill("bad"), kill("dead")
    breaking_over(monkeypatch, bad)
    assert {Delivery.unscoped.get(pk=one.id).event.key for one in claims.claim(10)} == {"s1", "t1"}
    assert Delivery.unscoped.get(pk=dead).state == DeliveryState.FAILED
    with CaptureQueriesContext(connection) as queries:
        assert claims.claim(10) == []
    assert bad not in str(queries.captured_queries), "it does not come up at each turn"
    monkeypatch.undo()
    clock.advance(claims.LEASE.total_seconds())
    claims.claim(10)
    assert Delivery.unscoped.get(pk=bad).state == DeliveryState.FAILED


def test_one_that_can_never_be_buried_does_not_stand_before_the_others(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(school, max_in_flight=1)
    for key in ("bad", "k1", "k2"):
        publish(school, key)
    breaking_over(monkeypatch, kill("bad"))
    deliver()
    assert len(receiver.requests) == 2
    states = dict(Delivery.unscoped.filter(event__key__in=["bad", "k1", "k2"]).values_list("event__key", "state"))
    assert states == {"bad": "pending", "k1": "delivered", "k2": "delivered"}


def test_who_died_at_an_endpoint_that_is_being_edited_is_buried_later(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school, "dead")
    publish(school, "k1")
    dead = kill("dead")
    with editing(endpoint):
        [one] = claims.claim(10)
        assert Delivery.unscoped.get(pk=dead).state == DeliveryState.PENDING
    settling.settle([outcome(one)])
    clock.advance(claims.LEASE.total_seconds())
    assert claims.claim(10) == []
    assert Delivery.unscoped.get(pk=dead).state == DeliveryState.FAILED


def test_an_engine_does_not_bury_where_it_claims(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webhooks.outbound.delivery import burying

    make_endpoint(school)
    publish(school, "dead")
    publish(school, "k1")
    dead, went_out = kill("dead"), []
    real = burying.bury

    def bury(ids: Sequence[str], **fields: Any) -> int:
        wait_until(lambda: bool(receiver.requests))
        went_out.append(len(receiver.requests))
        return real(ids, **fields)

    monkeypatch.setattr(burying, "bury", bury)
    deliver(stop=lambda: Delivery.unscoped.get(pk=dead).state == DeliveryState.FAILED)
    assert {*went_out} == {1}, "what was claimed with it went out before it was ended"


# --- Outcomes -------------------------------------------------------------------------------------------------------------


def test_outcomes_at_an_endpoint_that_is_being_edited_cost_the_others_nothing(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint
) -> None:
    held, _ = make_endpoint(school)
    make_endpoint(studio, "/studio")
    publish(school, "s1")
    publish(studio, "t1")
    outcomes = [outcome(one, 500) for one in claims.claim(10)]
    with editing(held):
        left = settling.settle(outcomes)
        assert [each.claimed.endpoint_id for each in left] == [held.pk]
        assert DeliveryAttempt.unscoped.get().tenant_id == studio.pk
    assert settling.settle(left) == []
    assert DeliveryAttempt.unscoped.count() == 2
    assert Delivery.unscoped.filter(lease__isnull=False).count() == 0


def test_a_health_that_is_held_costs_the_others_no_more_than_a_moment(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(settling, "ALONE_SECONDS", 0.05)
    held, _ = make_endpoint(school)
    make_endpoint(studio, "/studio")
    publish(school, "s1")
    publish(studio, "t1")
    outcomes = [outcome(one, 500) for one in claims.claim(10)]
    with holding(f"SELECT 1 FROM webhooks_outbound_endpointhealth WHERE endpoint_id = '{held.pk}' FOR UPDATE"):
        left = settling.settle(outcomes)
        assert [each.claimed.endpoint_id for each in left] == [held.pk]
        assert DeliveryAttempt.unscoped.get().tenant_id == studio.pk
    assert settling.settle(left) == []
    assert set(EndpointHealth.unscoped.values_list("failures", flat=True)) == {1}


def test_an_arrival_whose_row_is_held_waits_and_the_others_do_not(
    school: Tenant, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(settling, "ALONE_SECONDS", 0.05)
    make_endpoint(school)
    make_endpoint(school, "/other")
    EndpointHealth.unscoped.update(last_success_at=clock.now())
    publish(school)
    held, free = claims.claim(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")  # as the worker's own, but for its length
    try:
        with holding(f"SELECT 1 FROM webhooks_outbound_delivery WHERE id = '{held.id}' FOR UPDATE"):
            left = settling.settle([outcome(held), outcome(free)])
            assert [each.claimed.id for each in left] == [held.id]
            assert Delivery.unscoped.get(pk=free.id).state == DeliveryState.DELIVERED
        assert settling.settle(left) == []
    finally:
        connection.close()
    assert set(Delivery.unscoped.values_list("state", flat=True)) == {"delivered"}


def test_an_engine_keeps_what_it_could_not_settle_for_as_long_as_its_lease_lasts(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, _ = make_endpoint(school)
    make_endpoint(studio, "/studio")
    publish(school, "s1")
    publish(studio, "t1")
    tried: list[int] = []
    real = settling.settle

    def settle(outcomes: Sequence[Outcome]) -> list[Outcome]:
        left = real(outcomes)
        tried.extend(len(left) for _ in left)
        return left

    monkeypatch.setattr(settling, "settle", settle)
    limits = replace(FAST, settle_patience=0.0, settle_again=0.02)
    delivered = Delivery.unscoped.filter(state=DeliveryState.DELIVERED)
    runner = Thread(target=deliver, args=(limits,), kwargs={"stop": lambda: delivered.count() == 2})
    with editing(held):
        runner.start()
        wait_until(lambda: len(tried) > 5 and delivered.count() == 1)
    runner.join(60)
    assert delivered.count() == 2
    assert len(receiver.requests) == 2, "it was not sent again"


def test_what_was_lost_while_it_waited_to_be_settled_is_let_go(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    held, _ = make_endpoint(school)
    publish(school)
    one = Engine(replace(FAST, settle_again=0.02, renew=0.02, stop_grace=0.0, settle_patience=60.0))
    done = Flag()
    begun = time.monotonic()
    runner = Thread(target=lambda: asyncio.run(one.run(done.is_set, begun + 60)))
    with editing(held):
        runner.start()
        wait_until(lambda: bool(one._held_up))
        # As another engine leaves it that has claimed it meanwhile.
        Delivery.unscoped.update(fence=9, lease_until=clock.now() + timedelta(hours=1))
        wait_until(lambda: not one._held_up and not one._held)
        done.set()
        runner.join(60)
    assert not runner.is_alive()
    assert (only_delivery().state, DeliveryAttempt.unscoped.count()) == (DeliveryState.PENDING, 0)


def test_there_is_a_second_try_however_long_the_first_took(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(school)
    publish(school)
    real, troubles = settling.settle, [OperationalError("canceling statement due to statement timeout")]

    def settle(outcomes: Sequence[Outcome]) -> list[Outcome]:
        if troubles:
            wait_until(lambda: time.monotonic() > begun + 0.2)  # beyond the patience
            raise troubles.pop()
        return real(outcomes)

    monkeypatch.setattr(settling, "settle", settle)
    begun = time.monotonic()
    deliver(replace(FAST, settle_patience=0.1))
    assert (len(receiver.requests), only_delivery().state) == (1, DeliveryState.DELIVERED)
