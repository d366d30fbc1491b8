"""What a gateway says of a refund, applied."""

from __future__ import annotations

from integrations.contracts import clock
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    RefundResult,
    RefundState,
)
from integrations.models import Alert
from integrations.runtime.alerts import raise_alert
from payments.ledger import derive_totals, failure_form, publish, write_entry
from payments.models import Operation, OperationStatus, Payment
from payments.references import note_references

_TARGETS = {
    RefundState.PROCESSING: OperationStatus.PENDING,
    RefundState.SUCCEEDED: OperationStatus.SUCCEEDED,
    RefundState.FAILED: OperationStatus.FAILED,
    RefundState.UNKNOWN: OperationStatus.UNKNOWN,
}


def apply_refund(refund_id: str, result: RefundResult, *, actor: str, reason: str) -> Operation:
    """Apply a believed word on a refund, in the caller's transaction. Locks payment, then refund.

    Only one thing happens to a refund that succeeded: it fails after all, days later, and the money is the tenant's again.
    Another amount than was asked for goes to a person.
    """
    payment_id = Operation.objects.values_list("payment_id", flat=True).get(pk=refund_id)
    payment = Payment.objects.select_for_update().get(pk=payment_id)
    refund = Operation.objects.select_for_update().get(pk=refund_id)
    if result.provider_ref and not refund.provider_ref:
        refund.provider_ref = result.provider_ref
    note_references(payment, result.references, object_type="refund", object_id=refund.pk)
    target = _TARGETS[result.state]
    late_failure = refund.status == OperationStatus.SUCCEEDED and target == OperationStatus.FAILED
    final = refund.status == OperationStatus.FAILED or (refund.status == OperationStatus.SUCCEEDED and not late_failure)
    if final or (target == refund.status and not result.receipt):
        refund.save()
        return refund
    if result.money is not None and result.money != Money(refund.amount, payment.currency):
        review_refund(refund, f"The gateway says {result.money}, asked was {Money(refund.amount, payment.currency)}.")
        return refund
    refund.status, refund.updated = target, clock.now()
    refund.failure = failure_form(result.failure)
    refund.receipt = result.receipt or refund.receipt
    refund.save()
    derive_totals(payment)
    payment.updated = clock.now()
    payment.save()
    write_entry(
        payment,
        actor=actor,
        reason=f"refund {target.value}: {reason}",
        from_status=payment.status,
        operation=refund,
        amount=refund.amount,
        provider_ref=refund.receipt or refund.provider_ref,
    )
    if target == OperationStatus.SUCCEEDED:
        publish(payment, "payment.refunded", key=refund.pk, extra={"refund": refund.pk})
    elif target == OperationStatus.FAILED:
        key = f"{refund.pk}:late" if late_failure else refund.pk
        publish(payment, "payment.refund_failed", key=key, extra={"refund": refund.pk})
        raise_alert(
            tenant_id=payment.tenant_id,
            kind="refund_failed",
            subject=refund.pk,
            message=f"The refund of {payment.pk} failed: {reason}",
            level=Alert.Level.WARNING.value,
        )
    return refund


def review_refund(refund: Operation, reason: str) -> None:
    """Hand a locked refund to a person."""
    refund.status, refund.updated = OperationStatus.NEEDS_REVIEW, clock.now()
    refund.save()
    raise_alert(
        tenant_id=refund.tenant_id,
        kind="refund_needs_review",
        subject=refund.pk,
        message=reason,
        level=Alert.Level.CRITICAL.value,
    )
