"""What is let go of and when, that nothing owed is, and the tenant's own policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts import clock as hub_clock
from integrations.models import Alert, AuditEntry, QueueItem, Role, Tenant
from tests.factories import MovableClock, make_client, make_tenant
from webhooks.outbound import retention
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import (
    Delivery,
    DeliveryAttempt,
    Endpoint,
    Event,
    PortalLink,
    Replay,
    RetentionPolicy,
)
from webhooks.outbound.publishing.publish import publish
from webhooks.outbound.recovery.resending import send_again

pytestmark = pytest.mark.django_db
URL = "/api/webhooks/retention"


@pytest.fixture
def school(db: None, settings: Any) -> Tenant:
    settings.WEBHOOK_PAYLOAD_DAYS, settings.WEBHOOK_LOG_DAYS, settings.WEBHOOK_FAILED_DAYS = 30, 90, 180
    settings.WEBHOOK_DEAD_LETTER_ALARM = 100
    return make_tenant("school")


@pytest.fixture
def endpoint(school: Tenant) -> Endpoint:
    return make_endpoint(school)


def make_endpoint(tenant: Tenant) -> Endpoint:
    with scope(tenant=tenant):
        return services.create_endpoint(tenant=tenant, url="http://127.0.0.1:8999/x", events=["*"])[0]


def told(endpoint: Endpoint, state: str, **fields: Any) -> Event:
    """An event that the endpoint was told of, with one attempt; published now."""
    tenant = endpoint.tenant
    with scope(tenant=tenant):
        event = publish(
            tenant_id=tenant.pk, type="payment.completed", object={"id": "p"}, key=f"k{Event.objects.count()}", only=[endpoint]
        )
        values = {"state": state, "finished_at": hub_clock.now(), **fields}
        Delivery.objects.filter(event=event).update(**values)
        DeliveryAttempt(
            tenant=tenant,
            delivery=Delivery.objects.get(event=event),
            number=1,
            started_at=hub_clock.now(),
            finished_at=hub_clock.now(),
            request_headers={"x-a": "1"},
            response_headers={"x-b": "2"},
            response_head="their answer",
            error="the endpoint answered 500",
        ).save()
    return event


def has_payload(event: Event) -> bool:
    attempt = DeliveryAttempt.unscoped.get(delivery__event=event)
    said = bool(Event.unscoped.get(pk=event.pk).payload)
    answered = [bool(each) for each in (attempt.request_headers, attempt.response_headers, attempt.response_head)]
    assert answered == [said] * 3
    return said


def is_there(event: Event) -> bool:
    return Event.unscoped.filter(pk=event.pk).exists()


def test_payloads_go_first_then_the_log_then_what_failed(endpoint: Endpoint, clock: MovableClock) -> None:
    arrived, failed = told(endpoint, "delivered"), told(endpoint, "failed")
    clock.advance(days=30)
    assert retention.purge()["payloads"] == 0
    assert has_payload(arrived)
    clock.advance(seconds=1)
    assert retention.purge()["payloads"] == 1
    assert (has_payload(arrived), has_payload(failed)) == (False, True), "what failed can be sent again while it is kept"
    assert DeliveryAttempt.unscoped.filter(error="the endpoint answered 500").count() == 2
    assert Event.unscoped.filter(erased_at__isnull=False).count() == 0, "nobody asked for it to be erased"
    with scope(tenant=endpoint.tenant):
        assert list(send_again([Delivery.objects.get(event=arrived).pk]).refused.values()) == [
            "The payload of this event is no longer kept."
        ]
    clock.advance(days=60)
    assert retention.purge()["events"] == 1
    assert (is_there(arrived), is_there(failed)) == (False, True)
    assert DeliveryAttempt.unscoped.count() == Delivery.unscoped.count() == 1
    clock.advance(days=90)
    assert retention.purge() == {"held": 0, "payloads": 1, "events": 1, "replays": 0, "portal_links": 0}
    assert (Event.unscoped.count(), Delivery.unscoped.count(), DeliveryAttempt.unscoped.count()) == (0, 0, 0)


@pytest.mark.parametrize("state", ["pending", "gathering", "batched"])
def test_what_is_owed_stays_whatever_its_age(endpoint: Endpoint, clock: MovableClock, state: str) -> None:
    event = told(endpoint, state, finished_at=None)
    clock.advance(days=4000)
    assert retention.purge() == {"held": 0, "payloads": 0, "events": 0, "replays": 0, "portal_links": 0}
    assert has_payload(event)


def test_what_is_in_flight_once_more_stays(endpoint: Endpoint, clock: MovableClock) -> None:
    event = told(endpoint, "delivered")
    clock.advance(days=100)
    Delivery.unscoped.update(lease_until=clock() + timedelta(seconds=5))
    retention.purge()
    assert has_payload(event)


def test_one_of_two_deliveries_that_is_owed_keeps_the_event(endpoint: Endpoint, clock: MovableClock) -> None:
    event = told(endpoint, "delivered")
    other = make_endpoint(endpoint.tenant)
    Delivery.unscoped.create(tenant=endpoint.tenant, event=event, endpoint=other, state="pending")
    clock.advance(days=100)
    retention.purge()
    assert Event.unscoped.get().payload
    Delivery.unscoped.filter(endpoint=other).update(state="delivered")
    assert retention.purge()["events"] == 1


def test_an_event_whose_deliveries_are_still_to_be_made_stays(endpoint: Endpoint, clock: MovableClock) -> None:
    Event.unscoped.create(tenant=endpoint.tenant, type="a.b", key="k", payload="{}")
    clock.advance(days=100)
    assert retention.purge()["events"] == 0
    Event.unscoped.update(spread_at=clock())
    assert retention.purge()["events"] == 1


def test_what_failed_late_is_kept_from_then_on(endpoint: Endpoint, clock: MovableClock) -> None:
    event = told(endpoint, "failed")
    clock.advance(days=20)
    Delivery.unscoped.update(finished_at=clock())
    clock.advance(days=180)
    retention.purge()
    assert is_there(event)
    clock.advance(seconds=1)
    retention.purge()
    assert not is_there(event)


def test_what_is_held_for_too_long_is_dead_and_kept_as_such(endpoint: Endpoint, clock: MovableClock) -> None:
    event = told(endpoint, "held", finished_at=None)
    Endpoint.unscoped.update(is_active=False)
    clock.advance(days=180)
    retention.purge()
    assert Delivery.unscoped.get().state == "held"
    assert has_payload(event)
    clock.advance(seconds=1)
    assert retention.purge()["held"] == 1
    row = Delivery.unscoped.get()
    assert (row.state, row.dead_reason, row.finished_at) == ("failed", "too_old", clock())
    clock.advance(days=181)
    retention.purge()
    assert not is_there(event)


def test_the_payload_waits_only_for_who_may_still_want_it(endpoint: Endpoint, clock: MovableClock) -> None:
    left = make_endpoint(endpoint.tenant)
    wanted, aside = told(endpoint, "failed", dead_reason="exhausted"), told(endpoint, "failed", dead_reason="discarded")
    orphan = told(left, "failed", dead_reason="exhausted")
    with scope(tenant=endpoint.tenant):
        services.delete_endpoint(endpoint_id=left.pk)
    clock.advance(days=31)
    assert retention.purge()["payloads"] == 2
    assert [has_payload(each) for each in (wanted, aside, orphan)] == [True, False, False]
    clock.advance(days=90)
    assert retention.purge()["events"] == 0, "that they failed is known as long as ever"


def test_what_is_given_up_is_told_once_for_each_endpoint(
    endpoint: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    other = make_endpoint(endpoint.tenant)
    for whose in (endpoint, other, endpoint, endpoint):
        told(whose, "held", finished_at=None)
    Endpoint.unscoped.update(is_active=False)
    told(endpoint, "batched", finished_at=None, carrier=Delivery.unscoped.filter(endpoint=endpoint).first())
    clock.advance(days=181)
    retention.purge()
    said = {alert.subject: alert.message for alert in Alert.objects.filter(resolved_at__isnull=True)}
    assert set(said) == {endpoint.pk, other.pk}
    assert (": 4 of the events" in said[endpoint.pk], ": 1 of the events" in said[other.pk]) == (True, True)
    assert QueueItem.unscoped.filter(kind="webhook.dead_letters").count() == 1


def test_what_is_held_though_its_endpoint_is_on_is_sent_not_given_up(endpoint: Endpoint, clock: MovableClock) -> None:
    told(endpoint, "held", finished_at=None)
    clock.advance(days=181)
    assert retention.purge()["held"] == 0
    assert Delivery.unscoped.get().state == "pending"


def test_batches_are_small_and_all_of_it_goes(endpoint: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for state in ["delivered"] * 5 + ["held"] * 3:
        told(endpoint, state)
    Endpoint.unscoped.update(is_active=False)
    clock.advance(days=181)
    assert retention.purge() == {"held": 3, "payloads": 5, "events": 5, "replays": 0, "portal_links": 0}


def test_a_batch_that_went_out_goes_with_its_passengers(endpoint: Endpoint, clock: MovableClock) -> None:
    told(endpoint, "delivered")
    carrier = Delivery.unscoped.get()
    clock.advance(days=5)
    late = told(endpoint, "delivered", carrier=carrier)
    clock.advance(days=86)
    assert retention.purge()["events"] == 1
    assert Delivery.unscoped.get().carrier_id is None
    assert is_there(late)


def test_each_tenant_by_its_own_policy(endpoint: Endpoint, clock: MovableClock) -> None:
    strict, thrifty = make_tenant("strict"), make_tenant("thrifty")
    RetentionPolicy.unscoped.create(tenant=strict, payload_days=1, log_days=2, failed_days=3)
    RetentionPolicy.unscoped.create(tenant=thrifty, payload_days=50, log_days=100)
    events = [told(each, "delivered") for each in (endpoint, make_endpoint(strict), make_endpoint(thrifty))]
    clock.advance(days=1, seconds=1)
    assert retention.purge()["payloads"] == 1
    assert [has_payload(event) for event in events] == [True, False, True]
    clock.advance(days=1)
    retention.purge()
    assert [is_there(event) for event in events] == [True, False, True]
    clock.advance(days=40)
    retention.purge()
    assert [has_payload(event) for event in (events[0], events[2])] == [False, True]
    clock.advance(days=50)
    retention.purge()
    assert [is_there(event) for event in events] == [False, False, True]


def test_replays_and_expired_links_go_too(endpoint: Endpoint, clock: MovableClock) -> None:
    now = clock()
    for state in ("done", "running"):
        Replay.unscoped.create(
            tenant=endpoint.tenant, endpoint=endpoint, mode="failed", since=now - timedelta(1), until=now, state=state
        )
    PortalLink.unscoped.create(tenant=endpoint.tenant, token_hash="a", expires_at=now)
    PortalLink.unscoped.create(tenant=endpoint.tenant, token_hash="b", expires_at=now + timedelta(days=1))
    clock.advance(days=7, seconds=1)
    assert retention.purge()["portal_links"] == 1
    clock.advance(days=90)
    assert retention.purge()["replays"] == 1
    assert Replay.unscoped.get().state == "running"


# --- The policy -----------------------------------------------------------------------------------------------------------


def test_the_policy_says_what_is_set_and_what_holds(school: Tenant) -> None:
    client = make_client(school)
    defaults = {"payload_days": 30, "log_days": 90, "failed_days": 180, "dead_letter_alarm": 100}
    nothing = dict.fromkeys(defaults)
    assert client.get(URL).json() == {**nothing, "effective": defaults}
    answer = client.put(URL, {"payload_days": 7, "dead_letter_alarm": 0}, format="json")
    assert answer.status_code == 200, answer.content
    expected = {
        **nothing,
        "payload_days": 7,
        "dead_letter_alarm": 0,
        "effective": {**defaults, "payload_days": 7, "dead_letter_alarm": 0},
    }
    assert answer.json() == client.get(URL).json() == expected
    entry = AuditEntry.unscoped.get(action="retention.updated")
    assert entry.changes == {"payload_days": [None, 7], "dead_letter_alarm": [None, 0]}
    assert client.put(URL, {}, format="json").json() == {**nothing, "effective": defaults}
    assert RetentionPolicy.unscoped.count() == 1


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"payload_days": 0}, "payload_days"),
        ({"log_days": 3651}, "log_days"),
        ({"failed_days": "long"}, "failed_days"),
        ({"dead_letter_alarm": -1}, "dead_letter_alarm"),
        ({"payload_days": 91}, "payload_days"),
        ({"log_days": 29}, "payload_days"),
        ({"log_days": 181}, "log_days"),
        ({"failed_days": 89}, "log_days"),
        ({"days": 1}, "days"),
    ],
)
def test_policies_that_make_no_sense(school: Tenant, body: dict[str, Any], attr: str) -> None:
    answer = make_client(school).put(URL, body, format="json")
    assert (answer.status_code, [error["attr"] for error in answer.json()["errors"]]) == (400, [attr])
    assert RetentionPolicy.unscoped.count() == 0


def test_who_may(school: Tenant) -> None:
    auditor = make_client(school, Role.AUDITOR)
    assert (auditor.get(URL).status_code, auditor.put(URL, {}, format="json").status_code) == (200, 403)
    other = make_tenant("studio")
    make_client(other).put(URL, {"payload_days": 3}, format="json")
    assert auditor.get(URL).json()["payload_days"] is None
    assert APIClient().get(URL).status_code == 401
