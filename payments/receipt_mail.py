"""The mail that carries a receipt: text, HTML, and the PDF."""

from __future__ import annotations

from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils.text import slugify

from integrations.http.smtp import one_line
from integrations.runtime.mailer import sender, sender_address
from payments.models import ReceiptDelivery, ReceiptReason
from payments.receipts import receipt_of, render_receipt_pdf


def receipt_mail(delivery: ReceiptDelivery) -> EmailMultiAlternatives:
    """Return the mail of a delivery; the receipt says how the payment stands now. Raises `Conflict` where there is none.

    Every try of a delivery carries the same Message-ID, so that mail programs recognise a copy.
    """
    payment = delivery.payment
    receipt = receipt_of(payment)
    updated = delivery.reason == ReceiptReason.REFUNDED
    context = {"receipt": receipt, "updated": updated}
    mail = EmailMultiAlternatives(
        subject=one_line(f"{'Updated receipt' if updated else 'Receipt'} {receipt.number} from {receipt.tenant}"),
        body=render_to_string("payments/receipt_email.txt", context),
        from_email=sender(receipt.tenant),
        to=[delivery.to],
        headers={
            "Message-ID": message_id(delivery),
            "Auto-Submitted": "auto-generated",
        },
    )
    mail.attach_alternative(render_to_string("payments/receipt_email.html", context), "text/html")
    mail.attach(f"receipt-{slugify(receipt.number)}.pdf", render_receipt_pdf(payment), "application/pdf")
    return mail


def message_id(delivery: ReceiptDelivery) -> str:
    """Return the Message-ID that follows from the delivery."""
    return f"<{delivery.pk}@{sender_address().rpartition('@')[2] or 'localhost'}>"
