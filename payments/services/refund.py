"""Giving money back."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Sum

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.models import QueueItem, Tenant
from integrations.runtime import idempotency
from integrations.runtime.queue import enqueue
from integrations.runtime.worker import claim_and_run
from payments.gateway import gateway_class
from payments.ledger import write_entry
from payments.models import Operation, OperationKind, OperationStatus, Payment, Status
from payments.references import open_path
from payments.services.start import HEAD_START


def refund_payment(*, tenant: Tenant, payment_id: str, amount: int | None, reason: str, actor: str) -> Operation:
    """Refund `amount` minor units (all that is left where None) and return the refund after one try.

    Refunds that are pending or unknown count as given back: together they never exceed what was captured. Raises
    `Conflict`, `InvalidRequest`, `UnsupportedOperation` with nothing changed, `Payment.DoesNotExist`.
    """
    item = _record(tenant=tenant, payment_id=payment_id, amount=amount, reason=reason, actor=actor)
    claim_and_run(item)
    return Operation.objects.select_related("payment").get(pk=item.payload["operation"])


@transaction.atomic
def _record(*, tenant: Tenant, payment_id: str, amount: int | None, reason: str, actor: str) -> QueueItem:
    payment = Payment.objects.select_for_update().get(pk=payment_id, tenant=tenant)
    if payment.status not in (Status.SUCCEEDED, Status.PARTIALLY_CAPTURED):
        raise Conflict(f"A payment that is {payment.status} can't be refunded.", attr="payment")
    spoken_for = (
        payment.operations.filter(kind=OperationKind.REFUND)
        .exclude(status=OperationStatus.FAILED)
        .aggregate(total=Sum("amount"))["total"]
        or 0
    )
    left = payment.amount_captured - spoken_for
    wanted = left if amount is None else amount
    if left <= 0:
        raise Conflict("Nothing is left to refund.", attr="payment")
    if not 0 < wanted <= left:
        raise InvalidRequest(f"At most {Money(left, payment.currency)} can be refunded.", attr="amount")
    gateway_class(payment.provider).features.check("refund", Money(wanted, payment.currency))
    if not payment.receipt:
        raise Conflict("The gateway's receipt number is not known yet; it is needed to refund.", attr="payment")
    refund_id, now = new_id("re"), clock.now()
    refund = Operation(
        id=refund_id,
        tenant=tenant,
        payment=payment,
        kind=OperationKind.REFUND,
        amount=wanted,
        idempotency_key=refund_id,
        hook_token=new_token(),
        reason=reason,
        created=now,
        updated=now,
    )
    refund.save(force_insert=True)
    open_path(payment, token=refund.hook_token, object_type="refund", object_id=refund.pk)
    write_entry(
        payment,
        actor=actor,
        reason=f"refund asked for: {reason}" if reason else "refund asked for",
        from_status=payment.status,
        operation=refund,
        amount=wanted,
    )
    idempotency.attach("refund", refund.pk)
    return enqueue(
        tenant_id=tenant.pk,
        kind="payment.refund",
        payload={"operation": refund.pk},
        reference=("refund", refund.pk),
        key=refund.pk,
        due_at=now + HEAD_START,
        config_id=payment.config_id,
        priority=2,
    )
