"""Publishing with the business transaction, tenants apart, and what people do to endpoints and deliveries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread

import pytest
from django.db import IntegrityError, connection, transaction
from django_scopes import scope
from jsonschema import Draft202012Validator

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.events import DomainEvent, TimelineAsked
from integrations.models import Alert, Tenant
from integrations.models.base import ForeignWrite
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, make_due, publish
from webhooks.outbound.delivery import claims, sender, settling
from webhooks.outbound.endpoints import services
from webhooks.outbound.event_types import CATALOGUE, is_pattern
from webhooks.outbound.models import MAX_ATTEMPTS, Delivery, DeliveryState, Endpoint, Event
from webhooks.outbound.publishing.publish import on_domain_event
from webhooks.outbound.recovery.resending import retry_delivery
from webhooks.outbound.selectors import timeline_entries

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_body_is_what_the_api_promises(school: Tenant) -> None:
    with clock.stopped_at(datetime(2024, 1, 15, 10, 30, 0, 999_000, tzinfo=UTC)):
        event_id = publish(school, amount=5, name="Wanjirũ", cost=Decimal("1.50"))
    assert Event.unscoped.get().payload == (
        f'{{"id":"{event_id}","type":"payment.completed","created":"2024-01-15T10:30:00Z",'
        '"data":{"object":{"amount":5,"name":"Wanjir\\u0169","cost":"1.50"}}}'
    )


def test_the_same_fact_is_one_event(school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    first = publish(school, amount=5)
    assert publish(school, amount=6) == first
    assert Event.unscoped.get().payload.endswith('{"amount":5}}}')
    assert Delivery.unscoped.count() == 1
    others = {publish(school, "k2"), publish(school, type="payment.failed"), publish(studio)}
    assert len(others | {first}) == 4


def test_concurrent_twins_are_one_event(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    barrier, ids = Barrier(8), []

    def twin() -> None:
        try:
            barrier.wait(10)
            with transaction.atomic():
                ids.append(publish(school))
        finally:
            connection.close()

    threads = [Thread(target=twin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ids) == 8
    assert set(ids) == {Event.unscoped.get().pk}
    assert Delivery.unscoped.count() == 1


def test_a_rollback_leaves_no_event(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    with transaction.atomic():
        publish(school)
        assert Delivery.unscoped.count() == 1
        transaction.set_rollback(True)
    assert Event.unscoped.count() == 0
    assert Delivery.unscoped.count() == 0
    deliver()
    assert receiver.requests == []


def test_nothing_goes_out_before_the_commit(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    with transaction.atomic():
        publish(school)
        runner = Thread(target=deliver)
        runner.start()
        runner.join(60)
        assert receiver.requests == []
    deliver()
    assert len(receiver.requests) == 1


def test_what_subscribes_is_owed_the_event_and_what_is_off_is_owed_it_later(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint
) -> None:
    all_of_it, _ = make_endpoint(school, "/all", events=["*"])
    family, _ = make_endpoint(school, "/family", events=["message.*", "payment.*"])
    make_endpoint(school, "/other", events=["payment.failed"])
    off, _ = make_endpoint(school, "/off", is_active=False)
    gone, _ = make_endpoint(school, "/gone")
    with scope(tenant=school):
        services.delete_endpoint(endpoint_id=gone.pk)
    make_endpoint(studio, "/foreign")
    publish(school)
    states = dict(Delivery.unscoped.values_list("endpoint_id", "state"))
    assert states == {all_of_it.pk: "pending", family.pk: "pending", off.pk: "held"}
    assert set(Delivery.unscoped.values_list("tenant_id", flat=True)) == {school.pk}


def test_a_domain_event_is_published_without_its_private_part(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    with scope(tenant=school):
        on_domain_event(
            DomainEvent(
                tenant_id=school.pk,
                type="payment.completed",
                object={"id": "pay_1"},
                object_type="payment",
                object_id="pay_1",
                key="pay_1:succeeded",
                private={"phone": "+254700000001"},
            )
        )
    event = Event.unscoped.get()
    assert (event.type, event.key, event.object_type, event.object_id) == (
        "payment.completed",
        "pay_1:succeeded",
        "payment",
        "pay_1",
    )
    assert json.loads(event.payload)["data"] == {"object": {"id": "pay_1"}}
    assert "254700000001" not in event.payload


def test_another_tenants_scope_cant_publish(school: Tenant, studio: Tenant) -> None:
    with scope(tenant=studio), pytest.raises(ForeignWrite):
        publish(school)
    assert Event.unscoped.count() == 0


def test_the_database_itself_keeps_tenants_apart(school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint) -> None:
    mine, _ = make_endpoint(school)
    foreign, _ = make_endpoint(studio, "/foreign", is_active=False)
    publish(school)
    event = Event.unscoped.get()
    delivery = Delivery.unscoped.get()
    with pytest.raises(IntegrityError, match="tenant_fk"), transaction.atomic():
        Delivery.unscoped.filter(pk=delivery.pk).update(endpoint_id=foreign.pk)
    with pytest.raises(IntegrityError, match="tenant_fk"), transaction.atomic():
        Delivery.unscoped.bulk_create([Delivery(tenant_id=studio.pk, event_id=event.pk, endpoint_id=foreign.pk)])
    with pytest.raises(IntegrityError, match="tenant_fk"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhooks_outbound_deliveryattempt (tenant_id, delivery_id, number, started_at, finished_at,"
            " error_class, error, request_headers, response_headers, response_head, address)"
            " VALUES (%s, %s, 1, now(), now(), '', '', '{}', '{}', '', '')",
            [studio.pk, delivery.pk],
        )
    assert list(Delivery.unscoped.values_list("endpoint_id", "tenant_id")) == [(mine.pk, school.pk)]


def test_secrets_are_sealed_for_their_tenant(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, secret = make_endpoint(school, headers={"X-Token": "canary-value-0001"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT e::text FROM webhooks_outbound_endpoint e")
        [[row]] = cursor.fetchall()
    assert secret not in row
    assert "canary-value-0001" not in row
    stored = Endpoint.unscoped.get(pk=endpoint.pk)
    assert [key["secret"] for key in stored.signing_keys()] == [secret]
    assert stored.headers() == {"X-Token": "canary-value-0001"}
    assert stored.masked_headers() == {"X-Token": "••••0001"}


# --- Switching off, deleting ----------------------------------------------------------------------------------------------


def test_what_is_pending_is_held_while_the_endpoint_is_off(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
        assert Delivery.objects.get().state == DeliveryState.HELD
        make_due()
        deliver()
        assert receiver.requests == []
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True})
    deliver()
    assert Delivery.unscoped.get().state == DeliveryState.DELIVERED
    assert len(receiver.requests) == 1


def test_switching_on_again_resolves_the_alert_and_clears_the_reason(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    for _ in range(2):
        services.disable_endpoint(endpoint_id=endpoint.pk, tenant_id=school.pk, reason="it answered 410 Gone")
    alert = Alert.objects.get()
    assert (alert.count, alert.resolved_at) == (1, None)
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True})
    assert (Endpoint.unscoped.get().is_active, Endpoint.unscoped.get().disabled_reason) == (True, "")
    assert Alert.objects.get().resolved_at is not None


def test_an_attempt_in_flight_when_its_endpoint_is_switched_off_is_held_afterwards(
    school: Tenant, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    [claimed] = claims.claim(10)
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
    assert Delivery.unscoped.get().state == DeliveryState.PENDING  # its worker has it
    now = clock.now()
    settling.settle(
        [
            sender.Outcome(
                claimed=claimed,
                started_at=now,
                finished_at=now,
                duration_ms=1,
                status_code=500,
                error_class=sender.ErrorClass.HTTP_STATUS,
                error="the endpoint answered 500",
            )
        ]
    )
    assert Delivery.unscoped.get().state == DeliveryState.HELD


def test_deleting_fails_what_is_owed_and_keeps_history(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    with scope(tenant=school):
        services.delete_endpoint(endpoint_id=endpoint.pk)
        with pytest.raises(Endpoint.DoesNotExist):
            services.delete_endpoint(endpoint_id=endpoint.pk)
    delivery = Delivery.unscoped.get()
    assert (delivery.state, delivery.last_error) == (DeliveryState.FAILED, "the endpoint was deleted")
    deliver()
    assert receiver.requests == []


# --- Resending ------------------------------------------------------------------------------------------------------------


def test_a_pending_delivery_can_be_sent_early(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    publish(school)
    deliver()
    delivery = Delivery.unscoped.get()
    assert delivery.due_at > clock.now()
    with scope(tenant=school):
        retry_delivery(endpoint=endpoint, delivery_id=delivery.pk)
    deliver()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.attempts_allowed) == (DeliveryState.DELIVERED, 2, MAX_ATTEMPTS)


def test_a_finished_delivery_gets_one_more_try_with_the_next_number(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500), Answer(500), Answer(200)]
    publish(school)
    Delivery.unscoped.update(attempts_allowed=1)
    deliver()
    assert Delivery.unscoped.get().state == DeliveryState.FAILED
    for state, numbers in ((DeliveryState.FAILED, [1, 2]), (DeliveryState.DELIVERED, [1, 2, 3])):
        with scope(tenant=school):
            delivery = retry_delivery(endpoint=endpoint, delivery_id=Delivery.objects.get().pk)
            assert (delivery.state, delivery.finished_at) == (DeliveryState.PENDING, None)
        deliver()
        delivery.refresh_from_db()
        assert delivery.state == state
        assert list(delivery.tries.model.unscoped.values_list("number", flat=True).order_by("number")) == numbers
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_what_was_delivered_once_stays_delivered(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(200), Answer(500), Answer(200)]
    publish(school)
    deliver()
    first = Delivery.unscoped.get()
    for attempts, status in ((2, 500), (3, 200)):
        with scope(tenant=school):
            retry_delivery(endpoint=endpoint, delivery_id=first.pk)
        deliver()
        again = Delivery.unscoped.get()
        assert (again.state, again.dead_reason) == (DeliveryState.DELIVERED, "")
        assert (again.attempts, again.last_status, bool(again.last_error)) == (attempts, status, status == 500)
        assert again.delivered_at == first.delivered_at


def test_what_is_in_flight_or_off_cant_be_resent(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    [claimed] = claims.claim(10)
    with scope(tenant=school):
        with pytest.raises(Conflict, match="right now"):
            retry_delivery(endpoint=endpoint, delivery_id=claimed.id)
        off = services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
        for act in (
            lambda: retry_delivery(endpoint=off, delivery_id=claimed.id),
            lambda: services.send_test(endpoint=off),
        ):
            with pytest.raises(Conflict, match="switched off"):
                act()
    delivery = Delivery.unscoped.get()
    assert (delivery.fence, delivery.attempts, delivery.state) == (1, 1, DeliveryState.PENDING)
    assert Event.unscoped.count() == 1


def test_a_test_event_goes_to_one_endpoint_the_real_way_and_is_tried_once(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school, "/one", events=["payment.failed"])
    make_endpoint(school, "/two")
    receiver.answers["/one"] = [Answer(500)]
    with scope(tenant=school):
        services.send_test(endpoint=endpoint)
        services.send_test(endpoint=endpoint)
    deliver()
    assert [request.path for request in receiver.requests] == ["/one", "/one"]
    assert json.loads(receiver.requests[0].body)["type"] == "webhook.test"
    assert set(Delivery.unscoped.values_list("state", "attempts")) == {(DeliveryState.FAILED, 1)}
    assert Alert.objects.count() == 0


# --- Timeline, catalogue --------------------------------------------------------------------------------------------------


def test_the_timeline_tells_of_attempts_and_of_what_is_owed(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    make_endpoint(school, name="Fees system")
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    publish(school)
    deliver()
    asked = TimelineAsked(tenant_id=school.pk, object_type="payment", object_id="pay_1")
    first, owed = timeline_entries(asked)
    assert (first.kind, first.status) == ("delivery", "failed")
    assert first.text == "payment.completed to Fees system, attempt 1: answered 500"
    assert first.duration_ms is not None
    assert (owed.text, owed.status) == ("payment.completed to Fees system: due, attempt 2", "pending")
    assert owed.at - first.at >= timedelta(seconds=4.9)
    make_due()
    deliver()
    assert [entry.text for entry in timeline_entries(asked)] == [
        "payment.completed to Fees system, attempt 1: answered 500",
        "payment.completed to Fees system, attempt 2: answered 200",
    ]
    assert timeline_entries(TimelineAsked(tenant_id=studio.pk, object_type="payment", object_id="pay_1")) == []
    assert timeline_entries(TimelineAsked(tenant_id=school.pk, object_type="payment", object_id="pay_2")) == []


@pytest.mark.parametrize("event_type", CATALOGUE, ids=lambda event_type: event_type.name)
def test_each_example_fulfils_its_schema(event_type: object) -> None:
    document = event_type.document()  # type: ignore[attr-defined]
    Draft202012Validator.check_schema(document["schema"])
    validator = Draft202012Validator(document["schema"], format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(document["example"])
    broken = {**document["example"], "data": {"object": {}}}
    assert not validator.is_valid(broken)


def test_the_catalogue_holds_what_features_emit() -> None:
    names = [event_type.name for event_type in CATALOGUE]
    assert len(set(names)) == len(names)
    assert {"payment.completed", "payment.failed", "payment.refunded", "payment.conflicted"} <= set(names)
    assert {"message.delivered", "message.failed"} <= set(names)


@pytest.mark.parametrize("text", ["*", "payment.*", "payment.completed", "lab_order.shipped", "a.b.c", "a.b.*"])
def test_patterns(text: str) -> None:
    assert is_pattern(text) is True


@pytest.mark.parametrize(
    "text", ["", "payment", "**", "*.completed", "payment.", "payment.*.x", "Payment.x", "a b.c", "a.*\n", "x." + "y" * 100]
)
def test_no_patterns(text: str) -> None:
    assert is_pattern(text) is False
