"""Reading payments: the public form, lists, the timeline."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from integrations.contracts.money import Money
from integrations.events import TimelineAsked, TimelineEntry, ask_all
from integrations.models import ExternalReference
from payments.models import LedgerEntry, Operation, OperationKind, Payment


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
        "amount_capturable": payment.amount_authorized - payment.amount_captured if payment.status == "authorized" else 0,
        "amount_captured": payment.amount_captured,
        "amount_refunded": payment.amount_refunded,
        "currency": payment.currency,
        "provider": payment.provider,
        "provider_ref": payment.provider_ref,
        "provider_receipt": payment.receipt,
        "receipt_number": payment.receipt_number,
        "method": {"type": payment.method_type, "phone": mask_phone(payment.phone)},
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
        "refunds": [refund_form(refund) for refund in refunds_of(payment)],
        "created": iso(payment.created),
        "updated": iso(payment.updated),
        "completed": iso(payment.completed_at),
    }


def refund_form(refund: Operation) -> dict[str, Any]:
    """Return a refund as the API shows it."""
    return {
        "id": refund.pk,
        "status": refund.status,
        "amount": refund.amount,
        "reason": refund.reason,
        "provider_ref": refund.provider_ref,
        "provider_receipt": refund.receipt,
        "failure": refund.failure,
        "created": iso(refund.created),
        "updated": iso(refund.updated),
    }


def refunds_of(payment: Payment) -> list[Operation]:
    """Return the payment's refunds, oldest first; uses what was prefetched."""
    found = [operation for operation in payment.operations.all() if operation.kind == OperationKind.REFUND]
    return sorted(found, key=lambda operation: operation.created)


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
    """Answer the timeline question with the payment's ledger."""
    if question.object_type != "payment":
        return []
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
