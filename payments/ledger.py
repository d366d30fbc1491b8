"""Every change of a payment goes through here: the transition table, the totals, the ledger, the event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from django.db.models import Sum

from integrations.contracts import clock
from integrations.contracts.failures import Failure
from integrations.events import DomainEvent, emit
from integrations.models import Alert
from integrations.runtime.alerts import raise_alert
from payments.gateway import main_operation
from payments.models import LedgerEntry, Operation, OperationKind, OperationStatus, Payment, ReceiptCounter, Status
from payments.selectors import public_form
from payments.transitions import allowed, is_held, is_open, was_called_off

EVENTS = {
    Status.AUTHORIZED: "payment.authorized",
    Status.SUCCEEDED: "payment.completed",
    Status.FAILED: "payment.failed",
    Status.CANCELLED: "payment.failed",
    Status.EXPIRED: "payment.failed",
    Status.CONFLICTED: "payment.conflicted",
    Status.NEEDS_REVIEW: "payment.needs_review",
}
_FINAL_OPERATION = {
    Status.SUCCEEDED: OperationStatus.SUCCEEDED,
    Status.AUTHORIZED: OperationStatus.SUCCEEDED,
    Status.FAILED: OperationStatus.FAILED,
    Status.CANCELLED: OperationStatus.FAILED,
    Status.EXPIRED: OperationStatus.FAILED,
    Status.UNKNOWN: OperationStatus.UNKNOWN,
    Status.NEEDS_REVIEW: OperationStatus.NEEDS_REVIEW,
    Status.CONFLICTED: OperationStatus.NEEDS_REVIEW,
    Status.PROCESSING: OperationStatus.PENDING,
    Status.REQUIRES_ACTION: OperationStatus.PENDING,
}


def failure_form(failure: Failure | None) -> dict[str, Any] | None:
    """Return a failure as rows and API hold it."""
    if failure is None:
        return None
    return {
        "type": failure.type,
        "code": failure.code,
        "message": failure.message,
        "decline_code": failure.decline_code,
        "provider_code": failure.provider_code,
        "retryable": failure.retryable,
        "decision": failure.decision,
    }


def write_entry(
    payment: Payment,
    *,
    actor: str,
    reason: str,
    from_status: str,
    operation: Operation | None = None,
    amount: int | None = None,
    provider_ref: str = "",
) -> None:
    """Append a line to the payment's history, with its totals as they are now."""
    context = structlog.contextvars.get_contextvars()
    LedgerEntry.objects.create(
        tenant_id=payment.tenant_id,
        payment=payment,
        operation=operation,
        at=clock.now(),
        actor=actor[:100],
        reason=reason[:300],
        from_status=from_status,
        to_status=payment.status,
        amount=amount,
        amount_captured=payment.amount_captured,
        amount_voided=payment.amount_voided,
        amount_disputed=payment.amount_disputed,
        amount_refunded=payment.amount_refunded,
        provider_ref=provider_ref or payment.receipt or payment.provider_ref,
        request_id=str(context.get("request_id", ""))[:64],
    )


def move(
    payment: Payment,
    target: Status,
    *,
    actor: str,
    reason: str,
    operation: Operation | None = None,
    failure: Failure | None = None,
) -> bool:
    """Take a locked payment to `target` with its operation, totals, ledger line and event; False where the table forbids it.

    The caller holds the row lock and has set what else changes on the payment; all of it is saved here.
    """
    if not allowed(payment.status, target):
        return False
    before, now = payment.status, clock.now()
    payment.status = target
    payment.failure = failure_form(failure)
    payment.updated = now
    if target not in (Status.REQUIRES_ACTION, Status.PROCESSING):
        payment.next_action = None
    main = operation or main_operation(payment)
    # Once money is held or taken, the request for it has succeeded for good: later changes are those of other operations.
    if main is not None and (is_open(before) or was_called_off(before) or before == Status.CONFLICTED):
        _settle(main, payment, target)
    derive_totals(payment)
    if target == Status.SUCCEEDED:
        payment.completed_at = now
        payment.receipt_number = payment.receipt_number or next_receipt_number(payment)
    payment.save()
    write_entry(payment, actor=actor, reason=reason, from_status=before, operation=main, amount=payment.amount)
    if target in EVENTS:
        publish(payment, EVENTS[target], key=f"{payment.pk}:{target.value}")
    if target in (Status.CONFLICTED, Status.NEEDS_REVIEW):
        raise_alert(
            tenant_id=payment.tenant_id,
            kind=f"payment_{target.value}",
            subject=payment.pk,
            message=reason,
            level=Alert.Level.CRITICAL.value,
        )
    return True


def _settle(main: Operation, payment: Payment, target: Status) -> None:
    main.status, main.failure, main.updated = _FINAL_OPERATION[target], payment.failure, payment.updated
    main.provider_ref = main.provider_ref or payment.hold_ref or payment.provider_ref
    main.receipt = payment.receipt
    if main.status in (OperationStatus.SUCCEEDED, OperationStatus.FAILED):
        main.sealed_token = ""
    main.save()


def derive_totals(payment: Payment) -> None:
    """Set the totals from the succeeded operations and the disputes; the caller saves."""
    succeeded = payment.operations.filter(status=OperationStatus.SUCCEEDED)

    def total(*kinds: OperationKind) -> int:
        return succeeded.filter(kind__in=kinds).aggregate(total=Sum("amount"))["total"] or 0

    payment.amount_authorized = total(OperationKind.AUTHORIZE, OperationKind.INCOMING)
    captured = total(OperationKind.CAPTURE, OperationKind.INCOMING)
    if payment.capture == "automatic":
        captured += total(OperationKind.AUTHORIZE)
    payment.amount_captured = captured
    payment.amount_voided = total(OperationKind.VOID)
    payment.amount_refunded = total(OperationKind.REFUND)
    lost = payment.disputes.filter(withdrawn=True, currency=payment.currency)
    payment.amount_disputed = lost.aggregate(total=Sum("amount"))["total"] or 0


def settle_held(payment: Payment, *, actor: str, reason: str, lapsed: bool = False) -> bool:
    """Take a locked payment whose operations changed to the status that follows from them: held, partly taken, taken, or
    released (`lapsed`: by time). False where its status stays."""
    derive_totals(payment)
    if payment.amount_captured == 0:
        released = Status.EXPIRED if lapsed else Status.CANCELLED
        target = Status.AUTHORIZED if payment.amount_capturable else released
    else:
        target = Status.PARTIALLY_CAPTURED if payment.amount_capturable else Status.SUCCEEDED
    if target == payment.status or not is_held(payment.status):
        payment.updated = clock.now()
        payment.save()
        return False
    return move(payment, target, actor=actor, reason=reason)


def next_receipt_number(payment: Payment) -> str:
    """Return the tenant's next receipt number of this year, `2026-000001`; without gaps, since it rolls back with us."""
    year = clock.now().year
    ReceiptCounter.objects.get_or_create(tenant_id=payment.tenant_id, year=year)
    counter = ReceiptCounter.objects.select_for_update().get(tenant_id=payment.tenant_id, year=year)
    counter.last += 1
    counter.save()
    return f"{year}-{counter.last:06d}"


def publish(payment: Payment, event_type: str, *, key: str, extra: Mapping[str, Any] | None = None) -> None:
    """Emit a fact about the payment, in its public form."""
    emit(
        DomainEvent(
            tenant_id=payment.tenant_id,
            type=event_type,
            object={**public_form(payment), **(extra or {})},
            object_type="payment",
            object_id=payment.pk,
            key=key,
            private={"phone": payment.phone, "payer_name": payment.payer_name},
        )
    )
