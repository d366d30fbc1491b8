"""A running mail server, and payments whose receipts it is to get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts.ids import new_id, new_token
from integrations.models import QueueItem, Tenant
from payments.models import Operation, Payment, ReceiptDelivery
from tests.admin.rows import make_payment
from tests.factories import MovableClock
from tests.payments.mail_server import MailServer, running_mail_server

JANE = "jane@example.com"


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with running_mail_server(settings) as running:
        yield running


@pytest.fixture
def pay(tenant: Tenant, clock: MovableClock) -> Iterator[Callable[..., Payment]]:
    """`pay(**fields)`: a succeeded payment of Jane's over KES 1,500.00."""

    def make(**fields: Any) -> Payment:
        values = {"customer": {"name": "Jane Wanjiku", "email": JANE}, "receipt": "UGA3K7P2QX", "receipt_number": "2026-000001"}
        return make_payment(tenant, **{**values, **fields})

    with scope(tenant=tenant):
        yield make


def refund_of(payment: Payment, amount: int = 50_000) -> Operation:
    refund = Operation(
        id=new_id("re"), tenant=payment.tenant, payment=payment, kind="refund", status="succeeded", amount=amount,
        idempotency_key=new_token(), hook_token=new_token(), reason="paid twice", created=payment.created,
        updated=payment.created,
    )  # fmt: skip
    refund.save(force_insert=True)
    Payment.objects.filter(pk=payment.pk).update(amount_refunded=payment.amount_refunded + amount)
    payment.refresh_from_db()
    return refund


def queued(delivery: ReceiptDelivery) -> QueueItem:
    found: QueueItem = QueueItem.objects.get(kind="payment.receipt_email", key=delivery.pk)
    return found


def state(delivery: ReceiptDelivery) -> tuple[str, str]:
    delivery.refresh_from_db()
    return delivery.state, delivery.detail


def parts(message: EmailMessage) -> tuple[str, str, tuple[str, bytes]]:
    """Return text, HTML, and the PDF with its name."""
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    (attached,) = message.iter_attachments()
    assert attached.get_content_type() == "application/pdf"
    return text.get_content(), html.get_content(), (attached.get_filename() or "", attached.get_content())
