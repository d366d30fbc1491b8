"""A person settles what neither gateway nor hub could."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.models import Tenant
from integrations.runtime.alerts import resolve_alert
from payments.ledger import move
from payments.models import OperationKind, OperationStatus, Payment, Status


def resolve_payment(*, tenant: Tenant, payment_id: str, paid: bool, receipt: str, note: str, actor: str) -> Payment:
    """Decide a payment that is `needs_review`, `conflicted` or `unknown` from the gateway's own statement.

    `note` says on what grounds. Raises `Conflict` for any other status, `InvalidRequest` without a note.
    """
    if not note.strip():
        raise InvalidRequest("Say on what grounds.", attr="note")
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id, tenant=tenant)
        if payment.status not in (Status.NEEDS_REVIEW, Status.CONFLICTED, Status.UNKNOWN):
            raise Conflict(f"A payment that is {payment.status} needs no decision.", attr="payment")
        if receipt and Payment.objects.filter(provider=payment.provider, receipt=receipt).exclude(pk=payment.pk).exists():
            raise Conflict("This receipt belongs to another payment.", attr="receipt")
        if paid:
            _require_bookable(payment)
        kind = f"payment_{payment.status}"
        payment.receipt = payment.receipt or receipt
        failure = None if paid else Failure.of("not_paid")
        target = Status.SUCCEEDED if paid else Status.FAILED
        doubtful = payment.operations.filter(kind=OperationKind.CAPTURE, status=OperationStatus.NEEDS_REVIEW)
        doubtful.update(status=OperationStatus.SUCCEEDED if paid else OperationStatus.FAILED)
        move(payment, target, actor=actor, reason=f"decided by a person: {note.strip()}", failure=failure)
        resolve_alert(tenant_id=tenant.pk, kind=kind, subject=payment.pk)
    return payment


def _require_bookable(payment: Payment) -> None:
    """Raise `Conflict` where "paid" would book other money than there is."""
    if payment.capture == "manual" and not payment.operations.filter(kind=OperationKind.CAPTURE).exists():
        raise Conflict(
            "Nothing of the hold has been captured: sync the payment, or cancel the hold at the gateway.", attr="paid"
        )
    reported = (payment.reported_amount, payment.reported_currency)
    if payment.status == Status.CONFLICTED and payment.reported_amount and reported != (payment.amount, payment.currency):
        taken = Money(payment.reported_amount, payment.reported_currency)
        raise Conflict(f"The gateway took {taken}: give it back there and decide that it was not paid.", attr="paid")
