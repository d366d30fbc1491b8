"""Notification rules and recurring messages through the API: written, changed, removed, refused by field."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.messaging.models import NotificationRule, RecurringMessage
from integrations.messaging.rules import recurring
from integrations.models import QueueItem, Role, Tenant
from tests.factories import (
    MovableClock,
    make_client,
    make_config,
    make_notification_rule,
    make_recurring_message,
    make_template,
)

pytestmark = pytest.mark.django_db
RULES = "/api/v1/integrations/notification-rules"
RECURRING = "/api/v1/integrations/recurring-messages"
RULE: dict[str, Any] = {"name": "Paid", "event_type": "payment.completed", "channel": "sms", "template_name": "fee-due"}
WEEKLY: dict[str, Any] = {
    "name": "Weekly word",
    "channel": "sms",
    "request": {"to": "+254712345678", "message": "Fees are due on Friday."},
    "frequency": "weekly",
    "at": "07:30",
    "weekday": 0,
}


@pytest.fixture
def school(tenant: Tenant, clock: MovableClock) -> Tenant:
    make_config(tenant, "africastalking")
    make_template(tenant)
    make_template(tenant, channel="email", name="fee-mail", subject="Fees", body="{{ amount_text }} is due.")
    make_template(tenant, name="swahili", language="sw", body="Asante")
    return tenant


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["attr"]


def test_a_rule_is_written_changed_and_removed(school: Tenant, admin_api: APIClient) -> None:
    made = admin_api.post(RULES, {**RULE, "conditions": {"currency": "KES"}, "delay_minutes": 5}, format="json")
    assert made.status_code == 201, made.json()
    one = f"{RULES}/{made.json()['id']}"
    assert (made.json()["audience"], made.json()["is_active"], made.json()["conditions"]) == (
        "payer",
        True,
        {"currency": "KES"},
    )

    changed = admin_api.patch(one, {"audience": "fixed", "addresses": "0712345678\n0712345679"}, format="json")
    assert (changed.status_code, changed.json()["delay_minutes"]) == (200, 5)
    replaced = admin_api.put(one, RULE, format="json")
    assert (replaced.json()["audience"], replaced.json()["addresses"], replaced.json()["conditions"]) == ("payer", "", {})
    assert [each["id"] for each in admin_api.get(RULES, {"channel": "sms"}).json()["results"]] == [made.json()["id"]]
    assert admin_api.get(RULES, {"is_active": "false"}).json()["results"] == []
    assert admin_api.delete(one).status_code == 204
    assert admin_api.get(one).status_code == 404


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"name": ""}, "name"),
        ({"event_type": "payment.eaten"}, "event_type"),
        ({"event_type": "webhook.test"}, "event_type"),
        ({"event_type": "pay*"}, "event_type"),
        ({"channel": "fax"}, "channel"),
        ({"template_name": "gone"}, "template_name"),
        ({"channel": "email"}, "template_name"),
        ({"template_name": "swahili", "language": "en"}, "language"),
        ({"language": "english"}, "language"),
        ({"audience": "all"}, "audience"),
        ({"audience": "fixed"}, "addresses"),
        ({"audience": "fixed", "addresses": "0712345678\nthe bursar"}, "addresses"),
        ({"audience": "fixed", "addresses": "\n".join(f"+2547123{n:05}" for n in range(101))}, "addresses"),
        ({"audience": "field", "addresses": "customer phone"}, "addresses"),
        ({"audience": "field", "addresses": "a.b\nc.d"}, "addresses"),
        ({"addresses": "0712345678"}, "addresses"),
        ({"channel": "email", "template_name": "fee-mail", "audience": "fixed", "addresses": "0712345678"}, "addresses"),
        ({"conditions": {"a b": 1}}, "conditions"),
        ({"conditions": {"amount": {"gt": 1}}}, "conditions"),
        ({"conditions": {"name": "a\0"}}, "conditions"),
        ({"conditions": {f"f{n}": 1 for n in range(21)}}, "conditions"),
        ({"delay_minutes": -1}, "delay_minutes"),
        ({"delay_minutes": 43_201}, "delay_minutes"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_bad_rule_is_refused_by_field(school: Tenant, admin_api: APIClient, changes: dict[str, Any], attr: str) -> None:
    assert refused(admin_api.post(RULES, {**RULE, **changes}, format="json")) == (400, attr)
    assert not NotificationRule.unscoped.exists()


@pytest.mark.parametrize("event_type", ["payment.completed", "payment.*", "message.*", "*"])
def test_a_rule_may_be_about_a_kind_of_events(school: Tenant, admin_api: APIClient, event_type: str) -> None:
    assert admin_api.post(RULES, {**RULE, "event_type": event_type}, format="json").status_code == 201


def test_a_rule_whose_template_has_gone_can_be_switched_off_and_not_on(school: Tenant, admin_api: APIClient) -> None:
    with scope(tenant=school):
        rule = make_notification_rule(school, template_name="gone")
    one = f"{RULES}/{rule.pk}"
    assert admin_api.patch(one, {"is_active": False}, format="json").json()["is_active"] is False
    assert refused(admin_api.patch(one, {"is_active": True}, format="json")) == (400, "template_name")


@pytest.mark.parametrize(("route", "body"), [(RULES, RULE), (RECURRING, WEEKLY)])
def test_the_same_key_makes_one(school: Tenant, admin_api: APIClient, route: str, body: dict[str, Any]) -> None:
    first = admin_api.post(route, body, format="json", HTTP_IDEMPOTENCY_KEY="once")
    again = admin_api.post(route, body, format="json", HTTP_IDEMPOTENCY_KEY="once")
    assert (first.status_code, again.status_code, first.json()["id"]) == (201, 201, again.json()["id"])
    assert len(admin_api.get(route).json()["results"]) == 1


@pytest.mark.parametrize("route", [RULES, RECURRING])
@pytest.mark.parametrize(("role", "reads"), [(Role.STAFF, 403), (Role.AUDITOR, 200)])
def test_they_are_an_admins_business(school: Tenant, route: str, role: str, reads: int) -> None:
    client = make_client(school, role)
    assert client.get(route).status_code == reads
    assert client.post(route, {}, format="json").status_code == 403
    row = make_notification_rule(school) if route == RULES else make_recurring_message(school)
    assert client.delete(f"{route}/{row.pk}").status_code == 403


def test_a_recurring_message_is_written_changed_and_removed(school: Tenant, admin_api: APIClient) -> None:
    made = admin_api.post(RECURRING, WEEKLY, format="json")
    assert made.status_code == 201, made.json()
    one = f"{RECURRING}/{made.json()['id']}"
    assert (made.json()["next_at"], made.json()["created_by"]) == ("2026-11-23T04:30:00Z", "key test admin")

    changed = admin_api.patch(one, {"at": "08:00", "request": {"to": "+254712345678", "message": "New"}}, format="json")
    assert (changed.json()["next_at"], changed.json()["request"]["message"]) == ("2026-11-23T05:00:00Z", "New")
    off = admin_api.patch(one, {"is_active": False}, format="json")
    assert (off.json()["is_active"], off.json()["next_at"]) == (False, None)
    replaced = admin_api.put(one, WEEKLY | {"frequency": "monthly", "day": 31}, format="json")
    assert (replaced.json()["is_active"], replaced.json()["weekday"], replaced.json()["next_at"]) == (
        True, None, "2026-11-30T04:30:00Z",
    )  # fmt: skip
    assert len(admin_api.get(RECURRING, {"is_active": "true"}).json()["results"]) == 1
    assert admin_api.delete(one).status_code == 204
    assert not RecurringMessage.unscoped.exists()


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"weekday": None}, "weekday"),
        ({"weekday": 7}, "weekday"),
        ({"frequency": "monthly"}, "day"),
        ({"frequency": "hourly"}, "frequency"),
        ({"at": "25:00"}, "at"),
        ({"request": "text"}, "request"),
        ({"request": {}}, "request"),
        ({"request": {"to": "+254712345678", "message": "x", "send_at": "2026-12-01T08:00:00Z"}}, "request"),
        ({"request": {"to": "+254712345678", "message": "x", "override_suppression": "because"}}, "request"),
        ({"channel": "email"}, "request"),
        ({"channel": "push"}, "request"),
        ({"channel": "whatsapp"}, "request"),
        ({"attachment_url": "https://reports.example/a.pdf"}, "attachment_url"),
        ({"attachment_url": "http://169.254.169.254/latest/"}, "attachment_url"),
        ({"attachment_url": "reports"}, "attachment_url"),
        ({"ends_at": "soon"}, "ends_at"),
        ({"next_at": "2026-12-01T00:00:00Z"}, "next_at"),
    ],
)
def test_a_bad_recurring_message_is_refused_by_field(
    school: Tenant, admin_api: APIClient, changes: dict[str, Any], attr: str
) -> None:
    assert refused(admin_api.post(RECURRING, {**WEEKLY, **changes}, format="json")) == (400, attr)
    assert not RecurringMessage.unscoped.exists()


def test_what_is_wrong_with_the_request_is_said(school: Tenant, admin_api: APIClient) -> None:
    answer = admin_api.post(RECURRING, WEEKLY | {"request": {"to": "+254712345678", "messag": "x"}}, format="json")
    assert "messag" in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("channel", "request_body"),
    [
        ("email", {"to": "bursar@school.example", "subject": "Fees", "text": "All of them"}),
        ("push", {"user": "parent-1", "title": "Fees", "body": "Due"}),
        ("whatsapp", {"to": "+254712345678", "template": {"name": "fees_due", "language": "en"}}),
    ],
)
def test_each_channel_has_its_own_request(
    school: Tenant, admin_api: APIClient, channel: str, request_body: dict[str, Any]
) -> None:
    answer = admin_api.post(RECURRING, WEEKLY | {"channel": channel, "request": request_body}, format="json")
    assert (answer.status_code, answer.json().get("request")) == (201, request_body), answer.json()


def test_send_now_queues_one(school: Tenant, admin_api: APIClient) -> None:
    row = make_recurring_message(school)
    url = f"{RECURRING}/{row.pk}/send-now"
    first = admin_api.post(url, HTTP_IDEMPOTENCY_KEY="now")
    again = admin_api.post(url, HTTP_IDEMPOTENCY_KEY="now")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    (item,) = QueueItem.unscoped.filter(kind=recurring.KIND)
    assert first.json() == {"queue_item": item.pk}
    assert admin_api.get(f"/api/v1/integrations/queue/{item.pk}").status_code == 200
