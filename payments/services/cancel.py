"""Calling a payment off: releasing what is held, or withdrawing a request that nobody has paid."""

from __future__ import annotations

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.contracts.payment_features import GatewayOperation
from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime import idempotency
from integrations.runtime.queue import cancel_item, enqueue
from integrations.runtime.worker import claim_and_run
from payments.gateway import payment_features
from payments.ledger import write_entry
from payments.models import OperationKind, Payment, Status
from payments.routing import HEAD_START, new_operation
from payments.schedule import under_way
from payments.transitions import is_held


def cancel_payment(*, tenant: Tenant, payment_id: str, actor: str) -> Payment:
    """Call the payment off and return it as it is after one try.

    A request that never left the hub ends at once; a hold is released; a request that waits for the payer is withdrawn where
    the gateway can do that. Raises `Conflict` (what is paid is refunded, not cancelled), `UnsupportedOperation`,
    `Payment.DoesNotExist`, with nothing changed.
    """
    unsent = unsent_request(Payment.objects.get(pk=payment_id, tenant=tenant))
    if unsent is not None:
        cancel_item(unsent.pk, tenant_id=tenant.pk, by=actor)
        return Payment.objects.get(pk=payment_id)
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment_id, tenant=tenant)
        _require_cancellable(payment)
        idempotency.attach("payment", payment.pk)
        item = call_off(payment, actor=actor, abandoned=False)
    claim_and_run(item)
    payment.refresh_from_db()
    return payment


def unsent_request(payment: Payment) -> QueueItem | None:
    """Return the request for the money where it still waits in the queue and certainly was never sent."""
    waiting = QueueItem.unscoped.filter(
        tenant_id=payment.tenant_id, kind="payment.authorize", reference_id=payment.pk, state=QueueState.PENDING
    ).exclude(tries__isnull=False)
    return None if payment.provider_ref else waiting.first()


def _require_cancellable(payment: Payment) -> None:
    if is_held(payment.status):
        if under_way(payment, OperationKind.CAPTURE, OperationKind.VOID):
            raise Conflict("A capture or release of this payment is under way.", attr="payment")
        payment_features(payment).check(GatewayOperation.VOID.value)
        return
    if payment.status not in (Status.REQUIRES_ACTION, Status.PROCESSING) or not payment.provider_ref:
        hint = " Refund it instead." if payment.status == Status.SUCCEEDED else ""
        raise Conflict(f"A payment that is {payment.status} can't be cancelled.{hint}", attr="payment")
    if under_way(payment, OperationKind.CANCEL):
        raise Conflict("This payment is being cancelled already.", attr="payment")
    payment_features(payment).check(GatewayOperation.CANCEL.value)


def call_off(payment: Payment, *, actor: str, abandoned: bool) -> QueueItem:
    """Queue the release or withdrawal of a locked payment; `abandoned`: nobody came to pay."""
    held = is_held(payment.status)
    kind = OperationKind.VOID if held else OperationKind.CANCEL
    operation = new_operation(
        payment, kind, payment.amount_capturable if held else payment.amount, reason="abandoned" if abandoned else ""
    )
    operation.save(force_insert=True)
    reason = "nobody paid in time: called off" if abandoned else "cancellation asked for"
    write_entry(payment, actor=actor, reason=reason, from_status=payment.status, operation=operation, amount=operation.amount)
    return enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.void",
        payload={"operation": operation.pk, "abandoned": abandoned},
        reference=("payment", payment.pk),
        key=operation.pk,
        due_at=clock.now() + HEAD_START,
        config_id=payment.config_id,
        priority=2,
    )
