"""What an answer leads to: which failures end early and why, how old a delivery may get, and what is written down."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope

from integrations.http.guard import GuardedResolver, NameTimeout, ResolverBusy
from integrations.models import Alert, Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import (
    Answer,
    MakeEndpoint,
    Receiver,
    all_attempts,
    deliver,
    only_delivery,
    publish,
)
from webhooks.outbound.delivery.sender import Claimed, ErrorClass, hub_headers, is_reserved, request_headers
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, EndpointHealth, Event
from webhooks.outbound.recovery.resending import retry_delivery, send_again

pytestmark = pytest.mark.django_db(transaction=True)


def advance_to_due(clock: MovableClock) -> float:
    """Let the one delivery's next try come due; return the seconds that took."""
    wait = (only_delivery().due_at - clock()).total_seconds()
    clock.advance(max(wait, 0.0))
    return wait


# --- What ends early ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Answer(404), Answer(400), Answer(401), Answer(302, headers={"Location": "/x"})])
def test_a_refusal_is_tried_four_times_and_then_given_up(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock, answer: Answer
) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [answer]
    publish(school)
    waits = []
    for _ in range(4):
        assert only_delivery().state == DeliveryState.PENDING
        waits.append(advance_to_due(clock))
        deliver()
    delivery = only_delivery()
    assert (delivery.state, delivery.dead_reason, delivery.attempts) == (DeliveryState.FAILED, DeadReason.REJECTED, 4)
    assert (delivery.last_status, delivery.finished_at) == (answer.status, clock())
    assert "repeating it does not help" in delivery.last_error
    assert [pytest.approx(least, rel=0.11) for least in (60, 1800, 7200)] == waits[1:]
    assert all(wait >= least for wait, least in zip(waits[1:], (60, 1800, 7200), strict=True))
    clock.advance(days=2)
    deliver()
    assert len(receiver.requests) == 4


def test_what_was_redriven_has_its_whole_schedule_again(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(404)] * 4 + [Answer(404), Answer(500), Answer(500), Answer(200)]
    publish(school)
    for _ in range(4):
        advance_to_due(clock)
        deliver()
    with scope(tenant=school):
        send_again([only_delivery().pk], whole_schedule=True)
    waits = []
    for _ in range(4):
        assert only_delivery().state == DeliveryState.PENDING
        waits.append(advance_to_due(clock))
        deliver()
    assert (only_delivery().state, only_delivery().attempts) == (DeliveryState.DELIVERED, 8)
    assert [pytest.approx(least, rel=0.11) for least in (60, 30, 120)] == waits[1:]


def test_a_certificate_that_cant_be_trusted_is_a_refusal_too(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, url=receiver.url.replace("http://", "https://"))  # nobody speaks TLS there
    publish(school)
    for _ in range(4):
        advance_to_due(clock)
        deliver()
    assert {attempt.error_class for attempt in all_attempts()} == {ErrorClass.TLS}
    assert (only_delivery().dead_reason, only_delivery().attempts) == (DeadReason.REJECTED, 4)
    assert EndpointHealth.unscoped.get().openings == 4  # on the way to opening the breaker


@pytest.mark.parametrize("status", [408, 425, 429, 500])
def test_what_may_pass_is_tried_on_the_whole_schedule(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock, status: int
) -> None:
    make_endpoint(school, retry_delays=[10, 20, 30, 40, 50])
    receiver.answers["/hook"] = [Answer(status)]
    publish(school)
    waits = []
    for _ in range(6):
        waits.append(advance_to_due(clock))
        deliver()
    delivery = only_delivery()
    assert (delivery.dead_reason, delivery.attempts, delivery.attempts_allowed) == (DeadReason.EXHAUSTED, 6, 6)
    assert all(least <= wait <= least * 1.1 for wait, least in zip(waits[1:], (10, 20, 30, 40, 50), strict=True))


def test_failures_that_may_pass_do_not_count_as_refusals(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(each) for each in (500, 503, 429, 500, 404, 404, 500, 404, 404)]
    publish(school)
    for number in range(9):
        assert only_delivery().attempts == number
        advance_to_due(clock)
        deliver()
    assert (only_delivery().dead_reason, only_delivery().attempts) == (DeadReason.REJECTED, 9)


def test_too_old_ends_it_before_its_tries_are_used_up(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(503)]
    publish(school)
    Delivery.unscoped.update(expires_at=clock() + timedelta(seconds=100))
    for _ in range(3):
        advance_to_due(clock)
        deliver()
    delivery = only_delivery()  # the third wait would be two minutes
    assert (delivery.state, delivery.dead_reason, delivery.attempts) == (DeliveryState.FAILED, DeadReason.TOO_OLD, 3)


def test_an_erased_payload_is_dead_at_once(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    Event.unscoped.update(payload="")
    deliver()
    delivery = only_delivery()
    assert (delivery.state, delivery.dead_reason) == (DeliveryState.FAILED, DeadReason.UNSENDABLE)
    assert (delivery.last_error, receiver.requests) == ("its payload was erased", [])


def test_a_broken_payload_costs_nobody_else(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, payload_format="flat")
    publish(school, "broken")
    publish(school, "good")
    Event.unscoped.filter(key="broken").update(payload="[1]")
    deliver()
    assert dict(Delivery.unscoped.filter(event__type="payment.completed").values_list("event__key", "dead_reason")) == {
        "broken": DeadReason.UNSENDABLE,
        "good": "",
    }
    assert len(receiver.requests) == 1


# --- Sent again by a person -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 404, 410])
def test_what_arrived_once_stays_delivered_when_it_is_sent_again_in_vain(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock, status: int
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(200), Answer(status)]
    publish(school)
    deliver()
    first = clock()
    clock.advance(60)
    with scope(tenant=school):
        retry_delivery(endpoint=endpoint, delivery_id=only_delivery().pk)
    deliver()
    delivery = only_delivery()
    assert (delivery.state, delivery.attempts, delivery.dead_reason) == (DeliveryState.DELIVERED, 2, "")
    assert (delivery.delivered_at, delivery.finished_at, delivery.last_status) == (first, clock(), status)
    assert delivery.last_error != ""
    assert Alert.objects.filter(kind="webhook_delivery_failed").count() == 0


def test_in_flight_when_its_endpoint_is_deleted_it_is_dead_afterwards(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500)]
    publish(school)
    original = receiver.take

    def take(handler: Any) -> None:
        with scope(tenant=school):
            services.delete_endpoint(endpoint_id=endpoint.pk)
        from django.db import connection

        connection.close()
        original(handler)

    receiver.take = take  # type: ignore[method-assign]
    deliver(stop=lambda: DeliveryState.FAILED in Delivery.unscoped.values_list("state", flat=True))
    delivery = only_delivery()
    assert (delivery.dead_reason, delivery.last_error) == (DeadReason.DELETED, "the endpoint answered 500")


# --- What goes out and what is written down -------------------------------------------------------------------------------


def claimed(**fields: Any) -> Claimed:
    values = {
        "id": "dlv_1", "tenant_id": 1, "endpoint_id": "we_1", "message_id": "evt_1", "event_type": "order.created", "number": 1,
        "fence": 1, "url": "", "body": '{"id":"evt_1"}', "secrets": ("whsec_test",), "headers": (), "flat": True,
    }  # fmt: skip
    return Claimed(**{**values, **fields})


def test_the_known_answer_of_the_plain_signature(clock: MovableClock) -> None:
    clock.moment = clock.moment.fromtimestamp(1767225600, clock.moment.tzinfo)
    assert hub_headers(claimed(), clock()) == {
        "X-Hub-Event": "order.created",
        "X-Hub-Delivery": "dlv_1",
        "X-Hub-Timestamp": "1767225600",
        "X-Hub-Signature": "sha256=45b40331de0325606dc5400202ade162460fbe48daf9401adfdcd0d7b4f35470",
    }


@pytest.mark.parametrize(
    ("secrets", "signs"),
    [(("whsk_a", "whsec_new", "whsec_old"), "whsec_new"), (("whsk_a",), ""), (("whsec_new", "whsec_old"), "whsec_new")],
)
def test_the_newest_shared_secret_signs(secrets: tuple[str, ...], signs: str, clock: MovableClock) -> None:
    one = claimed(secrets=secrets)
    message = f"{int(clock().timestamp())}.{one.body}".encode()
    expected = "sha256=" + hmac.new(signs.encode(), message, hashlib.sha256).hexdigest() if signs else None
    assert hub_headers(one, clock()).get("X-Hub-Signature") == expected


def test_flat_endpoints_get_the_flat_body_and_the_plain_headers(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    _, secret = make_endpoint(school, payload_format="flat")
    event_id = publish(school)
    deliver()
    [request] = receiver.requests
    body = json.loads(request.body)
    assert (body["id"], body["event"], body["data"]) == (event_id, "payment.completed", {"id": "pay_1", "amount": 5})
    assert request.headers["webhook-id"] == event_id
    assert (request.headers["x-hub-event"], request.headers["x-hub-delivery"]) == ("payment.completed", only_delivery().pk)
    timestamp = request.headers["x-hub-timestamp"]
    assert timestamp == request.headers["webhook-timestamp"]
    signed = hmac.new(secret.encode(), timestamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature"] == "sha256=" + signed
    assert all_attempts()[0].request_headers["X-Hub-Signature"] == "sha256"


def test_standard_endpoints_get_none_of_them(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    deliver()
    assert not any(name.startswith("x-hub-") for name in receiver.requests[0].headers)


@pytest.mark.parametrize(
    "name", ["webhook-id", "Webhook-Anything", "X-Hub-Event", "x-hub-signature-256", "HOST", "Content-Type"]
)
def test_reserved_names_are_never_sent_for_a_tenant(name: str, clock: MovableClock) -> None:
    assert is_reserved(name)
    sent = request_headers(claimed(headers=((name, "mine"), ("X-Mine", "yes")), secrets=("whsec_" + "A" * 44,)), clock())
    assert "mine" not in sent.values()
    assert sent["X-Mine"] == "yes"


def test_an_attempt_tells_what_was_sent_and_answered_without_secrets(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, headers={"Authorization": "Bearer canary-of-the-school", "X-Plain": "canary-two"})
    receiver.answers["/hook"] = [
        Answer(
            200,
            headers={
                "Set-Cookie": "sid=canary-three",
                "X-Api-Key": "canary-four",
                "X-Echo": "you sent Bearer canary-of-the-school",
                "X-Long": "y" * 600,
                "X-Bytes": "caf\xe9",
                **{f"X-Many-{number}": "z" for number in range(40)},
            },
        )
    ]
    publish(school)
    clock.advance(2.5)
    deliver()
    [attempt] = all_attempts()
    assert attempt.lag_ms == 2500
    sent = attempt.request_headers
    assert (sent["Authorization"], sent["X-Plain"]) == ("••••hool", "••••")
    assert sent["webhook-id"] == receiver.requests[0].headers["webhook-id"]
    assert sent["webhook-timestamp"] == str(int(clock().timestamp()))
    assert (sent["webhook-signature"], sent["Content-Type"]) == ("v1", "application/json")
    got = attempt.response_headers
    assert (got["Set-Cookie"], got["X-Api-Key"]) == ("••••", "••••")
    assert got["X-Echo"] == "you sent ••••"
    assert (got["X-Long"], got["X-Bytes"], len(got)) == ("y" * 500, "caf\ufffd", 30)
    assert "canary" not in json.dumps([sent, got])


def test_a_failed_connection_still_tells_what_was_to_be_sent(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    with socket.socket() as taken:  # nobody else can listen there as long as we hold it
        taken.bind(("127.0.0.1", 0))
        make_endpoint(school, url=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        publish(school)
        deliver()
    [attempt] = all_attempts()
    assert attempt.request_headers["webhook-signature"] == "v1"
    assert attempt.response_headers == {}


def test_lag_counts_from_when_it_was_due(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    publish(school)
    deliver()
    due_at = only_delivery().due_at
    clock.moment = due_at + timedelta(seconds=7)
    deliver()
    assert [attempt.lag_ms for attempt in all_attempts()] == [0, 7000]
    assert Endpoint.unscoped.get().is_active


def test_an_answer_shows_nothing_of_the_url_that_may_be_a_token(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    path = "/hook/cAnary77/in?key=canary%2Bsix&k=ab"
    make_endpoint(school, path)
    echo = f"{receiver.url}{path} {path} canary+six canary%2bsix cAnary77".encode()
    receiver.answers[path] = [Answer(307, headers={"Location": receiver.url + path, "X-Near": "/hook/cAnary77/"}, body=echo)]
    publish(school)
    deliver()
    [attempt] = all_attempts()
    assert attempt.response_head == "•••• •••• •••• •••• ••••"
    assert (attempt.response_headers["Location"], attempt.response_headers["X-Near"]) == ("••••", "/hook/••••/")


@pytest.mark.parametrize(
    ("failure", "error_class", "error"),
    [
        (NameTimeout("slow"), ErrorClass.DNS, "the name did not answer in time"),
        (ResolverBusy("busy"), ErrorClass.INTERRUPTED, "not sent: all of our look-ups of names were busy"),
    ],
)
def test_a_name_that_hangs_and_our_own_look_ups_that_are_busy_are_told_apart(
    school: Tenant,
    make_endpoint: MakeEndpoint,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
    failure: OSError,
    error_class: ErrorClass,
    error: str,
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(GuardedResolver, "resolve", refuse)
    make_endpoint(school, url="http://hook.example/")
    publish(school)
    deliver()
    delivery, [attempt] = only_delivery(), all_attempts()
    assert (attempt.error_class, attempt.error) == (error_class, error)
    ours = error_class is ErrorClass.INTERRUPTED
    health = EndpointHealth.unscoped.get()
    assert (health.failures, health.openings) == ((0, 0) if ours else (1, 1))
    assert (delivery.attempts, delivery.attempts_allowed) == (1, 13 if ours else 12)
    assert delivery.due_at >= clock() + timedelta(seconds=5)
