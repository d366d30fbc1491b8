"""What recipients do with a mail decides over the next one: bounces, complaints and unsubscriptions at a simulated provider,
told by its signed webhook; releases told back to it; mail programs' one click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django_scopes import scope

from integrations.messaging.email.emails import send_email
from integrations.messaging.models import (
    BalanceReading,
    Channel,
    Message,
    MessageEvent,
    Preference,
    Recipient,
    SendingPolicy,
    Suppression,
)
from integrations.messaging.safety.balances import ask_all
from integrations.models import Alert, Config
from tests.factories import make_config, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]


@pytest.fixture
def mail(school: School, live_server: Any) -> Config:
    """The school's account at SendGrid, whose events come to the hub."""
    config = make_config(school.tenant, "sendgrid", account="school")
    url = f"{live_server.url}/hooks/{config.hook_token}/events"
    school.control("PUT", "sendgrid/accounts/school", json={"webhook_url": url})
    school.control("PUT", "sendgrid/settings", json={"event_delay": 0.05})
    return config


def send(school: School, to: str, category: str = "news") -> Recipient:
    with scope(tenant=school.tenant):
        message = send_email(
            tenant=school.tenant,
            to=[to],
            sender="office@springfield.example",
            subject="Term dates",
            text="Term starts on Monday.",
            category=category,
        )
    found: Recipient = Recipient.unscoped.get(message=message)
    return found


def mails(school: School, to: str) -> list[dict[str, Any]]:
    return [each for each in school.control("GET", "sendgrid/messages")["messages"] if each["to"] == to]


def story(recipient: Recipient) -> list[str]:
    events = MessageEvent.unscoped.filter(recipient=recipient).exclude(engagement="")
    return list(events.order_by("id").values_list("engagement", flat=True))


def refused(school: School, to: str, category: str = "news") -> str:
    """Send once more; return why it was refused, and see that nothing went out."""
    before = len(mails(school, to))
    recipient = send(school, to, category)
    work_off()
    recipient.refresh_from_db()
    assert recipient.state == "failed", recipient.state
    assert len(mails(school, to)) == before
    return f"{recipient.provider_status}: {recipient.detail}"


def listed(school: School, address: str) -> list[dict[str, Any]]:
    answer = school.api.get("/api/v1/integrations/suppressions", {"address": address})
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def state_of(recipient: Recipient) -> str:
    recipient.refresh_from_db()
    return str(recipient.state)


def test_a_bounced_address_is_not_written_to_until_it_is_released(school: School, mail: Config, until: Until) -> None:
    address = "bounce.jane@example.com"
    first = send(school, address)
    until(lambda: state_of(first) == "bounced")
    (row,) = listed(school, address)
    assert (row["reason"], row["source"]) == ("hard_bounce", "sendgrid")
    assert refused(school, address, "otp").startswith("suppressed: on the suppression list")
    held = school.control("GET", "sendgrid/state")["suppressed"]["school"]
    assert address in str(held)

    released = school.api.delete(f"/api/v1/integrations/suppressions/{row['id']}?reason=mailbox+repaired")
    assert released.status_code == 200
    until(lambda: address not in str(school.control("GET", "sendgrid/state")["suppressed"]["school"]))
    again = send(school, address)
    until(lambda: state_of(again) == "bounced")
    assert len(mails(school, address)) == 2, "it was sent, and came back"
    assert len(listed(school, address)) == 1


def test_whoever_calls_it_spam_gets_nothing_more(school: School, mail: Config, until: Until) -> None:
    address = "spam.jane@example.com"
    first = send(school, address)
    until(lambda: state_of(first) == "complained")
    assert [row["reason"] for row in listed(school, address)] == ["complaint"]
    assert refused(school, address).startswith("suppressed: on the suppression list")


def test_unsubscribing_at_the_provider_counts_for_the_category(school: School, mail: Config, until: Until) -> None:
    """Out of one of SendGrid's groups; out of all of them is the next test."""
    address = "jane@example.com"
    first = send(school, address)
    until(lambda: state_of(first) == "delivered")
    (arrived,) = mails(school, address)
    school.control("POST", "sendgrid/report", json={"id": arrived["id"], "status": "group_unsubscribe"})
    until(lambda: "unsubscribed" in story(first))
    assert state_of(first) == "delivered"
    assert listed(school, address) == []
    answer = school.api.get("/api/v1/integrations/preferences", {"address": address})
    assert [(row["category"], row["allowed"], row["source"]) for row in answer.json()["results"]] == [
        ("news", False, "sendgrid")
    ]
    assert refused(school, address) == "unsubscribed: does not want news messages"
    other = send(school, address, "fees")
    assert state_of(other) == "queued"


def test_out_of_everything_at_the_provider_is_so_here(school: School, mail: Config, until: Until) -> None:
    address = "unsub.john@example.com"
    first = send(school, address)
    until(lambda: "unsubscribed" in story(first))
    assert [row["reason"] for row in listed(school, address)] == ["opt_out"]
    assert refused(school, address, "fees") == "suppressed: on the suppression list: Opted out"


def test_openings_and_clicks_are_kept_and_machines_left_out(school: School, mail: Config, until: Until) -> None:
    first = send(school, "open.jane@example.com")
    until(lambda: "clicked" in story(first))
    first.refresh_from_db()
    assert first.opened_at is not None
    assert first.clicked_at is not None
    assert sorted(story(first)) == ["clicked", "opened"]
    assert first.state == "delivered"


def test_the_link_of_a_delivered_mail_works_with_one_click(school: School, mail: Config, until: Until) -> None:
    address = "jane@example.com"
    first = send(school, address)
    until(lambda: state_of(first) == "delivered")
    (arrived,) = mails(school, address)
    headers = {name.lower(): value for name, value in arrived["headers"].items()}
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    path = urlsplit(headers["list-unsubscribe"].strip("<>")).path
    answer = Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert Preference.unscoped.get(tenant=school.tenant).category == "news"
    assert refused(school, address) == "unsubscribed: does not want news messages"
    assert not Suppression.unscoped.exists()


def test_a_balance_that_is_low_is_told_and_more_ends_it(school: School, mail: Config) -> None:
    with scope(tenant=school.tenant):
        SendingPolicy.objects.create(tenant=school.tenant, channel=Channel.EMAIL, low_balance=100)
    for left, alerts in ((99, 1), (5000, 0)):
        school.control("PUT", "sendgrid/accounts/school", json={"credits": left})
        ask_all()
        work_off()
        reading = BalanceReading.unscoped.get(config=mail)
        assert (int(reading.amount), reading.unit) == (left, "e-mails")
        assert Alert.objects.filter(kind="low_balance", resolved_at=None).count() == alerts
    answer = school.api.get("/api/v1/integrations/balances?channel=email").json()["results"]
    assert [(row["value"], row["unit"], row["provider"]) for row in answer] == [("5000", "e-mails", "sendgrid")]
    assert not Message.unscoped.exists()
