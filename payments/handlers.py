"""What payments do when a gateway reports something. Each runs in the transaction of the inbound request's processing."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.contracts.failures import Failure
from integrations.contracts.inbound import (
    InboundEvent,
    MoneyReceived,
    PaymentReported,
    PaymentTouched,
    ReceiptReported,
    RefundReported,
    Trust,
    ValidationAnswer,
    ValidationAsked,
)
from integrations.contracts.payment import (
    ALREADY_REFUNDED,
    IncomingPayment,
    PaymentState,
    RefundResult,
    RefundState,
)
from integrations.events import Unmatched
from integrations.models import Config, ExternalReference
from integrations.runtime.jobs import RetryLater
from integrations.runtime.queue import enqueue
from payments.incoming import book_incoming, find_reference
from payments.models import Operation, OperationKind, OperationStatus, Origin, Payment, Status
from payments.outcomes import Report, apply_report
from payments.references import open_path
from payments.refunds import apply_refund, review_refund
from payments.schedule import schedule_poll, schedule_question
from payments.transitions import is_open

# How long money that came in by itself waits for an outstanding prompt of the same amount and account to be decided:
# a gateway that reports one payment both ways (M-Pesa, provider sheet section 9) must not make two of it.
MERGE_PATIENCE = timedelta(minutes=5)
MERGE_RETRY_SECONDS = 10.0
MERGE_WINDOW = timedelta(hours=24)


def _object_id(event: InboundEvent, token_object: str, object_type: str) -> str:
    """Return the id of the object whose own path was called, where it is of this type."""
    kind, _, object_id = token_object.partition(":")
    return object_id if kind == object_type else ""


def on_payment_reported(event: PaymentReported) -> None:
    """A payment that we asked for was decided. An unsigned word is only a reason to ask."""
    payment_id = _object_id(event, event.token_object, "payment") or _find(event, "payment", event.provider_ref)
    if not payment_id:
        raise Unmatched(f"no payment with {event.provider_ref!r}")
    if event.trust is Trust.HINT:
        _confirm(payment_id, event)
        return
    report = Report(
        state=event.state,
        actor=event.provider,
        reason=f"reported by the gateway ({event.provider_event_type or event.state.value})",
        provider_ref=event.provider_ref,
        receipt=event.receipt,
        money=event.money,
        failure=event.failure,
        payer=event.payer,
        references=event.references,
    )
    payment = apply_report(payment_id, report)
    schedule_poll(payment, 0)


def _find(event: InboundEvent, object_type: str, external_id: str) -> str:
    if not external_id:
        return ""
    found = ExternalReference.objects.filter(
        tenant_id=event.tenant_id, provider=event.provider, external_id=external_id, object_type=object_type
    ).exclude(kind="hook_token")
    return found.values_list("object_id", flat=True).first() or ""


def _confirm(payment_id: str, event: PaymentReported) -> None:
    payment = Payment.objects.get(pk=payment_id)
    if payment.status != Status.SUCCEEDED:
        schedule_question(payment, key=f"receipt:{event.receipt_id}")


def on_payment_touched(event: PaymentTouched) -> None:
    """Something happened at the gateway to a payment of ours: it is asked, and only its answer is booked.

    Each notice has a question of its own: one that is under way already may have been answered before this happened.
    """
    payment = _touched_payment(event)
    operation = payment.operations.filter(
        kind__in=[OperationKind.AUTHORIZE, OperationKind.INCOMING], provider=event.provider, config_id=event.config_id
    )
    asked = operation.order_by("-created").first() if event.config_id else None
    same_account = (event.provider, event.config_id) == (payment.provider, payment.config_id)
    if event.trust is Trust.SIGNED and event.provider_ref and same_account and not payment.provider_ref:
        payment.provider_ref = event.provider_ref  # sooner than the answer to our own request, or instead of it
        payment.updated = clock.now()
        payment.save()
    schedule_question(payment, key=f"receipt:{event.receipt_id}", operation=asked)


def _touched_payment(event: PaymentTouched) -> Payment:
    payment_id = _object_id(event, event.token_object, "payment")
    if not payment_id and event.payment_id and _find(event, "payment", event.payment_id) == event.payment_id:
        payment_id = event.payment_id
    for ref in (event.provider_ref, *event.refs):
        payment_id = payment_id or _find(event, "payment", ref) or _payment_of_refund(_find(event, "refund", ref))
    payment = Payment.objects.select_for_update().filter(pk=payment_id).first() if payment_id else None
    if payment is None:
        raise Unmatched(f"no payment with {event.payment_id or event.provider_ref or event.refs!r}")
    return payment


def _payment_of_refund(refund_id: str) -> str:
    return Operation.objects.filter(pk=refund_id).values_list("payment_id", flat=True).first() or "" if refund_id else ""


def on_money_received(event: MoneyReceived) -> None:
    """A customer paid by himself, or this is the second report of a payment that we asked for: booked once either way."""
    incoming = event.payment
    confirmed = event.trust is not Trust.HINT
    known = Payment.objects.filter(provider=event.provider, receipt=incoming.receipt).select_for_update().first()
    if known is not None:
        if confirmed and known.origin == Origin.CUSTOMER and known.status != Status.SUCCEEDED:
            _attach(known, incoming, event)  # an unsigned notice was faster, and nobody could vouch for it until now
        return
    if confirmed and _merge_with_request(event):
        return
    config = Config.objects.filter(pk=event.config_id).first() if event.config_id else None
    payment = book_incoming(
        tenant_id=event.tenant_id,
        provider=event.provider,
        config=config,
        incoming=incoming,
        actor=event.provider,
        reason="reported by the gateway" if confirmed else "told by an unsigned notice; the gateway is asked",
        confirmed=confirmed,
    )
    if payment is not None and not confirmed:
        _verify(payment)


def _merge_with_request(event: MoneyReceived) -> bool:
    """Return whether this money is that of a payment we asked for; raise `RetryLater` while that can't be told yet."""
    incoming = event.payment
    now = clock.now()
    candidates = Payment.objects.filter(
        provider=event.provider,
        config_id=event.config_id,
        amount=incoming.money.minor_units,
        currency=incoming.money.currency,
        account_number__iexact=incoming.account_number,
        receipt="",
        created__gt=now - MERGE_WINDOW,
    ).select_for_update()
    for payment in candidates.order_by("created"):
        if payment.status == Status.SUCCEEDED:  # learned by asking, so its receipt is still missing: this is it
            _attach(payment, incoming, event)
            return True
        if is_open(payment.status):
            if now < payment.created + MERGE_PATIENCE:
                raise RetryLater(MERGE_RETRY_SECONDS, f"waits for {payment.pk} to be decided")
            _attach(payment, incoming, event)
            return True
    return False


def _attach(payment: Payment, incoming: IncomingPayment, event: MoneyReceived) -> None:
    report = Report(
        state=PaymentState.SUCCEEDED,
        actor=event.provider,
        reason="money came in for this account and amount",
        receipt=incoming.receipt,
        money=incoming.money,
    )
    apply_report(payment.pk, report)


def _verify(payment: Payment) -> None:
    operation = payment.operations.get(kind=OperationKind.INCOMING)
    open_path(payment, token=operation.hook_token, object_type="receipt", object_id=payment.pk)
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.verify_incoming",
        payload={"payment": payment.pk, "hook_token": operation.hook_token},
        reference=("payment", payment.pk),
        key=payment.pk,
        config_id=payment.config_id,
        priority=3,
    )


def on_receipt_reported(event: ReceiptReported) -> None:
    """The gateway answered whether a receipt is real (for money told by a hint), or what became of a refund."""
    if event.trust is Trust.HINT:
        raise Unmatched("an unsigned answer to a question is not believed")
    refund_id = _object_id(event, event.token_object, "refund")
    if refund_id:
        _refund_answer(refund_id, event)
        return
    payment_id = _object_id(event, event.token_object, "receipt") or _object_id(event, event.token_object, "payment")
    payment = Payment.objects.select_for_update().filter(pk=payment_id).first()
    if payment is None or (payment.receipt and event.receipt and payment.receipt != event.receipt):
        raise Unmatched(f"no payment waits for an answer on receipt {event.receipt!r}")
    if event.confirmed is None:
        return  # no answer yet; a person is called when none comes
    failure = None if event.confirmed else Failure.of("receipt_not_confirmed", event.detail)
    state = PaymentState.SUCCEEDED if event.confirmed else PaymentState.FAILED
    reason = "receipt confirmed by the gateway" if event.confirmed else f"receipt not confirmed: {event.detail}"
    report = Report(state=state, actor=event.provider, reason=reason, receipt=event.receipt, money=event.money, failure=failure)
    apply_report(payment.pk, report)


def _refund_answer(refund_id: str, event: ReceiptReported) -> None:
    if event.confirmed:
        result = RefundResult(state=RefundState.SUCCEEDED, receipt=event.receipt)
        apply_refund(refund_id, result, actor=event.provider, reason="confirmed by the gateway")


def on_refund_reported(event: RefundReported) -> None:
    """A refund that we asked for was decided."""
    refund_id = _object_id(event, event.token_object, "refund") or _find(event, "refund", event.provider_ref)
    refund = Operation.objects.filter(pk=refund_id, kind=OperationKind.REFUND).first()
    if refund is None:
        raise Unmatched(f"no refund with {event.provider_ref!r}")
    if event.trust is not Trust.HINT and event.failure is not None and event.failure.code == ALREADY_REFUNDED:
        refund = Operation.objects.select_for_update().get(pk=refund.pk)
        if refund.status in (OperationStatus.PENDING, OperationStatus.UNKNOWN):
            review_refund(refund, event.failure.message)
        return
    if event.trust is Trust.HINT or event.state is RefundState.UNKNOWN:
        enqueue(
            tenant_id=event.tenant_id,
            kind="payment.refund_check",
            payload={"operation": refund.pk, "number": 0},
            reference=("refund", refund.pk),
            key=f"{refund.pk}:told",
            config_id=event.config_id,
        )
        return
    result = RefundResult(
        state=event.state,
        provider_ref=event.provider_ref,
        receipt=event.receipt,
        failure=event.failure,
        money=event.money,
    )
    apply_refund(refund.pk, result, actor=event.provider, reason="reported by the gateway")


def answer_validation(question: ValidationAsked) -> ValidationAnswer:
    """Say whether a customer's own payment is welcome. Where the config takes only known accounts (`c2b_accounts` is
    `known`), the account must be one that a payment was asked for with, or fit an allocation rule."""
    config = Config.objects.filter(pk=question.config_id).first() if question.config_id else None
    if config is None or not config.is_active:
        return ValidationAnswer(accepted=False, problem="destination")
    known = find_reference(tenant_id=question.tenant_id, account_number=question.payment.account_number)
    if config.values.get("c2b_accounts", "any") == "known" and known is None:
        return ValidationAnswer(accepted=False, problem="account")
    return ValidationAnswer(accepted=True)
