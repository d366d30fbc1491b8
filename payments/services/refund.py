"""Giving money back."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Sum

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.money import Money
from integrations.contracts.payment_features import GatewayOperation, PaymentFeatures
from integrations.models import QueueItem, Tenant
from integrations.runtime import idempotency
from integrations.runtime.queue import enqueue
from integrations.runtime.worker import claim_and_run
from payments.gateway import gateway_class, main_operation, payment_features, refund_request, view_of
from payments.ledger import write_entry
from payments.models import Operation, OperationKind, OperationStatus, Payment, Status
from payments.references import open_path
from payments.routing import HEAD_START, new_operation


def refund_payment(*, tenant: Tenant, payment_id: str, amount: int | None, reason: str, actor: str) -> Operation:
    """Refund `amount` minor units (all that is left where None) and return the refund after one try.

    Refunds that are pending or unknown count as given back: together they never exceed what was captured, less what the
    payer's bank took back. Of a payment that was captured in parts the oldest captures are given back first, each with a
    refund of its own: then the first of them is returned. Raises `Conflict`, `InvalidRequest`, `UnsupportedOperation` with
    nothing changed, `Payment.DoesNotExist`.
    """
    items = _record(tenant=tenant, payment_id=payment_id, amount=amount, reason=reason, actor=actor)
    for item in items:
        claim_and_run(item)
    return Operation.objects.select_related("payment").get(pk=items[0].payload["operation"])


@transaction.atomic
def _record(*, tenant: Tenant, payment_id: str, amount: int | None, reason: str, actor: str) -> list[QueueItem]:
    payment = Payment.objects.select_for_update().get(pk=payment_id, tenant=tenant)
    if payment.status not in (Status.SUCCEEDED, Status.PARTIALLY_CAPTURED):
        raise Conflict(f"A payment that is {payment.status} can't be refunded.", attr="payment")
    left = payment.amount_captured - _given_back(payment) - payment.amount_disputed
    wanted = left if amount is None else amount
    if left <= 0:
        raise Conflict("Nothing is left to refund.", attr="payment")
    if not 0 < wanted <= left:
        raise InvalidRequest(f"At most {Money(left, payment.currency)} can be refunded.", attr="amount")
    features = payment_features(payment)
    _check(payment, features, wanted)
    refunds = [
        new_operation(payment, OperationKind.REFUND, part, source=source, reason=reason, requested_by=actor[:100])
        for source, part in _parts(payment, wanted)
    ]
    for refund in refunds:
        if payment.config is not None:
            gateway_class(payment.provider).check_refund(refund_request(refund), view_of(payment.config))
    items = [_ask(payment, refund, actor) for refund in refunds]
    idempotency.attach("refund", refunds[0].pk)
    return items


def _check(payment: Payment, features: PaymentFeatures, wanted: int) -> None:
    features.check(GatewayOperation.REFUND.value)
    features.check_step(Money(wanted, payment.currency))
    if wanted < payment.amount_captured:
        features.check(GatewayOperation.PARTIAL_REFUND.value)
    if _given_back(payment):
        features.check(GatewayOperation.MULTIPLE_REFUND.value)


def _given_back(payment: Payment, source: Operation | None = None) -> int:
    refunds = payment.operations.filter(kind=OperationKind.REFUND).exclude(status=OperationStatus.FAILED)
    if source is not None:
        refunds = refunds.filter(source=source)
    return refunds.aggregate(total=Sum("amount"))["total"] or 0


def _parts(payment: Payment, wanted: int) -> list[tuple[Operation | None, int]]:
    """Return which captures to give back how much of, oldest first; one part wherever one capture is enough."""
    captures = payment.operations.filter(kind=OperationKind.CAPTURE, status=OperationStatus.SUCCEEDED).order_by("created", "id")
    left = [(capture, capture.amount - _given_back(payment, capture)) for capture in captures]
    if not left:
        return [(main_operation(payment), wanted)]
    enough = [capture for capture, rest in left if rest >= wanted]
    if enough:
        return [(enough[0], wanted)]
    parts: list[tuple[Operation | None, int]] = []
    for capture, rest in left:
        part = min(rest, wanted - sum(amount for _capture, amount in parts))
        if part > 0:
            parts.append((capture, part))
    return parts


def _ask(payment: Payment, refund: Operation, actor: str) -> QueueItem:
    refund.save(force_insert=True)
    open_path(payment, token=refund.hook_token, object_type="refund", object_id=refund.pk)
    write_entry(
        payment,
        actor=actor,
        reason=f"refund asked for: {refund.reason}" if refund.reason else "refund asked for",
        from_status=payment.status,
        operation=refund,
        amount=refund.amount,
    )
    return enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.refund",
        payload={"operation": refund.pk},
        reference=("refund", refund.pk),
        key=refund.pk,
        due_at=clock.now() + HEAD_START,
        config_id=payment.config_id,
        priority=2,
    )
