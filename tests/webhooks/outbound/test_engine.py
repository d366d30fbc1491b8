"""Delivery to a real HTTP server: what each answer leads to, what a dead worker leaves, who may send what."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from standardwebhooks.webhooks import Webhook

from integrations.contracts import clock
from integrations.models import Alert, Tenant
from tests.webhooks.outbound.conftest import (
    FAST,
    Answer,
    MakeEndpoint,
    Receiver,
    deliver,
    make_due,
    nothing_left,
    publish,
    wait_until,
)
from webhooks.outbound import claims, engine
from webhooks.outbound.engine import Engine, Limits
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint, Event
from webhooks.outbound.sender import ErrorClass, Outcome, Timeouts

pytestmark = pytest.mark.django_db(transaction=True)


def _only() -> Delivery:
    found: Delivery = Delivery.unscoped.get()
    return found


def _tries() -> list[DeliveryAttempt]:
    return list(DeliveryAttempt.unscoped.order_by("delivery_id", "number"))


def test_a_delivery_is_signed_sent_and_recorded(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    _, secret = make_endpoint(school, headers={"Authorization": "Bearer token-of-the-school"})
    event_id = publish(school)
    deliver()

    [request] = receiver.requests
    assert request.body.decode() == Event.unscoped.get(pk=event_id).payload
    assert request.headers["webhook-id"] == event_id
    assert request.headers["authorization"] == "Bearer token-of-the-school"
    assert request.headers["content-type"] == "application/json"
    assert "cookie" not in request.headers
    assert Webhook(secret).verify(request.body, request.headers)["data"] == {"object": {"id": "pay_1", "amount": 5}}

    delivery = _only()
    assert (delivery.state, delivery.attempts, delivery.fence) == (DeliveryState.DELIVERED, 1, 1)
    assert (delivery.last_status, delivery.last_error) == (200, "")
    assert (delivery.lease, delivery.lease_until) == (None, None)
    assert delivery.finished_at is not None
    [attempt] = _tries()
    assert (attempt.number, attempt.status_code, attempt.error_class, attempt.error) == (1, 200, "", "")
    assert (attempt.response_head, attempt.address) == ("ok", "127.0.0.1")
    assert attempt.tenant_id == school.pk
    assert Alert.objects.count() == 0


def test_a_failure_is_tried_again_signed_anew_with_the_same_id_and_bytes(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    _, secret = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500, body=b"out of order"), Answer(200)]
    publish(school)
    first = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    Delivery.unscoped.update(due_at=first)
    with clock.stopped_at(first):
        deliver()
    delivery = _only()
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    assert (delivery.last_status, delivery.last_error) == (500, "the endpoint answered 500")
    assert timedelta(seconds=5) <= delivery.due_at - first <= timedelta(seconds=5.5)

    with clock.stopped_at(first + timedelta(seconds=4.9)):
        deliver()
    assert len(receiver.requests) == 1
    with clock.stopped_at(first + timedelta(seconds=6)):
        deliver()

    one, two = receiver.requests
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert one.body == two.body
    assert int(two.headers["webhook-timestamp"]) - int(one.headers["webhook-timestamp"]) == 6
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]
    at = first + timedelta(seconds=6)
    assert two.headers["webhook-signature"] == Webhook(secret).sign(two.headers["webhook-id"], at, two.body.decode())
    assert _only().state == DeliveryState.DELIVERED
    assert [(t.number, t.status_code, t.error_class, t.response_head) for t in _tries()] == [
        (1, 500, "http_status", "out of order"),
        (2, 200, "", "ok"),
    ]


def test_after_the_last_attempt_it_has_failed_and_says_so(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(503)]
    publish(school)
    for _ in range(12):
        assert _only().state == DeliveryState.PENDING
        make_due()
        deliver()
    delivery = _only()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DeliveryState.FAILED, 12, 503)
    make_due()
    deliver()
    assert len(receiver.requests) == 12
    alert = Alert.objects.get()
    assert (alert.tenant_id, alert.kind, alert.subject) == (school.pk, "webhook_delivery_failed", endpoint.pk)


def test_retry_after_is_honoured(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(429, headers={"Retry-After": "3600"})]
    publish(school)
    now = clock.now()
    with clock.stopped_at(now):
        deliver()
    assert timedelta(hours=1) <= _only().due_at - now <= timedelta(hours=1.1)


def test_410_switches_the_endpoint_off_and_holds_the_rest(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(410)]
    publish(school, "now")
    publish(school, "later")
    Delivery.unscoped.filter(event__key="later").update(due_at=clock.now() + timedelta(hours=1))
    deliver()

    endpoint = Endpoint.unscoped.get()
    assert (endpoint.is_active, endpoint.disabled_reason) == (False, "it answered 410 Gone")
    states = dict(Delivery.unscoped.values_list("event__key", "state"))
    assert states == {"now": DeliveryState.FAILED, "later": DeliveryState.HELD}
    assert [attempt.error_class for attempt in _tries()] == [ErrorClass.GONE]
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("webhook_endpoint_disabled", endpoint.pk)


def test_a_redirect_is_not_followed(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(307, headers={"Location": receiver.url + "/elsewhere"})]
    publish(school)
    deliver()
    assert receiver.at("/elsewhere") == []
    delivery = _only()
    assert (delivery.state, delivery.last_status) == (DeliveryState.PENDING, 307)
    assert _tries()[0].error_class == ErrorClass.REDIRECT


def test_a_slow_endpoint_times_out(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold)]
    publish(school)
    deliver(Limits(poll=0.05, stop_check=0.02, timeouts=Timeouts(connect=0.2, total=0.3)))
    hold.set()
    [attempt] = _tries()
    assert (attempt.error_class, attempt.error, attempt.status_code) == (ErrorClass.TIMEOUT, "no answer in time", None)
    assert attempt.duration_ms is not None
    assert 300 <= attempt.duration_ms < 3000
    assert _only().state == DeliveryState.PENDING


def test_a_body_that_stalls_after_200_was_delivered(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(200, body=b"begun", stall=True)]
    publish(school)
    deliver(Limits(poll=0.05, stop_check=0.02, timeouts=Timeouts(connect=0.3, total=0.4)))
    assert _only().state == DeliveryState.DELIVERED
    assert _tries()[0].response_head == "begun\n[the body broke off: TimeoutError]"


def test_an_endless_body_is_not_read_to_its_end(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(200, body=b"start", endless=True)]
    publish(school)
    deliver()
    assert _only().state == DeliveryState.DELIVERED
    head = _tries()[0].response_head
    assert head.startswith("startxxx")
    assert head.endswith("\n[more than 64 kB: not read further]")
    assert len(head) == 2048 + len("\n[more than 64 kB: not read further]")
    wait_until(lambda: receiver.in_flight["/hook"] == 0)  # we hung up
    assert receiver.sent_bytes < 30_000_000  # what the kernel's buffers take, of a thousand million announced


def test_a_refused_connection_is_recorded(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    make_endpoint(school, url=f"http://127.0.0.1:{port}/")
    publish(school)
    deliver()
    [attempt] = _tries()
    assert (attempt.error_class, attempt.error) == (ErrorClass.CONNECT, "no connection could be made")
    assert (attempt.status_code, attempt.address) == (None, "")
    assert _only().state == DeliveryState.PENDING


def test_a_forbidden_address_is_never_dialled(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(school, "/by-address")
    make_endpoint(school, "/by-name", url=receiver.url.replace("127.0.0.1", "localhost") + "/by-name")
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    publish(school)
    deliver()
    assert receiver.requests == []
    assert list(Delivery.unscoped.values_list("state", "attempts")) == [(DeliveryState.FAILED, 1)] * 2
    assert {attempt.error_class for attempt in _tries()} == {ErrorClass.BLOCKED}
    assert Alert.objects.filter(kind="webhook_delivery_failed").count() == 2


def test_an_echoed_secret_is_masked(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, headers={"X-Token": "canary-5f2c"})
    receiver.answers["/hook"] = [Answer(400, echo=True)]
    publish(school)
    deliver()
    head = _tries()[0].response_head
    assert "canary-5f2c" not in head
    assert "'x-token': '••••'" in head


def test_an_unreadable_secret_is_a_failure_that_sends_nothing(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    make_endpoint(school)
    other, _ = make_endpoint(studio)
    Endpoint.unscoped.filter(tenant=school).update(sealed_secrets=other.sealed_secrets)  # sealed for another tenant
    publish(school)
    deliver()
    assert receiver.requests == []
    assert _tries()[0].error_class == ErrorClass.SECRET
    assert _only().state == DeliveryState.PENDING


# --- Leases ---------------------------------------------------------------------------------------------------------------


def _ok(claimed: Any) -> Outcome:
    return Outcome(claimed=claimed, started_at=clock.now(), finished_at=clock.now(), duration_ms=1, status_code=200)


def test_a_lapsed_lease_is_claimed_again_and_the_late_worker_is_fenced_off(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    start = clock.now()
    with clock.stopped_at(start):
        [first] = claims.claim(10, per_endpoint=8)
        assert claims.claim(10, per_endpoint=8) == []
    with clock.stopped_at(start + timedelta(seconds=59)):
        assert claims.claim(10, per_endpoint=8) == []
    with clock.stopped_at(start + timedelta(seconds=60)):
        [second] = claims.claim(10, per_endpoint=8)
        assert (second.id, second.event_id, second.fence, second.number) == (first.id, first.event_id, 2, 2)
        claims.settle([_ok(first)])  # the first worker wakes up
        delivery = _only()
        assert (delivery.state, delivery.fence) == (DeliveryState.PENDING, 2)
        assert delivery.lease is not None
        claims.settle([_ok(second)])
        claims.settle([_ok(second)])  # twice is once
    assert _only().state == DeliveryState.DELIVERED
    lost, done = _tries()
    assert (lost.number, lost.error_class, lost.status_code, lost.started_at) == (1, ErrorClass.LOST, None, start)
    assert (done.number, done.error_class, done.status_code) == (2, "", 200)


def test_a_delivery_that_kills_each_worker_ends(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    now = clock.now()
    for number in range(1, 13):
        with clock.stopped_at(now + timedelta(minutes=number)):
            assert [claimed.number for claimed in claims.claim(10, per_endpoint=8)] == [number]
    with clock.stopped_at(now + timedelta(minutes=13)):
        assert claims.claim(10, per_endpoint=8) == []
    delivery = _only()
    assert (delivery.state, delivery.attempts, delivery.lease) == (DeliveryState.FAILED, 12, None)
    assert [attempt.error_class for attempt in _tries()] == [ErrorClass.LOST] * 12
    assert Alert.objects.get().kind == "webhook_delivery_failed"


def test_an_outcome_that_cant_be_stored_does_not_take_the_others_with_it(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school, "good")
    publish(school, "bad")
    claimed = claims.claim(10, per_endpoint=8)
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
        for executor in (one._claimer, one._settler):
            executor.submit(connections.close_all).result()
            executor.shutdown()

    asyncio.run(settle())
    states = dict(Delivery.unscoped.values_list("event__key", "state"))
    assert states == {"good": DeliveryState.DELIVERED, "bad": DeliveryState.PENDING}


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
    make_endpoint(school, "/slow")
    make_endpoint(studio, "/quick")
    receiver.answers["/slow"] = [Answer(hold=hold)]
    for number in range(20):
        publish(school, f"k{number}")
        publish(studio, f"k{number}")
    limits = Limits(in_flight=12, per_endpoint=3, poll=0.05, stop_check=0.02, timeouts=Timeouts(total=15))
    runner = Thread(target=deliver, args=(limits,))
    runner.start()
    try:
        wait_until(lambda: len(receiver.at("/quick")) == 20)
        assert len(receiver.at("/slow")) == 3
    finally:
        hold.set()
        runner.join(30)
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
    deliver(stop=lambda: bool(receiver.requests))
    assert time.monotonic() - begun < 4
    hold.set()
    delivery = _only()
    assert (delivery.state, delivery.attempts, delivery.attempts_allowed) == (DeliveryState.PENDING, 1, 13)
    assert (delivery.lease, delivery.due_at <= clock.now()) == (None, True)
    assert _tries()[0].error_class == ErrorClass.INTERRUPTED
    deliver()
    assert _only().state == DeliveryState.DELIVERED
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_a_notice_wakes_the_engine(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    limits = Limits(poll=60.0, stop_check=0.02, timeouts=Timeouts(total=5))
    runner = Thread(target=lambda: asyncio.run(Engine(limits).run(lambda: len(receiver.requests) == 2, time.monotonic() + 50)))
    runner.start()
    try:
        for number in (1, 2):
            publish(school, f"k{number}")
            wait_until(lambda: len(receiver.requests) == number)  # noqa: B023 called within the loop's turn
    finally:
        runner.join(60)
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 2


def test_at_its_end_a_shift_hands_over_and_then_lets_what_is_in_flight_end(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold)]
    publish(school)
    monkeypatch.setattr(engine.shifts, "hand_over", hold.set)
    engine.run_shift(lambda: False, time.monotonic() + 0.5)
    assert _only().state == DeliveryState.DELIVERED


_SHIFT = """
import time, django
django.setup()
from webhooks.outbound import engine
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
        wait_until(lambda: len(receiver.requests) == 1, 30)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
    hold.set()
    delivery = _only()
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    assert delivery.lease is not None
    assert _tries() == []

    deliver(stop=lambda: True)
    assert len(receiver.requests) == 1  # the lease still stands
    past = clock.now() - timedelta(seconds=1)
    Delivery.unscoped.update(lease_until=past, due_at=past)
    deliver()
    assert [request.headers["webhook-id"] for request in receiver.requests] == [event_id, event_id]
    assert receiver.requests[0].body == receiver.requests[1].body
    assert [(t.number, t.error_class) for t in _tries()] == [(1, ErrorClass.LOST), (2, "")]
    assert (_only().state, nothing_left()) == (DeliveryState.DELIVERED, True)
