"""A person's decision on one capture or refund whose fate the gateway can't tell."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.failures import Failure
from integrations.contracts.payment import CaptureResult, RefundResult, RefundState
from integrations.models import Tenant
from integrations.runtime.alerts import resolve_alert
from payments.jobs.holds import apply_capture
from payments.ledger import write_entry
from payments.models import Operation, OperationKind, OperationStatus, Payment
from payments.refunds import apply_refund

_DECIDABLE = (OperationKind.CAPTURE, OperationKind.REFUND)


def doubtful_operation(payment: Payment) -> Operation | None:
    """Return the oldest capture or refund of the payment that waits for a person."""
    waiting = payment.operations.filter(kind__in=_DECIDABLE, status=OperationStatus.NEEDS_REVIEW)
    found: Operation | None = waiting.order_by("created", "id").first()
    return found


def resolve_operation(*, tenant: Tenant, operation_id: str, happened: bool, note: str, actor: str) -> Operation:
    """Decide a capture or refund that is `needs_review`, from the gateway's own statement: it happened, with the amount that
    was asked for, or it did not. `note` says on what grounds and goes into the ledger.

    What did not happen frees its amount: it may be asked for again. Raises `InvalidRequest` without a note, `Conflict` for any
    other state, `Operation.DoesNotExist`.
    """
    if not note.strip():
        raise InvalidRequest("Say on what grounds.", attr="note")
    with transaction.atomic():
        payment_id = Operation.objects.values_list("payment_id", flat=True).get(pk=operation_id, tenant=tenant)
        payment = Payment.objects.select_for_update().get(pk=payment_id)
        operation = Operation.objects.select_for_update().get(pk=operation_id)
        if operation.kind not in _DECIDABLE or operation.status != OperationStatus.NEEDS_REVIEW:
            raise Conflict(f"A {operation.kind} that is {operation.status} needs no decision.", attr="operation")
        state = RefundState.SUCCEEDED if happened else RefundState.FAILED
        failure = None if happened else Failure.of("never_arrived")
        reason = f"decided by a person: {note.strip()}"
        if operation.kind == OperationKind.REFUND:
            apply_refund(operation.pk, RefundResult(state=state, failure=failure), actor=actor, reason=reason)
        else:
            write_entry(
                payment, actor=actor, reason=reason, from_status=payment.status, operation=operation, amount=operation.amount
            )
            apply_capture(payment, operation, CaptureResult(state=state, failure=failure), actor=actor, reason=reason)
        resolve_alert(tenant_id=tenant.pk, kind=f"{operation.kind}_needs_review", subject=operation.pk)
    operation.refresh_from_db()
    return operation
