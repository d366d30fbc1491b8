"""The console's pages of notification rules and recurring messages: what they offer, refuse and do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from integrations.messaging.models import Message, NotificationRule, RecurringMessage
from integrations.messaging.rules import recurring
from integrations.models import QueueItem, Tenant
from tests.admin.conftest import browser_of, page_url
from tests.admin.test_buttons import press
from tests.factories import MovableClock, make_config, make_notification_rule, make_recurring_message, make_template

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
__all__ = ["browser_of"]

RULE = {
    "name": "Paid",
    "is_active": "on",
    "event_type": "payment.completed",
    "delay_minutes": "0",
    "conditions": "",
    "channel": "sms",
    "category": "",
    "audience": "payer",
    "addresses": "",
    "template_name": "fee-due",
    "language": "",
}
DAILY = {
    "name": "Fees",
    "is_active": "on",
    "channel": "sms",
    "request": '{"to": "+254712345678", "message": "Fees are due."}',
    "frequency": "daily",
    "at": "07:30",
    "weekday": "",
    "day": "",
    "attachment_url": "",
    "attachment_name": "",
    "ends_at_0": "",
    "ends_at_1": "",
}


@pytest.fixture
def school(tenant: Tenant, clock: MovableClock) -> Tenant:
    make_config(tenant, "africastalking")
    make_template(tenant, body="{{ payer_name }}: {{ amount_text }} received.")
    return tenant


@pytest.fixture
def admin(school: Tenant, browser_of: Browser) -> Client:
    return browser_of("admin")


def add(client: Client, model: str, given: dict[str, Any]) -> dict[str, list[str]]:
    """Send the form; return its errors, none where it was saved."""
    answer = client.post(reverse(f"admin:messaging_{model}_add"), given)
    return {} if answer.status_code == 302 else dict(answer.context["adminform"].form.errors)


def test_a_rule_is_added_with_the_events_that_there_are(admin: Client, school: Tenant) -> None:
    page = admin.get(reverse("admin:messaging_notificationrule_add"))
    offered = [name for name, _label in page.context["adminform"].form.fields["event_type"].choices]
    assert {"payment.completed", "payment.*", "message.*", "*"} <= set(offered)
    assert "webhook.test" not in offered
    assert add(admin, "notificationrule", RULE | {"conditions": '{"currency": "KES"}'}) == {}
    rule = NotificationRule.unscoped.get()
    assert (rule.tenant, rule.conditions) == (school, {"currency": "KES"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_type": "payment.eaten"}, "event_type"),
        ({"channel": "email"}, "template_name"),
        ({"template_name": "gone"}, "template_name"),
        ({"conditions": "[1]"}, "conditions"),
        ({"conditions": "{"}, "conditions"),
        ({"audience": "fixed", "addresses": "bursar"}, "addresses"),
    ],
)
def test_a_bad_rule_is_refused_in_the_form(admin: Client, changes: dict[str, str], field: str) -> None:
    assert list(add(admin, "notificationrule", RULE | changes)) == [field]
    assert not NotificationRule.unscoped.exists()


def test_the_page_shows_what_it_says_and_sends_a_test(admin: Client, school: Tenant) -> None:
    rule = make_notification_rule(school)
    assert "Jane Wanjiku: KES 12,500.00 received." in admin.get(page_url(rule)).content.decode()
    ((level, told),) = press(admin, rule, "try", {"to": "0722000001"})
    message = Message.unscoped.get()
    assert (level, message.pk in told) == ("success", True)
    assert (message.body, message.created_by) == (
        "Jane Wanjiku: KES 12,500.00 received.", "user school-admin, trying the rule Paid",
    )  # fmt: skip
    make_template(school, name="hole", body="{{ nothing }}")
    holed = make_notification_rule(school, name="Holed", template_name="hole")
    assert "Missing for the template" in admin.get(page_url(holed)).content.decode()


def test_a_recurring_message_is_added_and_switched_off_and_on(admin: Client) -> None:
    assert add(admin, "recurringmessage", DAILY) == {}
    row = RecurringMessage.unscoped.get()
    assert (row.created_by, row.next_at is not None, row.request["message"]) == ("user school-admin", True, "Fees are due.")
    press(admin, row, "pause")
    row.refresh_from_db()
    assert (row.is_active, row.next_at) == (False, None)
    press(admin, row, "resume")
    row.refresh_from_db()
    assert (row.is_active, row.next_at is not None) == (True, True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request": "{}"}, "request"),
        ({"request": '{"to": "+254712345678", "message": "x", "surprise": 1}'}, "request"),
        ({"frequency": "weekly"}, "weekday"),
        ({"attachment_url": "http://169.254.169.254/"}, "attachment_url"),
    ],
)
def test_a_bad_recurring_message_is_refused_in_the_form(admin: Client, changes: dict[str, str], field: str) -> None:
    assert list(add(admin, "recurringmessage", DAILY | changes)) == [field]
    assert not RecurringMessage.unscoped.exists()


def test_send_now(admin: Client, school: Tenant) -> None:
    row = make_recurring_message(school)
    ((level, _told),) = press(admin, row, "now")
    assert level == "success"
    assert QueueItem.unscoped.filter(kind=recurring.KIND, reference_id=str(row.pk)).count() == 1
