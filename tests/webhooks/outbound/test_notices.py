"""What tenants hear of their endpoints: events to their other endpoints, alerts, and mail over a real SMTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django_scopes import scope

from integrations.contracts import clock as hub_clock
from integrations.events import AdminNotice, emit
from integrations.messaging.models import Message, Recipient
from integrations.models import Alert, Membership, QueueItem, Role, Tenant
from tests import factories
from tests.factories import MovableClock, make_delivery, make_endpoint, work_off
from tests.payments.mail_server import MailServer, running_mail_server
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish
from webhooks.outbound.delivery import deaths, digest, notices
from webhooks.outbound.delivery.deaths import Death
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState, Endpoint, EndpointHealth, Event

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "canary-in-the-url-5521"


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with running_mail_server(settings) as running:
        yield running


@pytest.fixture
def admins(tenant: Tenant, other_tenant: Tenant) -> list[str]:
    """Two admins with an address; beside them everybody who must hear nothing."""
    people = (
        ("anna", tenant, Role.ADMIN, "anna@school.example"),
        ("ben", tenant, Role.ADMIN, "ben@school.example"),
        ("clerk", tenant, Role.STAFF, "clerk@school.example"),
        ("auditor", tenant, Role.AUDITOR, "auditor@school.example"),
        ("mute", tenant, Role.ADMIN, ""),
        ("broken", tenant, Role.ADMIN, "no address"),
        ("gone", tenant, Role.ADMIN, "gone@school.example"),
        ("left", tenant, Role.ADMIN, "left@school.example"),
        ("twin", tenant, Role.ADMIN, "Anna@School.Example"),
        ("foreign", other_tenant, Role.ADMIN, "admin@studio.example"),
    )
    for name, whose, role, address in people:
        factories.make_user(name, tenant=whose, role=role, email=address, is_active=name != "left")
    Membership.unscoped.filter(user__username="gone").update(is_active=False)
    return ["anna@school.example", "ben@school.example"]


@pytest.fixture
def broken(tenant: Tenant, clock: MovableClock) -> Endpoint:
    """An endpoint that has been failing for a day, and one beside it that hears of everything."""
    make_endpoint(tenant, url="https://watch.example/hook", events=["*"], name="watch")
    endpoint = make_endpoint(tenant, url=f"https://erp.example/hook?token={TOKEN}", events=["*"], name="erp")
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=12, failing_since=clock() - timedelta(days=1))
    return endpoint


def told(event_type: str) -> list[dict[str, Any]]:
    """Return the objects of the events of this type, each owed to the endpoint beside and not to the one it is about."""
    found = []
    for event in Event.unscoped.filter(type=event_type).order_by("id"):
        owed = Delivery.unscoped.filter(event=event).values_list("endpoint__name", flat=True)
        assert list(owed) == ["watch"]
        assert (event.object_type, TOKEN in event.payload) == ("webhook", False)
        found.append(json.loads(event.payload)["data"]["object"])
    return found


def death(delivery: Delivery, *, event_type: str = "payment.completed", error: str = "no answer in time") -> Death:
    return Death(delivery.endpoint_id, delivery.pk, delivery.event_id, DeadReason.EXHAUSTED, error, event_type)


def subjects(server: MailServer) -> list[tuple[str, str]]:
    """Return (to, subject) of each mail, in order."""
    return sorted((str(mail["To"]), str(mail["Subject"])) for mail in server.received)


# --- events and alerts ----------------------------------------------------------------------------------------------------


def test_each_rung_is_told_once(broken: Endpoint, clock: MovableClock) -> None:
    delivery = make_delivery(broken)
    Delivery.unscoped.filter(pk=delivery.pk).update(attempts=1, last_error="the endpoint answered 500")
    for percent in (50, 50, 70):
        notices.failing(broken, percent)
    first, second = told("webhook.endpoint_failing")
    assert first == {
        "endpoint": broken.pk,
        "name": "erp",
        "percent": 50,
        "failures": 12,
        "failing_since": "2026-11-19T09:00:00Z",
        "last_error": "the endpoint answered 500",
    }
    assert second["percent"] == 70
    # Another time of failing begins the ladder anew.
    EndpointHealth.unscoped.filter(endpoint=broken).update(failing_since=clock())
    notices.failing(broken, 50)
    assert len(told("webhook.endpoint_failing")) == 3
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject, alert.count) == ("webhook_endpoint_failing", broken.pk, 4)


def test_switched_off_and_on_again(broken: Endpoint, tenant: Tenant, clock: MovableClock) -> None:
    notices.failing(broken, 90)
    assert services.disable_endpoint(endpoint_id=broken.pk, tenant_id=tenant.pk, reason="it failed for five days")
    (off,) = told("webhook.endpoint_disabled")
    assert off == {
        "endpoint": broken.pk,
        "name": "erp",
        "reason": "it failed for five days",
        "failures": 12,
        "failing_since": "2026-11-19T09:00:00Z",
    }
    still_open = Alert.objects.get(resolved_at__isnull=True)
    assert (still_open.kind, still_open.level) == ("webhook_endpoint_disabled", "critical")
    clock.advance(60)
    with scope(tenant=tenant):
        services.update_endpoint(endpoint_id=broken.pk, changes={"is_active": True})
    assert told("webhook.endpoint_enabled") == [{"endpoint": broken.pk, "name": "erp"}]
    assert not Alert.objects.filter(resolved_at__isnull=True).exists()


def test_well_again(broken: Endpoint, clock: MovableClock) -> None:
    notices.failing(broken, 50)
    notices.recovered(broken)
    assert told("webhook.endpoint_recovered") == [{"endpoint": broken.pk, "name": "erp"}]
    assert not Alert.objects.filter(resolved_at__isnull=True).exists()


def test_a_deleted_endpoint_is_not_said_to_be_on(broken: Endpoint, tenant: Tenant) -> None:
    notices.failing(broken, 50)
    with scope(tenant=tenant):
        services.delete_endpoint(endpoint_id=broken.pk)
    assert told("webhook.endpoint_enabled") == []
    assert not Alert.objects.filter(resolved_at__isnull=True).exists()


def test_a_dead_letter(broken: Endpoint) -> None:
    delivery = make_delivery(broken)
    for _ in range(2):  # told twice it is the same death
        notices.died(broken, [death(delivery, error="the endpoint answered 500")])
        work_off()
    (dead,) = told("webhook.delivery_dead")
    assert dead == {
        "endpoint": broken.pk,
        "name": "erp",
        "delivery": delivery.pk,
        "event": delivery.event_id,
        "event_type": "payment.completed",
        "reason": "exhausted",
        "error": "the endpoint answered 500",
    }
    Delivery.unscoped.filter(pk=delivery.pk).update(attempts=13)  # a person sent it again, and it died again
    notices.died(broken, [death(delivery)])
    work_off()
    assert len(told("webhook.delivery_dead")) == 2


def test_those_that_die_together_are_told_of_by_the_queue(
    broken: Endpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(deaths, "AT_ONCE", 20)
    dead = [death(make_delivery(broken)) for _ in range(30)]
    before = Event.unscoped.count()
    with django_assert_max_num_queries(40):  # however many there are
        notices.died(broken, dead)
    assert (Event.unscoped.count(), Alert.objects.get().count) == (before, 1)
    kinds = QueueItem.unscoped.order_by("kind").values_list("kind", flat=True)
    assert list(kinds) == [digest.KIND, deaths.KIND, deaths.KIND]
    real, broke = deaths.emit, []

    def breaks_once(event: Any) -> int:
        if not broke:
            broke.append(event)
            raise ValueError("a bug")
        return real(event)

    monkeypatch.setattr(deaths, "emit", breaks_once)
    work_off()
    assert len(told("webhook.delivery_dead")) == 29


def test_a_dead_letter_about_webhooks_makes_no_other(broken: Endpoint) -> None:
    delivery = make_delivery(broken)
    notices.died(broken, [death(delivery, event_type="webhook.delivery_dead")])
    work_off()
    assert told("webhook.delivery_dead") == []
    assert Alert.objects.get().kind == "webhook_delivery_failed"


def test_two_endpoints_that_are_both_dead_do_not_talk_for_ever(
    tenant: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    for path in ("/one", "/two"):
        receiver.answers[path] = [Answer(410)]
        make_endpoint(tenant, path, name=path)
    publish(tenant)
    deliver()
    types = sorted(Event.unscoped.values_list("type", flat=True))
    assert set(types) <= {"payment.completed", "webhook.endpoint_disabled", "webhook.delivery_dead"}
    assert types.count("webhook.endpoint_disabled") == 2
    assert types.count("webhook.delivery_dead") <= 2


def test_the_engine_tells_of_it(
    tenant: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, admins: list[str], server: MailServer
) -> None:
    receiver.answers["/erp"] = [Answer(503), Answer(200)]
    make_endpoint(tenant, "/watch", name="watch", events=["webhook.*"])
    endpoint, _secret = make_endpoint(tenant, "/erp", name="erp", retry_delays=[1])
    since = hub_clock.now() - timedelta(days=4)
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=9, failing_since=since)
    publish(tenant)
    deliver()
    Delivery.unscoped.filter(endpoint=endpoint).update(due_at=hub_clock.now())
    deliver()
    work_off()
    heard = [json.loads(request.body) for request in receiver.at("/watch")]
    assert [body["type"] for body in heard] == ["webhook.endpoint_failing", "webhook.endpoint_recovered"]
    failing = heard[0]["data"]["object"]
    assert (failing["percent"], failing["failures"], failing["last_error"]) == (50, 10, "the endpoint answered 503")
    assert {subject for _to, subject in subjects(server)} == {
        "Webhook endpoint erp keeps failing (50 %)",
        "Webhook endpoint erp works again",
    }
    assert len(receiver.at("/erp")) == 2


def test_a_notice_that_breaks_is_in_nobodys_way(broken: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(event: Any) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr(notices, "emit", break_down)
    with transaction.atomic():
        Endpoint.unscoped.filter(pk=broken.pk).update(name="renamed")
        notices.failing(broken, 50)
    assert Endpoint.unscoped.get(pk=broken.pk).name == "renamed"
    assert Alert.objects.count() == 0

    def database_away(event: Any) -> int:
        raise OperationalError("gone")

    monkeypatch.setattr(notices, "emit", database_away)
    with pytest.raises(OperationalError):
        notices.failing(broken, 50)


def test_a_rollback_takes_the_notice_with_it(broken: Endpoint) -> None:
    with transaction.atomic():
        notices.failing(broken, 50)
        transaction.set_rollback(True)
    assert (Event.unscoped.count(), Alert.objects.count(), QueueItem.unscoped.count()) == (0, 0, 0)


# --- mail -----------------------------------------------------------------------------------------------------------------


def test_admins_are_mailed_once_for_each_rung(broken: Endpoint, admins: list[str], server: MailServer) -> None:
    for percent in (50, 50, 70):
        notices.failing(broken, percent)
        work_off()
    assert subjects(server) == sorted(
        (address, f"Webhook endpoint erp keeps failing ({percent} %)") for address in admins for percent in (50, 70)
    )
    mail = server.received[0]
    text = mail.get_content()
    assert "failed 12 times in a row since 2026-11-19T09:00:00Z" in text
    assert f"/admin/webhooks_outbound/endpoint/{broken.pk}/change/" in text
    assert TOKEN not in mail.as_string()
    assert mail["Auto-Submitted"] == "auto-generated"
    assert len({str(each["Message-ID"]) for each in server.received}) == 4


def test_mail_when_it_is_switched_off_and_when_it_works_again(
    broken: Endpoint, admins: list[str], server: MailServer, tenant: Tenant, clock: MovableClock
) -> None:
    services.disable_endpoint(endpoint_id=broken.pk, tenant_id=tenant.pk, reason="it answered 410 Gone")
    clock.advance(5)
    notices.recovered(broken)
    work_off()
    assert subjects(server) == sorted(
        (address, f"Webhook endpoint erp {what}") for address in admins for what in ("was switched off", "works again")
    )


def test_dead_letters_are_told_once_a_day(broken: Endpoint, admins: list[str], server: MailServer, clock: MovableClock) -> None:
    def die() -> None:
        delivery = make_delivery(broken)
        Delivery.unscoped.filter(pk=delivery.pk).update(state=DeliveryState.FAILED, finished_at=clock(), attempts=12)
        notices.died(broken, [death(delivery)])

    die()
    die()
    work_off()
    assert server.received == []  # they are gathered first
    clock.advance(minutes=15)
    work_off()
    assert {subject for _to, subject in subjects(server)} == {"2 events were not delivered to your webhook endpoints"}
    assert len(server.received) == 2
    assert "- erp: 2" in server.received[0].get_content()
    clock.advance(hours=1)
    die()
    for _ in range(22):
        clock.advance(hours=1)
        work_off()
    assert len(server.received) == 2
    clock.advance(hours=1)
    work_off()
    assert len(server.received) == 4
    assert str(server.received[-1]["Subject"]) == "1 event was not delivered to your webhook endpoints"


def test_no_mail_about_what_was_sent_again_meanwhile(
    broken: Endpoint, admins: list[str], server: MailServer, clock: MovableClock
) -> None:
    delivery = make_delivery(broken)
    notices.died(broken, [death(delivery)])
    Delivery.unscoped.filter(pk=delivery.pk).update(state=DeliveryState.DELIVERED, finished_at=clock())
    clock.advance(minutes=15)
    work_off()
    assert server.received == []


def test_a_notice_is_never_mailed_twice(tenant: Tenant, admins: list[str], server: MailServer) -> None:
    notice = AdminNotice(tenant_id=tenant.pk, subject="Look here", text="Something happened.", key="k" * 500)
    for _ in range(3):
        emit(notice)
        work_off()
    assert len(server.received) == 2


def test_the_tenants_own_account_goes_first(
    tenant: Tenant, admins: list[str], server: MailServer, simulators: Any, clock: MovableClock
) -> None:
    factories.make_config(tenant, "mailgun", {"sender_address": "office@school.example"})
    for _ in range(2):
        emit(AdminNotice(tenant_id=tenant.pk, subject="Look here", text="Something happened.", key="k1"))
        work_off()
    message = Message.unscoped.get()
    assert (message.subject, message.category, message.created_by) == ("Look here", "operational", "hub")
    assert sorted(Recipient.unscoped.values_list("address", "state")) == [(address, "sent") for address in admins]
    assert server.received == []


def test_an_account_that_does_not_take_it_is_no_way_to_mail(
    tenant: Tenant, admins: list[str], server: MailServer, simulators: Any
) -> None:
    factories.make_config(tenant, "mailgun")  # it names no sender
    emit(AdminNotice(tenant_id=tenant.pk, subject="Look here", text="Something happened.", key="k1"))
    work_off()
    assert not Message.unscoped.exists()
    assert [address for address, _subject in subjects(server)] == admins


def test_without_any_way_to_mail_the_alert_stands(broken: Endpoint, admins: list[str], settings: Any) -> None:
    settings.MAIL_ENABLED = False
    notices.failing(broken, 50)
    assert [outcome.state for outcome in work_off()] == ["completed"]
    assert Alert.objects.get().kind == "webhook_endpoint_failing"
    assert not QueueItem.unscoped.exclude(kind="admin_notice").exists()


def test_a_mail_server_that_is_away_is_tried_again(
    tenant: Tenant, admins: list[str], server: MailServer, clock: MovableClock
) -> None:
    server.answers["RCPT"] = "450 4.2.0 greylisted"
    emit(AdminNotice(tenant_id=tenant.pk, subject="Look here", text="Something happened.", key="k1"))
    work_off()
    assert server.received == []
    server.answers.clear()
    clock.advance(minutes=5)
    work_off()
    assert [address for address, _subject in subjects(server)] == admins


def test_the_digest_is_planned_once(broken: Endpoint) -> None:
    for _ in range(3):
        digest.plan(broken.tenant_id)
    assert QueueItem.unscoped.filter(kind=digest.KIND).count() == 1
