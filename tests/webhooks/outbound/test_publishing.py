"""Publishing where several are at work at once, facts in a form that breaks their schema, and payloads that are erased."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django_scopes import scope

from integrations import events
from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.events import DomainEvent, OwnEventAsked, ask, emit, subscribe
from integrations.models import Alert, AuditEntry, Tenant
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish
from webhooks.outbound.delivery import batches
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import DeadReason, Delivery, DeliveryAttempt, DeliveryState, Event
from webhooks.outbound.publishing import definitions, validation
from webhooks.outbound.publishing import publish as publishing
from webhooks.outbound.publishing.erasing import erase_payload
from webhooks.outbound.publishing.filters import Allowance
from webhooks.outbound.publishing.own import publish_own
from webhooks.outbound.publishing.publish import on_domain_event
from webhooks.outbound.recovery.resending import retry_delivery

pytestmark = pytest.mark.django_db(transaction=True)

ORDER = {"id": "42", "items": [{"product": "print", "quantity": 2}]}


def in_thread(work: Callable[[], Any]) -> Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    return thread


def owed_to() -> set[str]:
    return set(Delivery.unscoped.values_list("endpoint_id", flat=True))


# --- Side by side ---------------------------------------------------------------------------------------------------------


def test_an_endpoint_made_while_an_event_is_published_breaks_neither(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    before, _ = make_endpoint(school, "/before")
    published, made = Flag(), Flag()

    def publisher() -> None:
        with transaction.atomic():
            publish(school, "k1")
            published.set()
            assert made.wait(10)

    thread = in_thread(publisher)
    assert published.wait(10)
    during, _ = make_endpoint(school, "/during")
    made.set()
    thread.join(10)
    # It was made after the event had looked who wants it: it is told of what comes after, and a replay finds the rest.
    assert owed_to() == {before.pk}
    publish(school, "k2")
    assert set(Delivery.unscoped.filter(event__key="k2").values_list("endpoint_id", flat=True)) == {before.pk, during.pk}


def test_an_endpoint_that_is_not_committed_yet_is_not_waited_for(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    made, published = Flag(), Flag()

    def maker() -> None:
        with transaction.atomic():
            make_endpoint(school)
            made.set()
            assert published.wait(10)

    thread = in_thread(maker)
    assert made.wait(10)
    publish(school, "k1")
    published.set()
    thread.join(10)
    assert owed_to() == set()
    publish(school, "k2")
    assert Delivery.unscoped.count() == 1


def test_a_filter_is_asked_of_what_receivers_see(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    """A Decimal is text on the wire: a filter must not say one thing now and another when the event is replayed."""
    as_text, _ = make_endpoint(school, "/text", filter={"data.object.cost": "1.50"})
    make_endpoint(school, "/number", filter={"data.object.cost": 1.5})
    publish(school, cost=Decimal("1.50"))
    assert owed_to() == {as_text.pk}


def test_what_fails_later_in_the_transaction_takes_the_own_event_along(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    with scope(tenant=school), transaction.atomic():
        _event, is_new = publish_own(tenant_id=school.pk, type="order.created", data=ORDER, key="42")
        assert is_new
        assert Delivery.unscoped.count() == 1
        transaction.set_rollback(True)
    assert (Event.unscoped.count(), Delivery.unscoped.count()) == (0, 0)
    with scope(tenant=school):
        _event, is_new = publish_own(tenant_id=school.pk, type="order.created", data=ORDER, key="42")
    assert is_new


def test_concurrent_twins_are_heard_of_once(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    heard: list[str] = []

    def listen(event: DomainEvent) -> None:
        if event.type == "order.created":
            heard.append(event.key)

    subscribe(DomainEvent, listen)
    try:
        results: list[tuple[str, bool]] = []

        def twin() -> None:
            with scope(tenant=school):
                event, is_new = publish_own(tenant_id=school.pk, type="order.created", data=ORDER, key="42")
                results.append((event.pk, is_new))

        threads = [in_thread(twin) for _ in range(6)]
        for thread in threads:
            thread.join(20)
    finally:
        events._handlers[DomainEvent].remove(listen)
    assert heard == ["42"]
    assert len(results) == 6
    assert sorted(is_new for _id, is_new in results) == [False] * 5 + [True]
    assert {event_id for event_id, _new in results} == {Event.unscoped.get().pk}
    assert Delivery.unscoped.count() == 1


# --- Form -----------------------------------------------------------------------------------------------------------------


def fact(tenant: Tenant, type: str, key: str, **content: Any) -> DomainEvent:
    return DomainEvent(tenant_id=tenant.pk, type=type, object=content, object_type="payment", object_id="pay_1", key=key)


def test_a_fact_of_the_hub_is_told_in_any_form_and_raises_one_alert(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    with scope(tenant=school):
        for key in ("k1", "k2"):
            with transaction.atomic():
                on_domain_event(fact(school, "payment.completed", key, id="pay_1", secret="254712345678"))
                assert Alert.objects.count() == (key == "k2"), "nothing waits for the alert's row inside the booking"
    assert Delivery.unscoped.count() == 2
    alert = Alert.objects.get()
    assert (alert.tenant_id, alert.kind, alert.subject, alert.count) == (
        school.pk,
        validation.BROKEN_ALERT,
        "payment.completed",
        2,
    )
    assert "payment.completed" in alert.message
    assert "254712345678" not in alert.message


def test_what_takes_too_long_to_filter_is_let_through_and_raises_an_alert(
    school: Tenant, make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "Allowance", lambda: Allowance(left=2500))
    for number in range(4):
        make_endpoint(school, f"/{number}", filter={"data.object.marks": 1})
    publish(school, "small", marks=[2])
    assert (owed_to(), Alert.objects.count()) == (set(), 0)
    with transaction.atomic():
        publish(school, "large", marks=[2] * 1000)
        assert Alert.objects.count() == 0
    assert len(owed_to()) == 2
    publish(school, "larger", marks=[2] * 1000)
    alert = Alert.objects.get()
    assert (alert.tenant_id, alert.kind, alert.subject, alert.count) == (
        school.pk,
        publishing.UNASKED_ALERT,
        "payment.completed",
        2,
    )


def test_what_a_tenant_hands_in_is_checked_once(school: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    real = validation.first_problem
    with scope(tenant=school):
        monkeypatch.setattr(validation, "first_problem", lambda *given: checked.append("") or real(*given))
        publish_own(tenant_id=school.pk, type="order.created", data=ORDER, key="42")
        assert len(checked) == 1
        on_domain_event(fact(school, "payment.completed", "42", id="pay_1"))
    assert len(checked) == 2
    assert Alert.objects.get().kind == validation.BROKEN_ALERT


def test_a_rollback_leaves_no_alert_either(school: Tenant) -> None:
    with scope(tenant=school), transaction.atomic():
        on_domain_event(fact(school, "payment.completed", "k1", id="pay_1"))
        transaction.set_rollback(True)
    assert (Event.unscoped.count(), Alert.objects.count()) == (0, 0)


def test_a_check_that_breaks_does_not_stop_the_booking(school: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(validation, "first_problem", broken)
    with scope(tenant=school), transaction.atomic():
        on_domain_event(fact(school, "payment.completed", "k1", id="pay_1"))
    assert Event.unscoped.get().key == "k1"


def test_events_carry_the_version_of_their_schema(school: Tenant, studio: Tenant) -> None:
    with scope(tenant=school):
        definitions.define_type(tenant=school, name="booking.created", schema={"type": "object"})
        definitions.redefine_type(name="booking.created", schema={"required": ["id"]})
        publish_own(tenant_id=school.pk, type="booking.created", data={"id": 1})
        publish_own(tenant_id=school.pk, type="booking.other", data={"id": 1})
        with pytest.raises(InvalidRequest) as refused:
            publish_own(tenant_id=school.pk, type="booking.created", data={})
    assert refused.value.attr == "data.id"
    assert dict(Event.unscoped.values_list("type", "type_version")) == {"booking.created": 2, "booking.other": 1}
    with scope(tenant=studio):  # another tenant's definition is not theirs
        publish_own(tenant_id=studio.pk, type="booking.created", data={})
    assert Event.unscoped.filter(tenant=studio).count() == 1


def test_others_in_the_hub_can_ask_what_a_tenant_may_say(school: Tenant) -> None:
    with scope(tenant=school):
        definitions.define_type(tenant=school, name="booking.old")
        definitions.archive_type(name="booking.old")

    def answer(type: str, content: dict[str, Any] | None = None) -> str:
        return str(ask(OwnEventAsked(tenant_id=school.pk, type=type, object=content)))

    assert answer("order.created") == ""
    assert answer("order.created", ORDER) == ""
    assert answer("anything.else", {"a": 1}) == ""
    assert "Only the hub itself" in answer("payment.completed")
    assert "Only the hub itself" in answer("payment.made_up", {})
    assert "archived" in answer("booking.old")
    assert "dotted name" in answer("Order")
    assert answer("order.created", {"id": "1"}).startswith("data.items: This is missing")
    assert "null character" in answer("anything.else", {"a": "\x00"})
    assert "256 kB" in answer("anything.else", {"a": "x" * 300_000})


# --- Erasing --------------------------------------------------------------------------------------------------------------


def test_erasing_forgets_what_was_said_and_what_was_answered(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    told, _ = make_endpoint(school, "/told")
    make_endpoint(school, "/off", is_active=False)
    receiver.answers["/told"] = [Answer(200, body=b"thanks, Ada", headers={"X-Who": "Ada"})]
    event_id = publish(school, name="Ada")
    deliver()
    with scope(tenant=school):
        erased = erase_payload(event_id=event_id)
        assert erase_payload(event_id=event_id).erased_at == erased.erased_at
    event = Event.unscoped.get()
    assert (event.payload, event.erased_at, event.key) == ("", erased.erased_at, "k1")
    [attempt] = DeliveryAttempt.unscoped.all()
    assert (attempt.response_head, attempt.response_headers, attempt.status_code) == ("", {}, 200)
    states = {row.endpoint_id: (row.state, row.dead_reason) for row in Delivery.unscoped.all()}
    assert states.pop(told.pk) == (DeliveryState.DELIVERED, "")
    assert list(states.values()) == [(DeliveryState.FAILED, DeadReason.UNSENDABLE)]
    assert AuditEntry.unscoped.get(action="event.erased").object_id == event_id
    with scope(tenant=school), pytest.raises(Conflict, match="erased"):
        retry_delivery(endpoint=told, delivery_id=Delivery.unscoped.get(endpoint=told).pk)
    with connection.cursor() as cursor:
        for table in ("event", "delivery", "deliveryattempt"):
            cursor.execute(f"SELECT count(*) FROM webhooks_outbound_{table} row WHERE row::text LIKE '%Ada%'")
            assert cursor.fetchone() == (0,), table


def test_what_is_being_sent_is_not_erased(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    event_id = publish(school)
    Delivery.unscoped.update(lease_until=clock.now() + timedelta(seconds=30))
    with scope(tenant=school), pytest.raises(Conflict, match="right now"):
        erase_payload(event_id=event_id)
    assert Event.unscoped.get().payload
    Delivery.unscoped.update(lease_until=clock.now() - timedelta(seconds=1))
    with scope(tenant=school):
        erase_payload(event_id=event_id)
    assert Delivery.unscoped.get().dead_reason == DeadReason.UNSENDABLE


@pytest.mark.parametrize("erased", ["k1", "k2"])
def test_a_batch_goes_on_without_what_was_erased(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, erased: str
) -> None:
    make_endpoint(school, batch_size=3, batch_wait=1)
    for number in (1, 2, 3):
        publish(school, f"k{number}", number=number)
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    deliver(stop=DeliveryAttempt.unscoped.exists)
    carrier = Delivery.unscoped.get(state=DeliveryState.PENDING)
    assert Delivery.unscoped.filter(state=DeliveryState.BATCHED, carrier=carrier).count() == 2
    with scope(tenant=school):
        erase_payload(event_id=Event.unscoped.get(key=erased).pk)
    gone = Delivery.unscoped.get(event__key=erased)
    assert (gone.state, gone.dead_reason, gone.carrier_id) == (DeliveryState.FAILED, DeadReason.UNSENDABLE, None)
    Delivery.unscoped.filter(state=DeliveryState.GATHERING).update(created=clock.now() - timedelta(seconds=5))
    Delivery.unscoped.filter(state=DeliveryState.PENDING).update(due_at=clock.now())
    rest = Delivery.unscoped.exclude(pk=gone.pk)
    deliver(stop=lambda: not rest.exclude(state=DeliveryState.DELIVERED).exists())
    assert set(rest.values_list("state", flat=True)) == {DeliveryState.DELIVERED}
    sent = json.loads(receiver.requests[-1].body)["events"]
    assert [each["data"]["object"]["number"] for each in sent] == [n for n in (1, 2, 3) if f"k{n}" != erased]


def test_what_an_erased_one_was_to_carry_is_held_while_the_endpoint_is_off(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, batch_size=3)
    for number in (1, 2, 3):
        publish(school, f"k{number}")
    assert batches.form() == 1
    carried = Delivery.unscoped.filter(event__key__in=["k2", "k3"])
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
        erase_payload(event_id=Event.unscoped.get(key="k1").pk)
        assert set(carried.values_list("state", "carrier")) == {("held", None)}
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True}, held="discard")
    assert set(carried.values_list("state", "dead_reason")) == {("failed", "discarded")}


def test_an_event_that_waits_for_its_deliveries_gets_none_once_erased(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    event_id = publish(school)
    Delivery.unscoped.all().delete()
    Event.unscoped.update(spread_at=None)
    with scope(tenant=school):
        erase_payload(event_id=event_id)
    assert Event.unscoped.get().spread_at is not None


def test_a_fact_that_was_erased_is_the_same_fact_still(school: Tenant) -> None:
    with scope(tenant=school):
        event, _ = publish_own(tenant_id=school.pk, type="order.created", data=ORDER, key="42")
        erase_payload(event_id=event.pk)
        emit(fact(school, "order.created", "42", id="42"))
        again, is_new = publish_own(tenant_id=school.pk, type="order.created", data=ORDER, key="42")
    assert (again.pk, is_new, again.payload) == (event.pk, False, "")
    assert Alert.objects.count() == 0


# --- Cost -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [0, 1, 10, 60])
def test_an_event_and_all_that_is_owed_for_it_are_two_statements(
    school: Tenant, make_endpoint: MakeEndpoint, wanted: int
) -> None:
    for number in range(wanted):
        make_endpoint(school, f"/{number}")
    with CaptureQueriesContext(connection) as captured:
        publish(school, "k1")
    assert len(captured) == 2
    assert Delivery.unscoped.count() == (wanted if wanted <= publishing.SPREAD_AT_ONCE else 0)
    event = Event.unscoped.get()
    assert (event.spread_at is None) == (wanted > publishing.SPREAD_AT_ONCE)
    made = set(Delivery.unscoped.values_list("state", "attempts", "attempts_allowed", "order_key", "tenant_id", "fence"))
    assert made <= {("pending", 0, 12, "", school.pk, 0)}
    assert set(Delivery.unscoped.values_list("due_at", "created")) <= {(event.created, event.created)}


def test_a_twin_costs_what_it_finds_and_owes_nothing(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    first = publish(school, "k1", status="first")
    assert publish(school, "k1", status="second") == first
    assert "first" in Event.unscoped.get().payload
    assert Delivery.unscoped.count() == 1
