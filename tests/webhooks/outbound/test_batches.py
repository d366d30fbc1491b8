"""Batches: gathered, sent as one request under one id, settled together."""

from __future__ import annotations

import json
from collections import Counter
from threading import Barrier, Thread

import pytest
from django.db import connection
from django_scopes import scope
from standardwebhooks.webhooks import Webhook

from integrations.models import Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, all_attempts, deliver, publish
from webhooks.outbound.delivery import batches
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, Event

pytestmark = pytest.mark.django_db(transaction=True)


def publish_many(tenant: Tenant, count: int, first: int = 0) -> list[str]:
    return [publish(tenant, f"k{number:03}", number=number) for number in range(first, first + count)]


def states() -> Counter[str]:
    return Counter(Delivery.unscoped.values_list("state", flat=True))


def test_a_full_batch_goes_at_once_as_one_request(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    _, secret = make_endpoint(school, batch_size=3)
    ids = publish_many(school, 3)
    assert states() == {"gathering": 3}
    assert batches.form() == 1
    deliver()
    [request] = receiver.requests
    body = json.loads(request.body)
    carrier = Delivery.unscoped.get(carrier=None)
    assert (body["id"], body["type"], request.headers["webhook-id"]) == (carrier.pk, "batch", carrier.pk)
    assert [each["id"] for each in body["events"]] == ids
    assert body["events"][1] == json.loads(Event.unscoped.get(pk=ids[1]).payload)
    with_clock = {**request.headers}
    assert request.headers["webhook-signature"] == Webhook(secret).sign(carrier.pk, clock(), request.body.decode())
    assert with_clock["content-type"] == "application/json"
    assert states() == {"delivered": 3}
    assert set(Delivery.unscoped.values_list("delivered_at", "finished_at", "last_status")) == {(clock(), clock(), 200)}
    assert [attempt.delivery_id for attempt in all_attempts()] == [carrier.pk]


def test_what_does_not_fill_waits_no_longer_than_agreed(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, batch_size=10, batch_wait=5)
    publish_many(school, 1)
    clock.advance(4)
    publish_many(school, 1, first=1)
    clock.advance(0.9)
    assert batches.form() == 0
    clock.advance(0.1)
    assert batches.form() == 1
    deliver()
    assert [len(json.loads(request.body)["events"]) for request in receiver.requests] == [2]


def test_a_batch_of_one_is_an_ordinary_event(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, batch_size=10, batch_wait=5)
    [event_id] = publish_many(school, 1)
    clock.advance(5)
    batches.form()
    deliver()
    [request] = receiver.requests
    assert (request.headers["webhook-id"], json.loads(request.body)["type"]) == (event_id, "payment.completed")


def test_the_engine_forms_them_by_itself_and_a_long_queue_makes_several(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    make_endpoint(school, batch_size=4, batch_wait=1)
    ids = publish_many(school, 11)
    deliver(stop=lambda: Delivery.unscoped.filter(state="delivered").count() == 11)
    sent = [[each["id"] for each in json.loads(request.body)["events"]] for request in receiver.requests]
    assert sorted(len(each) for each in sent) == [3, 4, 4]
    assert sorted(event_id for each in sent for event_id in each) == sorted(ids)


def test_a_retry_is_the_same_batch_under_the_same_id_and_new_events_wait_for_the_next(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, batch_size=2)
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    publish_many(school, 2)
    batches.form()
    deliver()
    assert states() == {"pending": 1, "batched": 1}
    clock.advance(6)
    publish_many(school, 1, first=2)
    deliver()
    one, two = receiver.requests
    assert (one.body, one.headers["webhook-id"]) == (two.body, two.headers["webhook-id"])
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]
    assert states() == {"delivered": 2, "gathering": 1}


def test_a_dead_batch_is_dead_for_each_of_its_events(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webhooks.outbound.delivery import notices

    told: list[tuple[str, str]] = []
    monkeypatch.setattr(notices, "died", lambda endpoint, dead: told.extend((each.event_id, each.reason) for each in dead))
    make_endpoint(school, batch_size=3, retry_delays=[10])
    receiver.answers["/hook"] = [Answer(500)]
    ids = publish_many(school, 3)
    batches.form()
    deliver()
    clock.advance(11)
    deliver()
    ends = set(Delivery.unscoped.values_list("state", "dead_reason", "last_status", "last_error", "finished_at"))
    assert ends == {(DeliveryState.FAILED, DeadReason.EXHAUSTED, 500, "the endpoint answered 500", clock())}
    assert sorted(told) == sorted((event_id, DeadReason.EXHAUSTED) for event_id in ids)


def test_flat_events_in_a_batch(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    make_endpoint(school, batch_size=2, payload_format="flat")
    publish_many(school, 2)
    batches.form()
    deliver()
    [request] = receiver.requests
    body = json.loads(request.body)
    assert [each["data"] for each in body["events"]] == [{"number": 0}, {"number": 1}]
    assert request.headers["x-hub-event"] == "batch"


def test_a_body_has_a_limit(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(school, batch_size=10, batch_wait=5)
    size = len(Event.unscoped.get(pk=publish_many(school, 1)[0]).payload)
    monkeypatch.setattr(batches, "MAX_BODY_BYTES", size * 3)
    publish_many(school, 6, first=1)
    publish(school, "huge", text="x" * size * 5)
    clock.advance(5)
    assert batches.form() == 4
    assert (
        Counter(Delivery.unscoped.filter(carrier__isnull=False).values_list("carrier_id", flat=True)).most_common(1)[0][1] == 2
    )
    assert Delivery.unscoped.get(event__key="huge").carrier_id is None
    assert states() == {"pending": 4, "batched": 4}


def test_an_event_erased_while_it_waits_is_left_out(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, batch_size=3)
    ids = publish_many(school, 3)
    batches.form()
    Event.unscoped.filter(pk=ids[1]).update(payload="")
    deliver()
    assert [each["id"] for each in json.loads(receiver.requests[0].body)["events"]] == [ids[0], ids[2]]


def test_two_formers_never_take_the_same_event(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    for number in range(4):
        make_endpoint(school, f"/{number}", batch_size=2)
    publish_many(school, 10)
    barrier, formed = Barrier(2), []

    def former() -> None:
        try:
            barrier.wait(10)
            formed.extend(batches.form() for _ in range(20))
        finally:
            connection.close()

    threads = [Thread(target=former) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(formed) == 20
    assert states() == {"pending": 20, "batched": 20}
    carried = Counter(Delivery.unscoped.filter(carrier__isnull=False).values_list("carrier_id", flat=True))
    assert set(carried.values()) == {1}


def test_switched_off_it_gathers_nothing_and_a_batch_keeps_together(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school, batch_size=2)
    publish_many(school, 3)
    batches.form()
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
    assert states() == {"held": 2, "batched": 1}
    clock.advance(60)
    assert batches.form() == 0
    deliver()
    assert receiver.requests == []
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True})
    deliver()
    sent = [json.loads(request.body) for request in receiver.requests]
    assert sorted(len(each["events"]) if each["type"] == "batch" else 1 for each in sent) == [1, 2]
    assert states() == {"delivered": 3}


def test_a_smaller_size_takes_up_what_had_gathered(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    endpoint, _ = make_endpoint(school, batch_size=10)
    publish_many(school, 3)
    Endpoint.unscoped.filter(pk=endpoint.pk).update(batch_size=1)
    assert batches.form() == 3
    assert states() == {"pending": 3}


def test_ordered_batches_go_one_after_the_other(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, batch_size=2, ordering="object")
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    publish_many(school, 6)
    assert batches.form() == 3
    deliver()
    assert len(receiver.requests) == 1
    clock.advance(6)
    deliver()
    numbers = [[each["data"]["object"]["number"] for each in json.loads(r.body)["events"]] for r in receiver.requests]
    assert numbers == [[0, 1], [0, 1], [2, 3], [4, 5]]
    assert receiver.most_in_flight["/hook"] == 1


def test_what_gathered_goes_alone_once_there_are_no_batches(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, batch_size=10, batch_wait=300)
    publish_many(school, 2)
    assert batches.form() == 0
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"batch_size": 1})
    assert batches.form() == 2
    assert states() == {"pending": 2}
