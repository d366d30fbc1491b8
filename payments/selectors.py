"""Reading payments: the public form, lists, the timeline."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from integrations.contracts.money import Money
from integrations.events import TimelineAsked, TimelineEntry, ask_all
from integrations.models import ExternalReference
from payments.models import (
    DeliveryState,
    Dispute,
    LedgerEntry,
    Operation,
    OperationKind,
    Payment,
    ReceiptChannel,
    ReceiptDelivery,
    ReceiptReason,
)


def iso(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with milliseconds and `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def mask_phone(phone: str) -> str:
    """Return a phone number as it may leave the house: country and last three digits."""
    return f"{phone[:4]}•••••{phone[-3:]}" if len(phone) > 8 else ""


def public_form(payment: Payment) -> dict[str, Any]:
    """Return the Payment of the API and of events."""
    return {
        "id": payment.pk,
        "status": payment.status,
        "origin": payment.origin,
        "amount": payment.amount,
        "amount_capturable": payment.amount_capturable,
        "amount_captured": payment.amount_captured,
        "amount_voided": payment.amount_voided,
        "amount_disputed": payment.amount_disputed,
        "amount_refunded": payment.amount_refunded,
        "currency": payment.currency,
        "provider": payment.provider,
        "provider_ref": payment.provider_ref,
        "provider_receipt": payment.receipt,
        "receipt_number": payment.receipt_number,
        "method": {
            "type": payment.method_type,
            "phone": mask_phone(payment.phone),
            "detail": payment.method_detail,
            "stored": payment.payer_method_id or "",
        },
        "capture": payment.capture,
        "next_action": payment.next_action,
        "failure": payment.failure,
        "reference": {"type": payment.reference_type, "id": payment.reference_id} if payment.reference_id else None,
        "account_number": payment.account_number,
        "allocated": payment.allocated,
        "reported": {"amount": payment.reported_amount, "currency": payment.reported_currency}
        if payment.reported_amount is not None
        else None,
        "customer": payment.customer or None,
        "description": payment.description,
        "metadata": payment.metadata,
        "fee": {"amount": payment.fee_amount, "currency": payment.fee_currency} if payment.fee_amount is not None else None,
        "captures": [capture_form(capture) for capture in _of_kind(payment, OperationKind.CAPTURE)],
        "refunds": [refund_form(refund) for refund in refunds_of(payment)],
        "disputes": [dispute_form(dispute) for dispute in sorted(payment.disputes.all(), key=lambda each: each.created)],
        "expires": iso(payment.expires_at),
        "created": iso(payment.created),
        "updated": iso(payment.updated),
        "completed": iso(payment.completed_at),
    }


def capture_form(capture: Operation) -> dict[str, Any]:
    """Return a capture as the API shows it."""
    return {
        "id": capture.pk,
        "status": capture.status,
        "amount": capture.amount,
        "origin": capture.origin,
        "provider_ref": capture.provider_ref,
        "failure": capture.failure,
        "created": iso(capture.created),
        "updated": iso(capture.updated),
    }


def dispute_form(dispute: Dispute) -> dict[str, Any]:
    """Return a dispute as the API shows it."""
    return {
        "id": dispute.pk,
        "status": dispute.status,
        "amount": dispute.amount,
        "currency": dispute.currency,
        "reason": dispute.reason,
        "withdrawn": dispute.withdrawn,
        "respond_by": iso(dispute.respond_by),
        "provider_ref": dispute.provider_ref,
        "created": iso(dispute.created),
        "updated": iso(dispute.updated),
    }


def refund_form(refund: Operation) -> dict[str, Any]:
    """Return a refund as the API shows it."""
    return {
        "id": refund.pk,
        "status": refund.status,
        "amount": refund.amount,
        "origin": refund.origin,
        "reason": refund.reason,
        "provider_ref": refund.provider_ref,
        "provider_receipt": refund.receipt,
        "failure": refund.failure,
        "created": iso(refund.created),
        "updated": iso(refund.updated),
    }


def refunds_of(payment: Payment) -> list[Operation]:
    """Return the payment's refunds, oldest first; uses what was prefetched."""
    return _of_kind(payment, OperationKind.REFUND)


def _of_kind(payment: Payment, kind: OperationKind) -> list[Operation]:
    return sorted((each for each in payment.operations.all() if each.kind == kind), key=lambda operation: operation.created)


def payment_by_reference(*, tenant_id: int, provider: str, kinds: tuple[str, ...], external_id: str) -> Payment | None:
    """Return the payment that a provider means by an id it gave out, or None."""
    row = ExternalReference.objects.filter(
        tenant_id=tenant_id, provider=provider, kind__in=kinds, external_id=external_id, object_type="payment"
    ).first()
    return Payment.objects.filter(pk=row.object_id).first() if row else None


def payment_timeline(payment: Payment) -> list[TimelineEntry]:
    """Return the payment's whole story in order: our steps, calls, callbacks, receipts sent, events delivered."""
    entries: list[TimelineEntry] = []
    asked = [("payment", payment.pk)] + [("refund", refund.pk) for refund in refunds_of(payment)]
    for object_type, object_id in asked:
        question = TimelineAsked(tenant_id=payment.tenant_id, object_type=object_type, object_id=object_id)
        entries += ask_all(question)
    return sorted(entries, key=lambda entry: entry.at)


def timeline_entries(question: TimelineAsked) -> list[TimelineEntry]:
    """Answer the timeline question with the payment's ledger, and the receipts that went out."""
    if question.object_type != "payment":
        return []
    deliveries = ReceiptDelivery.objects.filter(tenant_id=question.tenant_id, payment_id=question.object_id)
    return _ledger_entries(question) + [entry for delivery in deliveries for entry in _delivery_entries(delivery)]


def _delivery_entries(delivery: ReceiptDelivery) -> list[TimelineEntry]:
    """Return the story of a receipt that was sent; how a text fares further is told by messaging."""
    by_hand = f" (asked for by {delivery.actor})" if delivery.reason == ReceiptReason.REISSUED else ""
    what = f"Receipt by {delivery.way}"
    story = [(delivery.created, f"{what}: queued{by_hand}", DeliveryState.QUEUED.value)]
    if delivery.channel == ReceiptChannel.EMAIL and delivery.finished is not None:
        detail = f" ({delivery.detail})" if delivery.detail else ""
        story.append((delivery.finished, f"{what}: {delivery.state}{detail}", delivery.state))
    return [
        TimelineEntry(at=at, kind="receipt", text=text, status=state, object_type="payment", object_id=delivery.payment_id)
        for at, text, state in story
    ]


def _ledger_entries(question: TimelineAsked) -> list[TimelineEntry]:
    entries = LedgerEntry.objects.filter(tenant_id=question.tenant_id, payment_id=question.object_id).select_related("payment")
    return [
        TimelineEntry(
            at=entry.at,
            kind="ledger",
            text=_ledger_text(entry),
            status=entry.to_status,
            object_type="payment",
            object_id=entry.payment_id,
        )
        for entry in entries
    ]


def _ledger_text(entry: LedgerEntry) -> str:
    money = f" {Money(entry.amount, entry.payment.currency)}" if entry.amount is not None else ""
    change = f"{entry.from_status} → {entry.to_status}" if entry.from_status else entry.to_status
    return f"{change}{money}: {entry.reason} ({entry.actor})"
