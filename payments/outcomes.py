"""What a gateway says of a payment, applied: whether it came as an answer, by callback or because we asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.contracts.payment import Failure, IncomingPayment, MethodType, PaymentResult, PaymentState
from integrations.models import Alert, Config
from integrations.runtime.alerts import raise_alert
from integrations.runtime.queue import enqueue
from payments.gateway import gateway_class
from payments.ledger import move, write_entry
from payments.models import AllocationRule, Operation, OperationKind, OperationStatus, Origin, Payment, Status
from payments.references import note_references
from payments.transitions import is_open


@dataclass(frozen=True, slots=True)
class Report:
    """A gateway's word on a payment, and how we came by it."""

    state: PaymentState
    actor: str
    reason: str
    provider_ref: str = ""
    receipt: str = ""
    money: Money | None = None
    failure: Failure | None = None
    payer: str = ""
    references: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_result(cls, result: PaymentResult, *, actor: str, reason: str) -> Report:
        return cls(
            state=result.state,
            actor=actor,
            reason=reason,
            provider_ref=result.provider_ref,
            receipt=result.receipt,
            money=result.money,
            failure=result.failure,
            references=result.references,
        )


_TARGETS = {
    PaymentState.REQUIRES_ACTION: Status.REQUIRES_ACTION,
    PaymentState.PROCESSING: Status.PROCESSING,
    PaymentState.AUTHORIZED: Status.AUTHORIZED,
    PaymentState.SUCCEEDED: Status.SUCCEEDED,
    PaymentState.FAILED: Status.FAILED,
    PaymentState.CANCELLED: Status.CANCELLED,
    PaymentState.EXPIRED: Status.EXPIRED,
    PaymentState.UNKNOWN: Status.UNKNOWN,
}


def apply_report(payment_id: str, report: Report) -> Payment:
    """Apply a believed report to the payment, in the caller's transaction. Harmless to repeat, in any order.

    Success with another amount or currency than asked for is `conflicted`, never paid. A second success with another
    receipt is other money: it is booked as a payment of its own, for a person to look at.
    """
    payment = Payment.objects.select_for_update().get(pk=payment_id)
    if report.provider_ref and payment.provider_ref and report.provider_ref != payment.provider_ref:
        _alert_foreign(payment, report)
        return payment
    _note_references(payment, report)
    if report.state is PaymentState.SUCCEEDED:
        _succeed(payment, report)
        return payment
    target = _TARGETS[report.state]
    if payment.status == target or not move(payment, target, actor=report.actor, reason=report.reason, failure=report.failure):
        payment.updated = clock.now()
        payment.save()
    return payment


def _succeed(payment: Payment, report: Report) -> None:
    asked = Money(payment.amount, payment.currency)
    if report.money is not None:
        payment.reported_amount, payment.reported_currency = report.money.minor_units, report.money.currency
    if _booked_elsewhere(payment, report):
        return
    if payment.status == Status.SUCCEEDED:
        _second_success(payment, report, asked)
        return
    if report.receipt and not payment.receipt:
        payment.receipt = report.receipt
    if report.money is not None and report.money != asked:
        reason = f"The gateway took {report.money}, asked was {asked}"
        if payment.status != Status.CONFLICTED and not move(payment, Status.CONFLICTED, actor=report.actor, reason=reason):
            payment.save()
        return
    if payment.status == Status.CONFLICTED:
        payment.save()  # a person has to settle it: two reports contradict each other
        return
    move(payment, Status.SUCCEEDED, actor=report.actor, reason=report.reason)


def _booked_elsewhere(payment: Payment, report: Report) -> bool:
    """Return whether the receipt is another payment's already: the same money must not be booked twice; a person decides."""
    if not report.receipt or payment.receipt:
        return False
    other = Payment.objects.filter(provider=payment.provider, receipt=report.receipt).exclude(pk=payment.pk).first()
    if other is None:
        return False
    reason = f"Receipt {report.receipt} is booked already, as {other.pk}"
    if payment.status == Status.CONFLICTED or not move(payment, Status.CONFLICTED, actor=report.actor, reason=reason):
        payment.save()
        raise_alert(
            tenant_id=payment.tenant_id,
            kind="payment_report_mismatch",
            subject=payment.pk,
            message=reason,
            level=Alert.Level.CRITICAL.value,
        )
    return True


def _second_success(payment: Payment, report: Report, asked: Money) -> None:
    if report.receipt and not payment.receipt:
        payment.receipt = report.receipt
        payment.updated = clock.now()
        payment.save()
        main = payment.operations.filter(kind=OperationKind.AUTHORIZE).first()
        if main is not None:
            Operation.objects.filter(pk=main.pk).update(receipt=report.receipt, updated=clock.now())
        write_entry(payment, actor=report.actor, reason=f"receipt {report.receipt} learned", from_status=payment.status)
    elif report.receipt and report.receipt != payment.receipt:
        book_incoming(
            tenant_id=payment.tenant_id,
            provider=payment.provider,
            config=payment.config,
            incoming=IncomingPayment(
                receipt=report.receipt,
                money=report.money or asked,
                account_number=payment.account_number,
                destination="",
                payer=report.payer or payment.phone,
                payer_name=payment.payer_name,
            ),
            actor=report.actor,
            reason=f"second success reported for {payment.pk}",
            allocate=False,
        )


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
        method_type=MethodType.MOBILE_MONEY.value,
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


def _note_references(payment: Payment, report: Report) -> None:
    if report.provider_ref and not payment.provider_ref:
        payment.provider_ref = report.provider_ref
    if report.payer.startswith("+") and not payment.phone:
        payment.phone = report.payer
    note_references(payment, report.references, object_type="payment", object_id=payment.pk)


def _alert_foreign(payment: Payment, report: Report) -> None:
    """The payment's own path was called for another request at the gateway: nothing we asked for. Booked nowhere."""
    raise_alert(
        tenant_id=payment.tenant_id,
        kind="payment_report_mismatch",
        subject=payment.pk,
        message=f"A report for {report.provider_ref} came in for {payment.pk}, which is {payment.provider_ref}.",
        level=Alert.Level.CRITICAL.value,
    )


def schedule_poll(payment: Payment, number: int) -> None:
    """Queue the next question to the gateway about an open payment, in the caller's transaction.

    A payment that the gateway never gave us an id for can't be asked about: it only gets a date on which a person must
    look, should no callback have come by then.
    """
    if not is_open(payment.status):
        return
    features = gateway_class(payment.provider).features
    if payment.provider_ref:
        steps = features.polls
        step = steps[number] if number < len(steps) else steps[-1] + (number - len(steps) + 1) * max(1, steps[-1])
        kind, due = "payment.poll", payment.created + timedelta(seconds=step)
    else:
        kind, due = "payment.give_up", payment.created + timedelta(seconds=features.unknown_after)
    enqueue(
        tenant_id=payment.tenant_id,
        kind=kind,
        payload={"payment": payment.pk, "number": number},
        reference=("payment", payment.pk),
        key=f"{payment.pk}:{number}",
        due_at=max(due, clock.now()),
        config_id=payment.config_id,
        priority=4,
    )
