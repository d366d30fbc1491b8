"""Leases, shifts and several workers: what a dead or stopped worker leaves, and who may send what."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection, connections

from integrations.contracts import clock
from integrations.models import Alert, Tenant
from tests.webhooks.outbound.conftest import (
    FAST,
    Answer,
    MakeEndpoint,
    Receiver,
    all_attempts,
    deliver,
    nothing_left,
    only_delivery,
    publish,
    wait_until,
)
from webhooks.outbound.delivery import claims, engine, settling
from webhooks.outbound.delivery.engine import Engine, Limits
from webhooks.outbound.delivery.sender import Claimed, ErrorClass, Outcome, Timeouts
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState

pytestmark = pytest.mark.django_db(transaction=True)


def _ok(claimed: Any) -> Outcome:
    return Outcome(claimed=claimed, started_at=clock.now(), finished_at=clock.now(), duration_ms=1, status_code=200)


def test_a_lapsed_lease_is_claimed_again_and_the_late_worker_is_fenced_off(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    start = clock.now()
    with clock.stopped_at(start):
        [first] = claims.claim(10)
        assert claims.claim(10) == []
    with clock.stopped_at(start + timedelta(seconds=29)):
        assert claims.claim(10) == []
    with clock.stopped_at(start + timedelta(seconds=30)):
        [second] = claims.claim(10)
        assert (second.id, second.message_id, second.fence, second.number) == (first.id, first.message_id, 2, 2)
        settling.settle([_ok(first)])  # the first worker wakes up
        delivery = only_delivery()
        assert (delivery.state, delivery.fence) == (DeliveryState.PENDING, 2)
        assert delivery.lease is not None
        settling.settle([_ok(second)])
        settling.settle([_ok(second)])  # twice is once
    assert only_delivery().state == DeliveryState.DELIVERED
    lost, done = all_attempts()
    assert (lost.number, lost.error_class, lost.status_code, lost.started_at) == (1, ErrorClass.LOST, None, start)
    assert (done.number, done.error_class, done.status_code) == (2, "", 200)


def test_a_delivery_that_kills_each_worker_ends(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    now = clock.now()
    for number in range(1, 13):
        with clock.stopped_at(now + timedelta(minutes=number)):
            assert [claimed.number for claimed in claims.claim(10)] == [number]
    with clock.stopped_at(now + timedelta(minutes=13)):
        assert claims.claim(10) == []
    delivery = only_delivery()
    assert (delivery.state, delivery.attempts, delivery.lease) == (DeliveryState.FAILED, 12, None)
    assert [attempt.error_class for attempt in all_attempts()] == [ErrorClass.LOST] * 12
    assert Alert.objects.get().kind == "webhook_delivery_failed"


def test_an_outcome_that_cant_be_stored_does_not_take_the_others_with_it(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school, "good")
    publish(school, "bad")
    claimed = claims.claim(10)
    bad_id = Delivery.unscoped.get(event__key="bad").pk
    outcomes = [
        Outcome(
            claimed=one,
            started_at=clock.now(),
            finished_at=clock.now(),
            duration_ms=1,
            status_code=200,
            response_head="nul \x00" if one.id == bad_id else "",
        )
        for one in claimed
    ]

    async def settle() -> None:
        one = Engine(FAST)
        await one._settle(outcomes)
        for executor in (one._claimer, one._settler, one._renewer):
            executor.submit(connections.close_all).result()
            executor.shutdown()

    asyncio.run(settle())
    states = dict(Delivery.unscoped.values_list("event__key", "state"))
    assert states == {"good": DeliveryState.DELIVERED, "bad": DeliveryState.PENDING}


def test_a_database_that_goes_away_for_a_moment_costs_no_second_request(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(school)
    publish(school)
    failures = {"claim": 1, "settle": 1}

    modules = {"claim": claims, "settle": settling}

    def breaking(name: str) -> Any:
        real = getattr(modules[name], name)

        def broken(*args: Any, **kwargs: Any) -> Any:
            if failures[name]:
                failures[name] -= 1
                raise OperationalError("the connection is lost")
            return real(*args, **kwargs)

        return broken

    for name in failures:
        monkeypatch.setattr(modules[name], name, breaking(name))
    deliver()
    assert failures == {"claim": 0, "settle": 0}
    assert len(receiver.requests) == 1
    assert only_delivery().state == DeliveryState.DELIVERED
    assert [attempt.number for attempt in all_attempts()] == [1]


def test_two_engines_side_by_side_send_each_event_once(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, "/one")
    make_endpoint(school, "/two")
    ids = [publish(school, f"k{number}") for number in range(40)]
    engines = [Thread(target=deliver) for _ in range(2)]
    for thread in engines:
        thread.start()
    for thread in engines:
        thread.join(30)
    seen = Counter((request.path, request.headers["webhook-id"]) for request in receiver.requests)
    assert seen == {(path, event_id): 1 for path in ("/one", "/two") for event_id in ids}
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 80
    assert DeliveryAttempt.unscoped.count() == 80


def test_a_slow_endpoint_takes_no_more_than_its_share(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    hold = Flag()
    make_endpoint(school, "/slow", max_in_flight=3)
    make_endpoint(studio, "/quick", max_in_flight=3)
    receiver.answers["/slow"] = [Answer(hold=hold)]
    for number in range(20):
        publish(school, f"k{number}")
        publish(studio, f"k{number}")
    limits = Limits(in_flight=12, poll=0.05, stop_check=0.02, timeouts=Timeouts(total=60))
    runner = Thread(target=deliver, args=(limits,))
    runner.start()
    try:
        wait_until(lambda: len(receiver.at("/quick")) == 20 and len(receiver.at("/slow")) >= 3)
        assert len(receiver.at("/slow")) == 3
    finally:
        hold.set()
        runner.join(60)
    assert receiver.most_in_flight["/slow"] == 3
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 40


def test_a_stop_request_cuts_off_what_is_in_flight_and_gives_its_lease_back(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold), Answer(200)]
    publish(school)
    begun = time.monotonic()
    deliver(replace(FAST, timeouts=Timeouts(total=45)), stop=lambda: bool(receiver.requests))
    assert time.monotonic() - begun < 30, "it was not waited for"
    hold.set()
    delivery = only_delivery()
    assert (delivery.state, delivery.attempts, delivery.attempts_allowed) == (DeliveryState.PENDING, 1, 13)
    assert (delivery.lease, delivery.due_at <= clock.now()) == (None, True)
    assert all_attempts()[0].error_class == ErrorClass.INTERRUPTED
    deliver()
    assert only_delivery().state == DeliveryState.DELIVERED
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def _listening() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query = 'LISTEN hub_deliveries' AND state = 'idle'"
        )
        [[count]] = cursor.fetchall()
    return bool(count)


def test_a_notice_wakes_an_idle_engine(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(school)
    found: list[int] = []
    real = claims.claim

    def counted(limit: int, **rooms: Any) -> list[Claimed]:
        claimed = real(limit, **rooms)
        found.append(len(claimed))
        return claimed

    monkeypatch.setattr(claims, "claim", counted)
    limits = Limits(poll=300.0, stop_check=0.02, timeouts=Timeouts(total=30))
    delivered = Delivery.unscoped.filter(state=DeliveryState.DELIVERED)
    # Not when the second has arrived: it is settled after that.
    runner = Thread(target=lambda: asyncio.run(Engine(limits).run(lambda: delivered.count() == 2, time.monotonic() + 200)))
    runner.start()
    try:
        publish(school, "k1")
        wait_until(lambda: Delivery.unscoped.get().state == DeliveryState.DELIVERED and _listening())
        wait_until(lambda: found[-1] == 0)  # it has looked again in vain, and sleeps
        publish(school, "k2")
        wait_until(lambda: len(receiver.requests) == 2)
    finally:
        runner.join(60)
    assert delivered.count() == 2


def test_a_settled_batch_makes_room_without_waiting_for_the_poll(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    make_endpoint(school, max_in_flight=1)
    for number in range(6):
        publish(school, f"k{number}")
    deliver(Limits(poll=300.0, stop_check=0.02, timeouts=Timeouts(total=30)))
    assert len(receiver.requests) == 6
    assert receiver.most_in_flight["/hook"] == 1


def test_at_its_end_a_shift_hands_over_and_then_lets_what_is_in_flight_end(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold)]
    publish(school)
    monkeypatch.setattr(engine.shifts, "hand_over", hold.set)
    engine.run_shift(lambda: False, time.monotonic() + 0.5)
    assert only_delivery().state == DeliveryState.DELIVERED


_SHIFT = """
import time, django
django.setup()
from webhooks.outbound.delivery import engine
engine.run_shift(lambda: False, time.monotonic() + 60)
"""


def test_a_worker_killed_in_the_middle_leaves_a_delivery_that_goes_out_again_under_its_id(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold), Answer(200)]
    event_id = publish(school)
    base, _, _ = os.environ["DATABASE_URL"].partition("?")
    address = os.environ["DATABASE_URL"].replace(base, base.rpartition("/")[0] + "/" + connection.settings_dict["NAME"], 1)
    environment = {
        **os.environ,
        "DATABASE_URL": address,
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
    }
    worker = subprocess.Popen([sys.executable, "-c", _SHIFT], cwd=Path(django_settings.BASE_DIR), env=environment)
    try:
        wait_until(lambda: len(receiver.requests) == 1)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
    hold.set()
    delivery = only_delivery()
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    assert delivery.lease is not None
    assert all_attempts() == []

    deliver(stop=lambda: True)
    assert len(receiver.requests) == 1  # the lease still stands
    past = clock.now() - timedelta(seconds=1)
    Delivery.unscoped.update(lease_until=past, due_at=past)
    deliver()
    assert [request.headers["webhook-id"] for request in receiver.requests] == [event_id, event_id]
    assert receiver.requests[0].body == receiver.requests[1].body
    assert [(t.number, t.error_class) for t in all_attempts()] == [(1, ErrorClass.LOST), (2, "")]
    assert (only_delivery().state, nothing_left()) == (DeliveryState.DELIVERED, True)
