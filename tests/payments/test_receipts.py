"""The receipt as a page and as a PDF: the same facts, nothing injected, only for money that arrived."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from django_scopes import scope
from pypdf import PdfReader

from integrations.contracts.errors import Conflict
from integrations.contracts.ids import new_id, new_token
from integrations.models import Tenant
from payments.models import Operation, Payment, Status
from payments.receipts import receipt_of, render_receipt_html, render_receipt_pdf
from tests.admin.rows import make_payment

pytestmark = pytest.mark.django_db
PAID_AT = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)


@pytest.fixture
def payment(tenant: Tenant) -> Any:
    with scope(tenant=tenant):
        yield make_payment(
            tenant, receipt="UGA3K7P2QX", receipt_number="2026-000001", completed_at=PAID_AT, description="Term 1 fees"
        )


def refund(payment: Payment, status: str, amount: int = 50_000) -> None:
    Operation.unscoped.create(
        id=new_id("re"),
        tenant=payment.tenant,
        payment=payment,
        kind="refund",
        status=status,
        amount=amount,
        reason="paid twice",
        idempotency_key=new_token(),
        hook_token=new_token(),
        created=PAID_AT,
        updated=PAID_AT,
    )
    if status == "succeeded":
        Payment.unscoped.filter(pk=payment.pk).update(amount_refunded=payment.amount_refunded + amount)
        payment.refresh_from_db()


def pdf_text(payment: Payment) -> str:
    pages = PdfReader(BytesIO(render_receipt_pdf(payment))).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def test_content_of_a_paid_fee(payment: Payment) -> None:
    receipt = receipt_of(payment)
    assert (receipt.tenant, receipt.number, receipt.amount) == ("Springfield School", "2026-000001", "KES 1,500.00")
    assert (receipt.status, receipt.refunds, receipt.kept) == ("Paid", (), "")
    assert receipt.lines == (
        ("Date", "21 November 2026, 01:30 EAT"),
        ("Received from", "Jane Wanjiku"),
        ("For", "invoice INV-0042 · Term 1 fees"),
        ("Paid by", "M-Pesa (Safaricom Daraja) · mobile money"),
        ("Transaction", "UGA3K7P2QX"),
        ("Payment", payment.pk),
    )


def test_page_and_pdf_say_all_of_it(payment: Payment) -> None:
    receipt = receipt_of(payment)
    html, pdf = render_receipt_html(payment), pdf_text(payment)
    for text in (receipt.tenant, receipt.number, receipt.amount, receipt.status, *(value for _, value in receipt.lines)):
        assert text in html
        assert text in pdf


def test_page_escapes_everything(payment: Payment) -> None:
    evil = '<script>alert("x")</script>&'
    for name in ("payer_name", "description", "reference_id", "receipt", "receipt_number"):
        setattr(payment, name, evil[: 30 if name == "receipt_number" else 60])
    payment.tenant.name = evil
    html = render_receipt_html(payment)
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;") >= 4


def test_pdf_takes_markup_as_text(payment: Payment) -> None:
    payment.payer_name = '<b>Jane</b> & <a href="file:///etc/passwd">co</a>'
    payment.tenant.name = "Lens <i>& Light</i>"
    text = pdf_text(payment)
    assert '<b>Jane</b> & <a href="file:///etc/passwd">co</a>' in text
    assert "Lens <i>& Light</i>" in text


def test_refunds_are_listed_and_failed_ones_are_not(payment: Payment) -> None:
    refund(payment, "failed", 10_000)
    refund(payment, "pending", 20_000)
    refund(payment, "succeeded")
    receipt = receipt_of(payment)
    assert receipt.status == "Partly refunded"
    assert receipt.kept == "KES 1,000.00"
    assert set(receipt.refunds) == {
        ("Refund under way 21 November 2026, 01:30 EAT (paid twice)", "KES 200.00"),
        ("Refunded 21 November 2026, 01:30 EAT (paid twice)", "KES 500.00"),
    }
    text = pdf_text(payment)
    assert "Remains KES 1,000.00" in text
    assert "KES 100.00" not in text
    assert "KES 1,000.00" in render_receipt_html(payment)


def test_whole_refund(payment: Payment) -> None:
    refund(payment, "succeeded", 150_000)
    assert (receipt_of(payment).status, receipt_of(payment).kept) == ("Refunded", "KES 0.00")


@pytest.mark.parametrize("status", [status for status in Status if status != Status.SUCCEEDED])
def test_there_is_no_receipt_before_the_money(status: Status, payment: Payment) -> None:
    payment.status = status
    for render in (render_receipt_html, render_receipt_pdf):
        with pytest.raises(Conflict):
            render(payment)


def test_letters_the_font_lacks(payment: Payment) -> None:
    payment.payer_name = "Ørsted Dvořák 李"
    assert "Ørsted Dvorák ?" in pdf_text(payment)
    assert "Ørsted Dvořák 李" in render_receipt_html(payment)


def test_odd_time_zone_and_provider_do_no_harm(payment: Payment) -> None:
    payment.tenant.time_zone = "Mars/Olympus"
    payment.provider = "gone"
    lines = dict(receipt_of(payment).lines)
    assert (lines["Date"], lines["Paid by"]) == ("20 November 2026, 22:30 UTC", "gone · mobile money")


def test_same_payment_same_bytes(payment: Payment) -> None:
    assert render_receipt_pdf(payment) == render_receipt_pdf(payment)
