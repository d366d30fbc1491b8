"""Taking what is held."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.money import Money
from integrations.contracts.payment_features import GatewayOperation
from integrations.models import QueueItem, Tenant
from integrations.runtime import idempotency
from integrations.runtime.queue import enqueue
from integrations.runtime.worker import claim_and_run
from payments.gateway import payment_features
from payments.ledger import write_entry
from payments.models import OperationKind, Payment
from payments.routing import HEAD_START, new_operation
from payments.schedule import under_way
from payments.transitions import is_held


def capture_payment(*, tenant: Tenant, payment_id: str, amount: int | None, final: bool | None, actor: str) -> Payment:
    """Take `amount` minor units of what is held (all that is left where None) and return the payment after one try.

    `final` releases the rest; left open, the rest stays held where the gateway captures several times, and is released where it
    does not. Raises `Conflict`, `InvalidRequest`, `UnsupportedOperation` with nothing changed, `Payment.DoesNotExist`.
    """
    item = _record(tenant=tenant, payment_id=payment_id, amount=amount, final=final, actor=actor)
    claim_and_run(item)
    return Payment.objects.get(pk=payment_id)


@transaction.atomic
def _record(*, tenant: Tenant, payment_id: str, amount: int | None, final: bool | None, actor: str) -> QueueItem:
    payment = Payment.objects.select_for_update().get(pk=payment_id, tenant=tenant)
    if not is_held(payment.status):
        raise Conflict(f"A payment that is {payment.status} holds nothing to capture.", attr="payment")
    if under_way(payment, OperationKind.CAPTURE, OperationKind.VOID):
        raise Conflict("A capture or release of this payment is under way.", attr="payment")
    left = payment.amount_capturable
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise InvalidRequest(f"At most {Money(left, payment.currency)} can be captured.", attr="amount")
    features = payment_features(payment)
    features.check(GatewayOperation.CAPTURE.value)
    features.check_step(Money(wanted, payment.currency))
    several = GatewayOperation.MULTIPLE_CAPTURE in features.operations
    if wanted < left:
        features.check(GatewayOperation.PARTIAL_CAPTURE.value)
        if final is False:
            features.check(GatewayOperation.MULTIPLE_CAPTURE.value)
    ends = wanted == left or not several or bool(final)
    operation = new_operation(payment, OperationKind.CAPTURE, wanted, final=ends)
    operation.save(force_insert=True)
    write_entry(
        payment, actor=actor, reason="capture asked for", from_status=payment.status, operation=operation, amount=wanted
    )
    idempotency.attach("payment", payment.pk)
    now = clock.now()
    return enqueue(
        tenant_id=tenant.pk,
        kind="payment.capture",
        payload={"operation": operation.pk},
        reference=("payment", payment.pk),
        key=operation.pk,
        due_at=now + HEAD_START,
        not_after=now + timedelta(seconds=features.validity),
        config_id=payment.config_id,
        priority=1,
    )
