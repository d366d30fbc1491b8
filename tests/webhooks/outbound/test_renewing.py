"""Leases are renewed while their worker lives, and only while they are its own."""

from __future__ import annotations

from datetime import timedelta
from threading import Event as Flag
from threading import Thread

import pytest
from django.db import InterfaceError, OperationalError

from integrations.models import Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import (
    Answer,
    MakeEndpoint,
    Receiver,
    all_attempts,
    deliver,
    only_delivery,
    publish,
    wait_until,
)
from webhooks.outbound.delivery import claims, renewing, settling
from webhooks.outbound.delivery.engine import Limits
from webhooks.outbound.delivery.sender import ErrorClass, Outcome, Timeouts
from webhooks.outbound.models import Delivery, DeliveryState

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = Limits(poll=0.05, stop_check=0.02, renew=0.05, timeouts=Timeouts(connect=10.0, total=60.0))


def test_a_renewed_lease_outlives_its_first_term(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    make_endpoint(school)
    publish(school)
    [claimed] = claims.claim(10)
    clock.advance(29)
    assert renewing.renew([claimed.lease]) == set()
    row = only_delivery()
    assert (row.lease_until, row.due_at) == (clock() + timedelta(seconds=30), clock() + timedelta(seconds=30))
    clock.advance(29)
    assert claims.claim(10) == []
    clock.advance(1)
    assert [each.fence for each in claims.claim(10)] == [2]


def test_a_lease_that_is_no_longer_ours_is_left_alone_and_named(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school)
    publish(school, "k1")
    publish(school, "k2")
    first = {each.message_id: each for each in claims.claim(10)}
    clock.advance(30)
    second = {each.message_id: each for each in claims.claim(1)}
    [message_id] = second
    until = Delivery.unscoped.get(pk=second[message_id].id).lease_until
    clock.advance(5)
    assert renewing.renew(each.lease for each in first.values()) == {first[message_id].lease}
    assert Delivery.unscoped.get(pk=second[message_id].id).lease_until == until

    done = second[message_id]
    settling.settle([Outcome(claimed=done, started_at=clock(), finished_at=clock(), duration_ms=1, status_code=200)])
    assert renewing.renew([done.lease]) == {done.lease}
    assert Delivery.unscoped.get(pk=done.id).state == DeliveryState.DELIVERED
    assert renewing.renew([]) == set()


def test_an_engine_keeps_what_is_in_flight(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [
        InterfaceError("it is closed"),
        OperationalError("the connection is lost"),
        ValueError("a bug"),
    ]
    real = renewing.renew

    def once_away(leases: object) -> object:
        if failures:
            raise failures.pop()
        return real(leases)  # type: ignore[arg-type]

    monkeypatch.setattr(renewing, "renew", once_away)
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold)]
    publish(school)
    runner = Thread(target=deliver, args=(QUICK,))
    runner.start()
    try:
        wait_until(lambda: len(receiver.requests) == 1)
        for _ in range(4):
            now = clock.advance(25)
            wait_until(lambda now=now: only_delivery().lease_until == now + claims.LEASE)
        assert claims.claim(10) == []  # another engine finds nothing
    finally:
        hold.set()
        runner.join(60)
    assert only_delivery().state == DeliveryState.DELIVERED
    assert (len(receiver.requests), len(all_attempts()), failures) == (1, 1, [])


def test_what_was_lost_to_another_worker_is_not_stored(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500, hold=hold)]
    publish(school)
    slow = Limits(poll=0.05, stop_check=0.02, timeouts=Timeouts(connect=10.0, total=60.0))  # renews after ten seconds
    runner = Thread(target=deliver, args=(slow,), kwargs={"stop": hold.is_set})
    runner.start()
    try:
        wait_until(lambda: len(receiver.requests) == 1)
        clock.advance(31)  # as if it had hung for so long
        wait_until(lambda: only_delivery().fence >= 2)
    finally:
        hold.set()
        runner.join(60)
    classes = [(attempt.number, attempt.error_class) for attempt in all_attempts()]
    assert classes[0] == (1, ErrorClass.LOST)
    assert sum(number == 1 for number, _ in classes) == 1
