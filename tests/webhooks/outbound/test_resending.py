"""Sending a delivery again, rule by rule; what the engine makes of it is in the tests of the engine."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django_scopes import scope

from integrations.contracts.errors import Conflict
from integrations.models import AuditEntry, Tenant
from tests.factories import START, MovableClock, make_tenant
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish, wait_until
from webhooks.outbound import retention
from webhooks.outbound.delivery import claims
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event
from webhooks.outbound.recovery.resending import retry_delivery, send_again

pytestmark = pytest.mark.django_db


@pytest.fixture
def school(db: None) -> Tenant:
    return make_tenant("school")


@pytest.fixture
def studio(db: None) -> Tenant:
    return make_tenant("studio")


def state(delivery: Delivery | str) -> tuple[Any, ...]:
    row = Delivery.unscoped.get(pk=delivery if isinstance(delivery, str) else delivery.pk)
    return row.state, row.attempts, row.attempts_allowed, row.dead_reason


def put(**fields: Any) -> Delivery:
    """Bring the only delivery into a state."""
    Delivery.unscoped.update(**fields)
    found: Delivery = Delivery.unscoped.get()
    return found


def resend(tenant: Tenant, endpoint: Endpoint, delivery: Delivery) -> Delivery:
    with scope(tenant=tenant):
        return retry_delivery(endpoint=endpoint, delivery_id=delivery.pk)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # One that waits is tried in its place: its tries are what they were.
        ({"state": "pending", "attempts": 3}, ("pending", 3, 12, "")),
        # One that gathers goes alone.
        ({"state": "gathering"}, ("pending", 0, 12, "")),
        # What ended gets one more, whatever it had left.
        ({"state": "failed", "attempts": 12, "dead_reason": "exhausted"}, ("pending", 12, 13, "")),
        ({"state": "failed", "attempts": 4, "dead_reason": "rejected"}, ("pending", 4, 5, "")),
        ({"state": "failed", "attempts": 0, "dead_reason": "discarded"}, ("pending", 0, 1, "")),
        ({"state": "delivered", "attempts": 1, "delivered_at": START}, ("pending", 1, 2, "")),
        # Its worker died in the last try: that one is used up.
        ({"state": "pending", "attempts": 12, "lease_until": START}, ("pending", 12, 13, "")),
        # Held, though the endpoint is on: its worker settled while it was off.
        ({"state": "held", "attempts": 2}, ("pending", 2, 12, "")),
    ],
)
def test_what_becomes_of_it(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, before: dict[str, Any], after: tuple[Any, ...]
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    delivery = put(**before, finished_at=START, expires_at=START)
    clock.advance(days=9)
    sent = resend(school, endpoint, delivery)
    assert state(delivery) == after
    assert (sent.due_at, sent.finished_at, sent.expires_at) == (clock(), None, clock() + MAX_AGE)
    assert sent.delivered_at == before.get("delivered_at"), "that it arrived once is never forgotten"
    entry = AuditEntry.unscoped.get(action="endpoint.resent")
    assert (entry.object_id, entry.changes) == (endpoint.pk, {"count": [None, 1], "delivery": [None, delivery.pk]})


def test_a_worker_that_died_in_the_last_try_does_not_end_what_a_person_sends(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school)
    with scope(tenant=school):
        test = services.send_test(endpoint=endpoint)
    assert [each.id for each in claims.claim(10)] == [test.pk]
    clock.advance(minutes=1)
    resend(school, endpoint, test)
    assert [(each.id, each.number) for each in claims.claim(10)] == [(test.pk, 2)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lease_until": True}, "right now"),
        ({"state": "batched"}, "within a batch"),
    ],
)
def test_what_cant_be_sent(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, given: dict[str, Any], says: str
) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    if given.get("lease_until"):
        given = {"lease_until": clock.moment.replace(hour=23)}
    delivery = put(**given)
    before = Delivery.unscoped.values().get()
    with pytest.raises(Conflict, match=says):
        resend(school, endpoint, delivery)
    assert Delivery.unscoped.values().get() == before


def test_a_lease_that_lapsed_is_no_obstacle(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    delivery = put(lease_until=clock())
    clock.advance(1)
    assert resend(school, endpoint, delivery).due_at == clock()


@pytest.mark.parametrize(("erased_at", "says"), [(START, "was erased"), (None, "no longer kept")])
def test_without_a_payload(school: Tenant, make_endpoint: MakeEndpoint, erased_at: Any, says: str) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    delivery = put(state="failed")
    Event.unscoped.update(payload="", erased_at=erased_at)
    with pytest.raises(Conflict, match=says):
        resend(school, endpoint, delivery)
    assert state(delivery)[0] == "failed"


def test_off_and_deleted_endpoints_get_nothing(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    """Told by the stored row, not by the one that the caller read a while ago."""
    endpoint, _ = make_endpoint(school)
    publish(school)
    delivery = put(state="failed")
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": False})
    with pytest.raises(Conflict, match="switched off"):
        resend(school, endpoint, delivery)
    with scope(tenant=school):
        services.delete_endpoint(endpoint_id=endpoint.pk)
    with pytest.raises(Conflict, match="deleted"):
        resend(school, endpoint, delivery)
    assert state(delivery)[0] == "failed"


def test_of_another_endpoint_or_tenant_it_is_not_there(school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    other, _ = make_endpoint(school, "/other", events=["message.failed"])
    publish(school)
    delivery = put(state="failed")
    with pytest.raises(Delivery.DoesNotExist):
        resend(school, other, delivery)
    with scope(tenant=studio):
        with pytest.raises(Delivery.DoesNotExist):
            retry_delivery(endpoint=endpoint, delivery_id=delivery.pk)
        assert (send_again([delivery.pk]).queued, send_again([delivery.pk]).refused) == ([], {})
    assert state(delivery)[0] == "failed"


def test_many_at_once_each_by_the_same_rules(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    off, _ = make_endpoint(school, "/off")
    publish(school)
    publish(school, "k2")
    with scope(tenant=school):
        Delivery.objects.update(state="failed", attempts=2)
        services.update_endpoint(endpoint_id=off.pk, changes={"is_active": False})
        mine = list(Delivery.objects.filter(endpoint=endpoint).order_by("pk").values_list("pk", flat=True))
        theirs = list(Delivery.objects.filter(endpoint=off).values_list("pk", flat=True))
        Delivery.objects.filter(pk=mine[1]).update(state="delivered")
        done = send_again([*mine, *theirs, "dlv_" + "0" * 26], states=[DeliveryState.FAILED])
        assert done.queued == mine[:1]
        assert done.refused == {
            mine[1]: "It is delivered by now.",
            **dict.fromkeys(theirs, "The endpoint is switched off: switch it on first."),
        }
    assert state(mine[0]) == ("pending", 2, 3, "")


# --- With order, and in batches, through the real engine ------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_early_one_goes_before_those_that_wait_for_it(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    receiver.answers["/hook"] = [Answer(410)]
    first = publish(school)
    deliver()
    assert Delivery.unscoped.get().state == DeliveryState.FAILED
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True})
    receiver.answers["/hook"] = [Answer(200)]
    second = publish(school, "k2")
    resend(school, endpoint, Delivery.unscoped.get(event_id=first))
    deliver()
    assert [request.headers["webhook-id"] for request in receiver.requests[1:]] == [first, second]


@pytest.mark.django_db(transaction=True)
def test_what_went_out_in_a_batch_is_sent_again_alone(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, batch_size=2)
    first, second = publish(school), publish(school, "k2")
    deliver(stop=lambda: not Delivery.unscoped.exclude(state="delivered").exists())
    assert len(receiver.requests) == 1
    carrier, passenger = Delivery.unscoped.order_by("position")
    assert (carrier.event_id, passenger.event_id, passenger.carrier_id) == (first, second, carrier.pk)
    for one in (passenger, carrier):
        resend(school, endpoint, one)
        deliver()
    assert [request.headers["webhook-id"] for request in receiver.requests] == [carrier.pk, second, first]
    assert {state(one)[0] for one in (carrier, passenger)} == {"delivered"}


# --- Against what others do at the same time ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_payload_is_not_taken_away_from_what_is_being_sent_again(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    """Retention waits for who sends again, and then lets the payload be."""
    endpoint, _ = make_endpoint(school)
    publish(school)
    delivery = put(state="delivered", created=START)
    Event.unscoped.update(created=START - timedelta(days=40))
    purged: list[dict[str, int]] = []

    def purge() -> None:
        try:
            purged.append(retention.purge())
        finally:
            connection.close()

    with transaction.atomic():
        resend(school, endpoint, delivery)
        other = Thread(target=purge)
        other.start()
        wait_until(lambda: waits_for_a_lock() or not other.is_alive())
        assert other.is_alive(), "it did not wait"
    other.join(20)
    assert [counts["payloads"] for counts in purged] == [0]
    assert Event.unscoped.get().payload


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_that_is_being_switched_off_is_waited_for(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    delivery = put(state="failed")
    said: list[str] = []

    def send() -> None:
        try:
            resend(school, endpoint, delivery)
        except Conflict as error:
            said.append(error.message)
        finally:
            connection.close()

    with transaction.atomic():
        services.disable_endpoint(endpoint_id=endpoint.pk, tenant_id=school.pk, reason="it keeps failing")
        other = Thread(target=send)
        other.start()
        wait_until(lambda: waits_for_a_lock() or not other.is_alive())
    other.join(20)
    assert said == ["The endpoint is switched off: switch it on first."]
    assert state(delivery)[0] == "failed"


def waits_for_a_lock() -> bool:
    """Tell whether some other connection waits for a row of ours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # what a transaction has seen of it once it sees for good
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        return bool(cursor.fetchone()[0])
