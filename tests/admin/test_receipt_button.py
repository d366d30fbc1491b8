"""Sending a receipt again from a payment's page, and what the page tells of receipts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django_scopes import scopes_disabled

from integrations.messaging.models import Message, Suppression
from integrations.models import QueueItem, Tenant
from payments.models import Payment, ReceiptDelivery
from tests import factories
from tests.admin.conftest import World, page_url
from tests.admin.rows import make_payment
from tests.admin.test_buttons import press

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
JANE = {"customer": {"name": "Jane Wanjiku", "email": "jane@example.com"}}


@pytest.fixture
def mail_server(settings: Any) -> None:
    settings.MAIL_ENABLED = True


def nothing_sent() -> bool:
    return not (
        ReceiptDelivery.unscoped.exists()
        or QueueItem.unscoped.filter(kind__in=("payment.receipt_email", "sms.send")).exists()
        or Message.unscoped.exists()
    )


def offered(client: Client, payment: Payment) -> bool:
    return "receipt" in {entry["button"].name for entry in client.get(page_url(payment)).context["hub_buttons"]}


def text_of(client: Client, payment: Payment) -> str:
    return client.get(page_url(payment)).content.decode()


def test_a_mail_is_queued_audited_and_shown(tenant: Tenant, browser_of: Browser, mail_server: None) -> None:
    payment, client = make_payment(tenant, **JANE), browser_of("admin")
    told = press(client, payment, "receipt", {"channel": "email", "to": ""})
    assert told == [("success", "The receipt by e-mail to jane@example.com is on its way.")]
    delivery = ReceiptDelivery.unscoped.get()
    assert (delivery.payment_id, delivery.reason, delivery.state) == (payment.pk, "reissued", "queued")
    assert delivery.actor == "user school-admin"
    assert QueueItem.unscoped.get(kind="payment.receipt_email").payload == {"delivery": delivery.pk}
    assert LogEntry.objects.get(object_id=payment.pk).change_message == "Pressed “Send receipt”."
    page = text_of(client, payment)
    for shown in ("Receipts sent", "jane@example.com", "Sent again by hand", "user school-admin"):
        assert shown in page
    assert "Receipt by e-mail to jane@example.com: queued" in page
    assert "No mail server is set up" not in page


def test_a_text_is_queued(tenant: Tenant, browser_of: Browser) -> None:
    factories.make_config(tenant, "africastalking")
    payment = make_payment(tenant)
    told = press(browser_of("admin"), payment, "receipt", {"channel": "sms", "to": "0712 345 999"})
    assert told == [("success", "The receipt by SMS to +254712345999 is on its way.")]
    delivery = ReceiptDelivery.unscoped.get()
    assert (delivery.channel, delivery.to, delivery.message) == ("sms", "+254712345999", Message.unscoped.get().pk)


def test_a_text_that_is_suppressed_is_told_as_such(tenant: Tenant, browser_of: Browser) -> None:
    factories.make_config(tenant, "africastalking")
    payment = make_payment(tenant)
    Suppression.unscoped.create(tenant=tenant, address=payment.phone, reason="asked to stop")
    told = press(browser_of("admin"), payment, "receipt", {"channel": "sms", "to": ""})
    why = "on the suppression list: asked to stop"
    assert told == [("error", f"The receipt by SMS to +254712345678 is not sent: {why}.")]


def test_it_asks_first_and_sends_nothing_before(tenant: Tenant, browser_of: Browser, mail_server: None) -> None:
    payment, client = make_payment(tenant, **JANE), browser_of("admin")
    answer = client.get(page_url(payment, "press", "receipt"))
    assert answer.status_code == 200
    assert list(answer.context["form"].fields) == ["channel", "to"]
    assert nothing_sent()


@pytest.mark.parametrize(
    ("fields", "data", "field", "message"),
    [
        ({}, {"channel": "email", "to": "jane"}, "to", "This is not an e-mail address."),
        ({}, {"channel": "email"}, "to", "The payment names no e-mail address: say where to."),
        ({}, {"channel": "sms"}, "channel", "No SMS account is connected."),
        ({"phone": ""}, {"channel": "sms"}, "to", "The payment names no phone number: say where to."),
    ],
)
def test_what_is_wrong_stands_in_the_form(
    fields: dict[str, Any],
    data: dict[str, str],
    field: str,
    message: str,
    tenant: Tenant,
    browser_of: Browser,
    mail_server: None,
) -> None:
    payment = make_payment(tenant, **fields)
    answer = browser_of("admin").post(page_url(payment, "press", "receipt"), data)
    assert answer.status_code == 200
    assert answer.context["form"].errors == {field: [message]}
    assert nothing_sent()
    assert not LogEntry.objects.exists()


def test_without_a_mail_server_the_page_says_so(tenant: Tenant, browser_of: Browser) -> None:
    payment, client = make_payment(tenant, **JANE), browser_of("admin")
    assert "No mail server is set up: no receipts go out by e-mail." in text_of(client, payment)
    answer = client.post(page_url(payment, "press", "receipt"), {"channel": "email", "to": ""})
    assert answer.context["form"].errors == {"channel": ["No mail server is set up."]}
    assert nothing_sent()


def test_only_a_payment_with_a_receipt_offers_it(tenant: Tenant, browser_of: Browser, mail_server: None) -> None:
    client = browser_of("admin")
    assert offered(client, make_payment(tenant))
    without = make_payment(tenant, status="processing", amount_captured=0, receipt="", receipt_number="", **JANE)
    assert not offered(client, without)
    (told,) = press(client, without, "receipt", {"channel": "email", "to": ""})
    assert told[0] == "warning"
    assert nothing_sent()


@pytest.mark.parametrize("role", ["staff", "auditor"])
def test_only_admins_send(role: str, tenant: Tenant, browser_of: Browser, mail_server: None) -> None:
    payment, client = make_payment(tenant, **JANE), browser_of(role)
    assert not offered(client, payment)
    assert client.post(page_url(payment, "press", "receipt"), {"channel": "email", "to": ""}).status_code == 403
    assert nothing_sent()


def test_another_tenants_payment_is_not_there(world: World, browser_of: Browser, mail_server: None) -> None:
    foreign = world.foreign["payments.payment"]
    answer = browser_of("admin").post(page_url(foreign, "press", "receipt"), {"channel": "email", "to": "me@example.com"})
    assert answer.status_code == 302
    assert answer["Location"] == "/admin/"
    with scopes_disabled():
        assert not ReceiptDelivery.objects.exists()
