"""Delivery to a real HTTP server: what is sent, and what each answer leads to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from integrations.contracts import clock
from integrations.models import Alert, Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import (
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
from webhooks.outbound.delivery.engine import Limits
from webhooks.outbound.delivery.sender import ErrorClass, Timeouts
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, EndpointHealth, Event
from webhooks.outbound.publishing import sweeping

pytestmark = pytest.mark.django_db(transaction=True)


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

    delivery = only_delivery()
    assert (delivery.state, delivery.attempts, delivery.fence) == (DeliveryState.DELIVERED, 1, 1)
    assert (delivery.last_status, delivery.last_error) == (200, "")
    assert (delivery.lease, delivery.lease_until) == (None, None)
    assert delivery.finished_at is not None
    assert (delivery.delivered_at, delivery.dead_reason) == (delivery.finished_at, "")
    [attempt] = all_attempts()
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
    delivery = only_delivery()
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
    assert only_delivery().state == DeliveryState.DELIVERED
    assert [(t.number, t.status_code, t.error_class, t.response_head) for t in all_attempts()] == [
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
        assert only_delivery().state == DeliveryState.PENDING
        with clock.stopped_at(only_delivery().due_at):
            deliver()
    delivery = only_delivery()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DeliveryState.FAILED, 12, 503)
    assert (delivery.dead_reason, delivery.delivered_at) == (DeadReason.EXHAUSTED, None)
    assert delivery.finished_at is not None
    with clock.stopped_at(delivery.finished_at + timedelta(days=3)):
        deliver()
    assert len(receiver.requests) == 12
    alert = Alert.objects.get(kind="webhook_delivery_failed")
    assert (alert.tenant_id, alert.subject, alert.count) == (school.pk, endpoint.pk, 1)


def test_retry_after_is_honoured(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(429, headers={"Retry-After": "3600"})]
    publish(school)
    now = clock.now()
    with clock.stopped_at(now):
        deliver()
    assert timedelta(hours=1) <= only_delivery().due_at - now <= timedelta(hours=1.1)


@pytest.mark.parametrize(
    ("status", "value", "pause", "wait"),
    [
        (429, "120", 120, 120),
        (503, "Fri, 20 Nov 2026 09:10:00 GMT", 600, 600),  # the clock stands at nine
        (503, "36000", 3600, 36000),  # a receiver may not silence all of an endpoint for ten hours
        (429, "9999999", 3600, 86400),
        (500, "120", 0, 120),  # asked for this request alone
        (429, "soon", 0, 5),
    ],
)
def test_what_a_receiver_asks_for_pauses_the_whole_endpoint(
    school: Tenant,
    receiver: Receiver,
    make_endpoint: MakeEndpoint,
    clock: MovableClock,
    status: int,
    value: str,
    pause: int,
    wait: int,
) -> None:
    endpoint, _ = make_endpoint(school, max_in_flight=1)
    receiver.answers["/hook"] = [Answer(status, headers={"Retry-After": value}), Answer(200)]
    publish(school, "first")
    deliver()
    asked = clock()
    assert timedelta(seconds=wait) <= only_delivery().due_at - asked <= timedelta(seconds=wait * 1.1)
    paused_until = EndpointHealth.unscoped.get(endpoint=endpoint).paused_until
    assert paused_until == (asked + timedelta(seconds=pause) if pause else None)
    publish(school, "second")
    deliver()
    assert len(receiver.requests) == (1 if pause else 2)
    if pause:
        clock.advance(pause - 1)
        deliver()
        assert len(receiver.requests) == 1
        clock.advance(1)
        deliver()
        assert Delivery.unscoped.get(event__key="second").state == DeliveryState.DELIVERED
    assert Delivery.unscoped.get(event__key="second").attempts == 1  # what waited lost no attempt


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
    assert [attempt.error_class for attempt in all_attempts()] == [ErrorClass.GONE]
    assert Delivery.unscoped.get(event__key="now").dead_reason == DeadReason.GONE
    alerts = set(Alert.objects.values_list("kind", "subject"))
    assert alerts == {("webhook_endpoint_disabled", endpoint.pk), ("webhook_delivery_failed", endpoint.pk)}


def test_a_redirect_is_not_followed(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(307, headers={"Location": receiver.url + "/elsewhere"})]
    publish(school)
    deliver()
    assert receiver.at("/elsewhere") == []
    delivery = only_delivery()
    assert (delivery.state, delivery.last_status) == (DeliveryState.PENDING, 307)
    assert all_attempts()[0].error_class == ErrorClass.REDIRECT


def test_a_slow_endpoint_times_out(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    hold = Flag()
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(hold=hold)]
    publish(school)
    deliver(Limits(poll=0.05, stop_check=0.02, timeouts=Timeouts(connect=10.0, total=0.3)))
    hold.set()
    [attempt] = all_attempts()
    assert (attempt.error_class, attempt.error, attempt.status_code) == (ErrorClass.TIMEOUT, "no answer in time", None)
    assert attempt.duration_ms is not None
    assert 300 <= attempt.duration_ms < 15_000
    assert only_delivery().state == DeliveryState.PENDING


def test_a_body_that_stalls_after_200_was_delivered(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(200, body=b"begun", stall=True)]
    publish(school)
    deliver(Limits(poll=0.05, stop_check=0.02, timeouts=Timeouts(connect=10.0, total=2.5)))
    assert only_delivery().state == DeliveryState.DELIVERED
    assert all_attempts()[0].response_head == "begun\n[the body broke off: TimeoutError]"


def test_an_endless_body_is_not_read_to_its_end(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(200, body=b"start", endless=True)]
    publish(school)
    deliver()
    assert only_delivery().state == DeliveryState.DELIVERED
    head = all_attempts()[0].response_head
    assert head.startswith("startxxx")
    assert head.endswith("\n[more than 64 kB: not read further]")
    assert len(head) == 2048 + len("\n[more than 64 kB: not read further]")
    wait_until(lambda: receiver.in_flight["/hook"] == 0)  # we hung up
    assert receiver.sent_bytes < 30_000_000  # what the kernel's buffers take, of a thousand million announced


def test_a_refused_connection_is_recorded(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    with socket.socket() as taken:  # nobody else can listen there as long as we hold it
        taken.bind(("127.0.0.1", 0))
        make_endpoint(school, url=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        publish(school)
        deliver()
    [attempt] = all_attempts()
    assert (attempt.error_class, attempt.error) == (ErrorClass.CONNECT, "no connection could be made")
    assert (attempt.status_code, attempt.address) == (None, "")
    assert only_delivery().state == DeliveryState.PENDING


def test_a_forbidden_address_is_never_dialled(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, settings: Any
) -> None:
    make_endpoint(school, "/by-address")
    make_endpoint(school, "/by-name", url=receiver.url.replace("127.0.0.1", "localhost") + "/by-name")
    settings.OUTBOUND_ALLOWED_NETWORKS = []
    publish(school)
    deliver()
    assert receiver.requests == []
    mine = Delivery.unscoped.filter(event__type="payment.completed")
    ends = list(mine.values_list("state", "attempts", "dead_reason"))
    assert ends == [(DeliveryState.FAILED, 1, DeadReason.BLOCKED)] * 2
    assert {attempt.error_class for attempt in all_attempts()} == {ErrorClass.BLOCKED}
    assert Alert.objects.filter(kind="webhook_delivery_failed").count() == 2


def test_a_url_that_is_no_longer_allowed_is_not_called(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, settings: Any
) -> None:
    make_endpoint(school)
    settings.OUTBOUND_HTTPS_ONLY = True
    publish(school)
    deliver()
    assert receiver.requests == []
    [attempt] = all_attempts()
    assert (attempt.error_class, attempt.error) == (ErrorClass.BLOCKED, "not sent: the URL must begin with https://")


def test_an_echoed_secret_is_masked(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, headers={"X-Token": "canary-5f2c"})
    receiver.answers["/hook"] = [Answer(400, echo=True)]
    publish(school)
    deliver()
    head = all_attempts()[0].response_head
    assert "canary-5f2c" not in head
    assert "'x-token': '••••'" in head


def test_an_unreadable_secret_is_a_failure_that_sends_nothing(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    mine, _ = make_endpoint(school)
    other, _ = make_endpoint(studio)
    Endpoint.unscoped.filter(tenant=school).update(sealed_secrets=other.sealed_secrets)  # sealed for another tenant
    publish(school)
    deliver()
    assert receiver.requests == []
    assert all_attempts()[0].error_class == ErrorClass.SECRET
    delivery = only_delivery()
    # The operator may put the key back: it is tried again as the schedule says.
    assert (delivery.state, delivery.attempts, delivery.dead_reason) == (DeliveryState.PENDING, 1, "")
    Delivery.unscoped.update(attempts=delivery.attempts_allowed - 1, due_at=clock.now())
    deliver()
    delivery = Delivery.unscoped.get(pk=delivery.pk)
    assert (delivery.state, delivery.dead_reason) == (DeliveryState.FAILED, DeadReason.UNSENDABLE)
    assert EndpointHealth.unscoped.get(endpoint=mine).failures == 0  # it is our side that lacks the key


def test_sweeping_holds_up_no_claim(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, seen = Flag(), []

    def busy(*, within: timedelta, stop: Callable[[], bool]) -> int:  # as with filters that take for ever
        seen.append(arrived.wait(60))
        return 0

    monkeypatch.setattr(sweeping, "sweep", busy)
    make_endpoint(school)
    publish(school)
    deliver(stop=lambda: nothing_left() and (arrived.set() or True))
    assert len(receiver.requests) == 1
    assert seen[0] is True
