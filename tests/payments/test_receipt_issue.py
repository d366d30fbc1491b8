"""Which receipts are sent, to whom, and by which of Django's mail backends."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django_scopes import scope, scopes_disabled

from integrations.contracts.errors import InvalidRequest, NotConfigured
from integrations.models import Alert, QueueItem, QueueState, Tenant
from payments.models import Payment, ReceiptDelivery
from payments.services import issue_receipt
from payments.services.receipt import NoReceipt, mail_receipt
from tests.factories import work_off
from tests.payments.mail_server import MailServer
from tests.payments.receipt_support import JANE, pay, server, state

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["pay", "server"]  # fixtures, used by their names


# --- what is not planned --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "switches"),
    [
        ({"customer": {"name": "Jane"}}, {}),
        ({"customer": {}}, {}),
        ({}, {"RECEIPT_EMAILS": False}),
        ({}, {"MAIL_ENABLED": False}),
        ({"status": "failed", "amount_captured": 0, "receipt_number": ""}, {}),
    ],
)
def test_nothing_is_planned(
    fields: dict[str, Any], switches: dict[str, bool], server: MailServer, pay: Callable[..., Payment], settings: Any
) -> None:
    for name, value in switches.items():
        setattr(settings, name, value)
    assert mail_receipt(payment=pay(**fields)) is None
    assert (ReceiptDelivery.objects.count(), QueueItem.objects.count(), Alert.objects.count()) == (0, 0, 0)


def test_an_address_that_is_none_alerts_and_refuses_nothing(server: MailServer, pay: Callable[..., Payment]) -> None:
    payment = pay(customer={"email": "jane@example.com\nBcc: thief@example.com"})
    assert mail_receipt(payment=payment) is None
    assert (ReceiptDelivery.objects.count(), QueueItem.objects.count()) == (0, 0)
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("receipt_not_sent", payment.pk)


@pytest.mark.parametrize(
    ("fields", "arguments", "error", "attr"),
    [
        ({}, {"channel": "email", "to": "jane"}, InvalidRequest, "to"),
        ({}, {"channel": "email", "to": "a@example.com, b@example.com"}, InvalidRequest, "to"),
        ({}, {"channel": "email", "to": "a@example.com\r\nRCPT TO:<b@example.com>"}, InvalidRequest, "to"),
        ({}, {"channel": "email", "to": f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 30}.com"}, InvalidRequest, "to"),
        ({"customer": {}}, {"channel": "email"}, InvalidRequest, "to"),
        ({"phone": ""}, {"channel": "sms"}, InvalidRequest, "to"),
        ({}, {"channel": "fax"}, InvalidRequest, "channel"),
        ({}, {"channel": "sms"}, NotConfigured, "channel"),
        ({"status": "failed", "receipt_number": "", "amount_captured": 0}, {"channel": "email"}, NoReceipt, "payment"),
        ({"receipt_number": ""}, {"channel": "email"}, NoReceipt, "payment"),
    ],
)
def test_what_can_not_be_issued_changes_nothing(
    fields: dict[str, Any],
    arguments: dict[str, str],
    error: type[Exception],
    attr: str | None,
    server: MailServer,
    pay: Callable[..., Payment],
) -> None:
    payment = pay(**fields)
    with pytest.raises(error) as caught:
        issue_receipt(payment=payment, actor="mary", **arguments)
    assert caught.value.attr == attr  # type: ignore[attr-defined]
    assert (ReceiptDelivery.objects.count(), QueueItem.objects.count()) == (0, 0)


def test_without_a_mail_server_a_mail_is_refused_clearly(pay: Callable[..., Payment], settings: Any) -> None:
    assert settings.MAIL_ENABLED is False
    with pytest.raises(NotConfigured, match=r"^No mail server is set up\.$"):
        issue_receipt(payment=pay(), channel="email", actor="mary")
    assert (ReceiptDelivery.objects.count(), QueueItem.objects.count()) == (0, 0)


def test_a_reissue_is_sent_each_time(server: MailServer, pay: Callable[..., Payment]) -> None:
    payment = pay()
    mail_receipt(payment=payment)
    for to in ("", "", "  office@school.example  "):
        issue_receipt(payment=payment, channel="email", to=to, actor="user mary")
    work_off()
    assert [to for _from, to in server.envelopes].count([JANE]) == 3
    assert [to for _from, to in server.envelopes].count(["office@school.example"]) == 1
    reissued = ReceiptDelivery.objects.filter(reason="reissued")
    assert set(reissued.values_list("actor", "state")) == {("user mary", "sent")}


# --- other backends -------------------------------------------------------------------------------------------------------


def test_djangos_other_backends_are_respected(pay: Callable[..., Payment], settings: Any) -> None:
    settings.MAIL_ENABLED, settings.EMAIL_BACKEND = True, "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    work_off()
    assert [message.to for message in mail.outbox] == [[JANE]]
    assert state(delivery) == ("sent", "")


class BrokenBackend(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        raise smtplib.SMTPException("gone in the middle")


def test_a_backend_that_breaks_leaves_it_unknown(pay: Callable[..., Payment], settings: Any) -> None:
    settings.MAIL_ENABLED, settings.EMAIL_BACKEND = True, f"{__name__}.BrokenBackend"
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    assert [outcome.state for outcome in work_off()] == [QueueState.NEEDS_REVIEW]
    assert state(delivery) == ("unknown", "The mail backend broke off (SMTPException).")


def test_another_tenants_delivery_stays_out_of_sight(
    pay: Callable[..., Payment], server: MailServer, other_tenant: Tenant
) -> None:
    mail_receipt(payment=pay())
    with scopes_disabled(), scope(tenant=other_tenant):
        assert ReceiptDelivery.objects.count() == 0
