"""Money that came in without our asking, and what it is for."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.payment import IncomingPayment
from integrations.contracts.payment_features import MethodType
from integrations.models import Config
from integrations.runtime.alerts import raise_alert
from payments.ledger import move, write_entry
from payments.models import AllocationRule, Operation, OperationKind, OperationOrigin, OperationStatus, Origin, Payment, Status


def book_incoming(
    *,
    tenant_id: int,
    provider: str,
    config: Config | None,
    incoming: IncomingPayment,
    actor: str,
    reason: str,
    allocate: bool = True,
    confirmed: bool = True,
    method_type: str = MethodType.MOBILE_MONEY.value,
) -> Payment | None:
    """Record money that came in without our asking; None where its receipt is booked already.

    With `confirmed` it is `succeeded` at once, else `processing` until the provider has been asked.
    """
    now = clock.now()
    reference = find_reference(tenant_id=tenant_id, account_number=incoming.account_number) if allocate else None
    payment = Payment(
        tenant_id=tenant_id,
        config=config,
        provider=provider,
        origin=Origin.CUSTOMER,
        status=Status.PROCESSING,
        amount=incoming.money.minor_units,
        currency=incoming.money.currency,
        method_type=method_type,
        phone=incoming.payer if incoming.payer.startswith("+") else "",
        payer_name=incoming.payer_name[:200],
        account_number=incoming.account_number[:100],
        reference_type=reference[0] if reference else "",
        reference_id=reference[1] if reference else "",
        allocated=reference is not None,
        receipt=incoming.receipt,
        hook_token=new_token(),
        created=now,
        updated=now,
    )
    try:
        with transaction.atomic():
            payment.save(force_insert=True)
    except IntegrityError:
        if Payment.objects.filter(provider=provider, receipt=incoming.receipt).exists():
            return None
        raise
    operation_id = new_id("op")
    Operation(
        id=operation_id,
        tenant_id=tenant_id,
        payment=payment,
        config=config,
        provider=provider,
        origin=OperationOrigin.GATEWAY,
        kind=OperationKind.INCOMING,
        status=OperationStatus.PENDING,
        amount=payment.amount,
        idempotency_key=operation_id,
        hook_token=new_token(),
        receipt=incoming.receipt,
        created=now,
        updated=now,
    ).save(force_insert=True)
    write_entry(payment, actor=actor, reason=reason, from_status="", amount=payment.amount)
    if confirmed:
        move(payment, Status.SUCCEEDED, actor=actor, reason="money received")
    if confirmed and not payment.allocated:
        raise_alert(
            tenant_id=tenant_id,
            kind="payment_unallocated",
            subject=payment.pk,
            message=f"{incoming.money} came in for account {incoming.account_number!r}, which matches nothing.",
        )
    return payment


def find_reference(*, tenant_id: int, account_number: str) -> tuple[str, str] | None:
    """Return (type, id) that an account number stands for: an earlier payment's reference, else a rule's; None if neither."""
    if not account_number:
        return None
    earlier = Payment.objects.filter(tenant_id=tenant_id, account_number__iexact=account_number).exclude(reference_id="")
    found = earlier.order_by("-created").values_list("reference_type", "reference_id").first()
    if found:
        return found
    for rule in AllocationRule.objects.filter(tenant_id=tenant_id).order_by("position", "pk"):
        if rule.matches(account_number):
            return rule.reference_type, account_number
    return None
