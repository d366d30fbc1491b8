"""Ordered endpoints: nothing overtakes an earlier event of its key, whatever becomes of that one."""

from __future__ import annotations

import json
from threading import Thread

import pytest
from django_scopes import scope

from integrations.models import Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver
from webhooks.outbound.delivery import claim_statements, claims
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.publishing import sweeping
from webhooks.outbound.publishing.publish import SPREAD_AT_ONCE, publish
from webhooks.outbound.recovery.resending import retry_delivery

pytestmark = pytest.mark.django_db(transaction=True)


def tell(tenant: Tenant, number: int, about: str = "pay_1") -> str:
    event = publish(
        tenant_id=tenant.pk,
        type="payment.completed",
        object={"id": about, "number": number},
        object_type="payment",
        object_id=about,
        key=f"{about}:{number}",
    )
    return event.pk


def told(receiver: Receiver, about: str = "pay_1") -> list[int]:
    objects = [json.loads(request.body)["data"]["object"] for request in receiver.requests]
    return [each["number"] for each in objects if each["id"] == about]


def claimed_numbers() -> list[tuple[str, int]]:
    objects = [json.loads(each.body)["data"]["object"] for each in claims.claim(50)]
    return sorted((each["id"], each["number"]) for each in objects)


def test_one_at_a_time_in_the_order_of_publishing(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, ordering="all")
    for number in range(15):
        tell(school, number, f"pay_{number % 3}")
    deliver()
    sent = [json.loads(request.body)["data"]["object"]["number"] for request in receiver.requests]
    assert sent == list(range(15))
    assert receiver.most_in_flight["/hook"] == 1


def test_by_object_different_objects_go_side_by_side(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, ordering="object")
    for number in range(4):
        for about in ("pay_1", "pay_2", "pay_3"):
            tell(school, number, about)
    assert claimed_numbers() == [("pay_1", 0), ("pay_2", 0), ("pay_3", 0)]
    assert claimed_numbers() == []
    Delivery.unscoped.filter(event__object_id="pay_2", lease__isnull=False).update(
        state=DeliveryState.DELIVERED, lease=None, lease_until=None
    )
    assert claimed_numbers() == [("pay_2", 1)]


def test_two_engines_keep_the_order_too(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school, ordering="object")
    for number in range(20):
        tell(school, number, "pay_1")
        tell(school, number, "pay_2")
    engines = [Thread(target=deliver) for _ in range(2)]
    for thread in engines:
        thread.start()
    for thread in engines:
        thread.join(30)
    assert told(receiver, "pay_1") == told(receiver, "pay_2") == list(range(20))
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 40


def test_a_failing_head_keeps_its_followers_waiting_and_nobody_else(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, ordering="object")
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    tell(school, 0)
    deliver()
    tell(school, 1)
    tell(school, 0, "pay_2")
    deliver()
    assert (told(receiver), told(receiver, "pay_2")) == ([0], [0])
    clock.advance(6)
    deliver()
    assert told(receiver) == [0, 0, 1]
    assert Delivery.unscoped.get(event__key="pay_1:1").attempts == 1


def test_when_the_head_dies_the_next_goes_on(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, ordering="all", retry_delays=[60])
    receiver.answers["/hook"] = [Answer(500), Answer(500), Answer(200)]
    tell(school, 0)
    tell(school, 1)
    deliver()
    clock.advance(70)
    deliver()
    assert told(receiver) == [0, 0, 1]
    assert dict(Delivery.unscoped.values_list("event__key", "state")) == {
        "pay_1:0": DeliveryState.FAILED,
        "pay_1:1": DeliveryState.DELIVERED,
    }


def test_an_early_one_that_is_sent_again_holds_up_the_later_ones_until_it_ended(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    tell(school, 0)
    deliver()
    tell(school, 1)
    with scope(tenant=school):
        retry_delivery(endpoint=endpoint, delivery_id=Delivery.unscoped.get(event__key="pay_1:0").pk)
    clock.advance(1)
    assert claimed_numbers() == [("pay_1", 0)]
    assert claimed_numbers() == []
    clock.advance(30)  # that worker died, and with it the one try that was granted
    deliver()
    assert told(receiver) == [0, 1]
    assert set(Delivery.unscoped.values_list("state", flat=True)) == {DeliveryState.DELIVERED}


def test_what_is_held_holds_up_what_comes_after_it(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
    tell(school, 0)
    tell(school, 1)
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True})
    clock.advance(1)
    tell(school, 2)
    deliver()
    assert told(receiver) == [0, 1, 2]


def test_a_test_event_does_not_wait_in_the_queue(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    for number in range(300):
        tell(school, number)
    deliver()
    assert len(receiver.requests) == 1
    clock.advance(1)
    with scope(tenant=school):
        services.send_test(endpoint=endpoint)
    deliver()
    assert [json.loads(request.body)["type"] for request in receiver.requests] == ["payment.completed", "webhook.test"]


def test_a_key_far_behind_a_blocked_one_is_found(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    make_endpoint(school, ordering="object")
    for number in range(claim_statements.WINDOW * 2 + 10):
        tell(school, number, "pay_1")
    Delivery.unscoped.filter(event__key="pay_1:0").update(attempts=1, due_at=clock.advance(hours=1))
    clock.advance(minutes=-59)
    tell(school, 0, "pay_2")
    for number in range(1, claim_statements.WINDOW + 10):
        tell(school, number, "pay_2")
    assert claimed_numbers() == [("pay_2", 0)]


def test_without_an_order_everything_goes_at_once(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    for number in range(5):
        tell(school, number)
    assert len(claimed_numbers()) == 5
    assert Endpoint.unscoped.get(pk=endpoint.pk).ordering == "none"


# --- Among many, and when it changes --------------------------------------------------------------------------------------


def test_an_earlier_event_that_many_want_comes_first_all_the_same(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    ordered, _ = make_endpoint(school, "/ordered", ordering="all")
    for number in range(SPREAD_AT_ONCE):
        make_endpoint(school, f"/{number}", events=["payment.completed"])
    tell(school, 1)
    assert list(Delivery.unscoped.values_list("endpoint_id", flat=True)) == [ordered.pk]
    publish(tenant_id=school.pk, type="payment.failed", object={"id": "pay_1", "number": 2}, key="later")
    assert sweeping.sweep() == 1
    rows = Delivery.unscoped.filter(endpoint=ordered).order_by("position")
    assert list(rows.values_list("event__type", flat=True)) == ["payment.completed", "payment.failed"]
    assert Delivery.unscoped.count() == SPREAD_AT_ONCE + 2
    assert [each.event_type for each in claims.claim(100) if each.endpoint_id == ordered.pk] == ["payment.completed"]


def change(tenant: Tenant, endpoint: Endpoint, **changes: object) -> None:
    with scope(tenant=tenant):
        services.update_endpoint(endpoint_id=endpoint.pk, changes=changes)


def test_what_waits_follows_the_order_that_its_endpoint_keeps_now(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    for number in range(2):
        tell(school, number, "pay_1")
        tell(school, number, "pay_2")
    with scope(tenant=school):
        test = services.send_test(endpoint=endpoint)
    keys = Delivery.unscoped.exclude(pk=test.pk).order_by("position").values_list("order_key", flat=True)
    change(school, endpoint, ordering="object")
    assert list(keys.all()) == ["payment:pay_1", "payment:pay_2"] * 2
    change(school, endpoint, batch_size=5)
    assert list(keys.all()) == ["*"] * 4
    change(school, endpoint, batch_size=1, ordering="all")
    Delivery.unscoped.filter(event__key="pay_1:0").update(order_key="")  # sent again by hand: it waits for nobody
    change(school, endpoint, ordering="object")
    assert list(keys.all()) == ["", "payment:pay_2", "payment:pay_1", "payment:pay_2"]
    assert Delivery.unscoped.get(pk=test.pk).order_key == ""
    change(school, endpoint, ordering="none")
    assert list(keys.all()) == [""] * 4
    assert len(claims.claim(10)) == 5


def test_what_is_in_flight_keeps_its_key(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    tell(school, 0)
    tell(school, 1)
    assert len(claims.claim(10)) == 1
    change(school, endpoint, ordering="none")
    assert list(Delivery.unscoped.order_by("position").values_list("order_key", flat=True)) == ["*", ""]
    assert claimed_numbers() == [("pay_1", 1)]
