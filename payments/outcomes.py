"""What a gateway says of a payment, applied: whether it came as an answer, by callback or because we asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from integrations.contracts import clock
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureFact,
    DisputeFact,
    IncomingPayment,
    PaymentResult,
    PaymentState,
    RefundFact,
)
from payments.facts import alert_mismatch, apply_captures, apply_disputes, apply_refunds, release
from payments.gateway import main_operation
from payments.incoming import book_incoming
from payments.ledger import move, settle_held, write_entry
from payments.models import Operation, OperationStatus, Payment, Status
from payments.references import note_references
from payments.schedule import schedule_completion, schedule_expiry
from payments.transitions import is_held, is_open, was_called_off


@dataclass(frozen=True, slots=True)
class Report:
    """A gateway's word on a payment, and how we came by it. Fields as in `PaymentResult`."""

    state: PaymentState
    actor: str
    reason: str
    provider_ref: str = ""
    receipt: str = ""
    money: Money | None = None
    failure: Failure | None = None
    payer: str = ""
    references: tuple[tuple[str, str], ...] = ()
    next_action: Mapping[str, Any] | None = None
    hold_ref: str = ""
    captures: tuple[CaptureFact, ...] | None = None
    refunds: tuple[RefundFact, ...] | None = None
    disputes: tuple[DisputeFact, ...] | None = None
    capturable: Money | None = None
    expires_at: datetime | None = None
    fee: Money | None = None
    method_name: str = ""
    method_detail: str = ""

    @classmethod
    def of_result(cls, result: PaymentResult, *, actor: str, reason: str) -> Report:
        same = {name: getattr(result, name) for name in cls.__slots__ if name not in ("actor", "reason")}
        return cls(actor=actor, reason=reason, **same)


_TARGETS = {
    PaymentState.REQUIRES_ACTION: Status.REQUIRES_ACTION,
    PaymentState.PROCESSING: Status.PROCESSING,
    PaymentState.APPROVED: Status.PROCESSING,
    PaymentState.FAILED: Status.FAILED,
    PaymentState.CANCELLED: Status.CANCELLED,
    PaymentState.EXPIRED: Status.EXPIRED,
    PaymentState.UNKNOWN: Status.UNKNOWN,
}
_MONEY = (PaymentState.AUTHORIZED, PaymentState.SUCCEEDED)


def apply_report(payment_id: str, report: Report) -> Payment:
    """Apply a believed report to the payment, in the caller's transaction. Harmless to repeat, in any order.

    Money with another amount or currency than asked for is `conflicted`, never paid. A second success with another receipt
    is other money: it is booked as a payment of its own, for a person to look at.
    """
    payment = Payment.objects.select_for_update().get(pk=payment_id)
    if report.provider_ref and payment.provider_ref and report.provider_ref != payment.provider_ref:
        alert_mismatch(
            payment, f"A report for {report.provider_ref} came in for {payment.pk}, which is {payment.provider_ref}."
        )
        return payment
    if report.state is PaymentState.ABSENT:
        return payment
    _note(payment, report)
    if report.state in _MONEY:
        _apply_money(payment, report)
    elif is_held(payment.status) and report.state in (PaymentState.CANCELLED, PaymentState.EXPIRED):
        _released(payment, report)
    else:
        _apply_state(payment, report)
    return payment


def _apply_state(payment: Payment, report: Report) -> None:
    target = _TARGETS[report.state]
    before = payment.status
    if report.next_action and is_open(payment.status):
        payment.next_action = dict(report.next_action)
    if payment.status == target or not move(payment, target, actor=report.actor, reason=report.reason, failure=report.failure):
        payment.updated = clock.now()
        payment.save()
    if report.state is PaymentState.APPROVED and is_open(payment.status) and not was_called_off(before):
        schedule_completion(payment)


def _apply_money(payment: Payment, report: Report) -> None:
    asked = Money(payment.amount, payment.currency)
    if report.money is not None:
        payment.reported_amount, payment.reported_currency = report.money.minor_units, report.money.currency
    if _booked_elsewhere(payment, report):
        return
    decided = payment.status == Status.SUCCEEDED or is_held(payment.status)
    if not decided and report.money is not None and report.money != asked:
        payment.receipt = payment.receipt or report.receipt
        reason = f"The gateway took {report.money}, asked was {asked}"
        if payment.status != Status.CONFLICTED and not move(payment, Status.CONFLICTED, actor=report.actor, reason=reason):
            payment.save()
        return
    if payment.status == Status.CONFLICTED:
        payment.save()  # a person has to settle it: two reports contradict each other
        return
    same_money = not (report.receipt and payment.receipt) or report.receipt == payment.receipt
    if decided and same_money and report.money is not None and report.money != asked:
        alert_mismatch(payment, f"The gateway names {report.money} for a payment of {asked} that is booked already.")
    if payment.status == Status.SUCCEEDED and report.state is PaymentState.SUCCEEDED and report.captures is None:
        _second_success(payment, report, asked)
    payment.receipt = payment.receipt or report.receipt
    if not decided:
        _first_money(payment, report)
    else:
        payment.updated = clock.now()
        payment.save()
    _apply_facts(payment, report)


def _first_money(payment: Payment, report: Report) -> None:
    if report.state is PaymentState.AUTHORIZED and payment.capture == "automatic":
        payment.capture = "manual"  # it only held what it was to take: the rest of the story is that of a hold
    if payment.capture == "automatic":
        move(payment, Status.SUCCEEDED, actor=report.actor, reason=report.reason)
        return
    if move(payment, Status.AUTHORIZED, actor=report.actor, reason=report.reason):
        schedule_expiry(payment)


def _apply_facts(payment: Payment, report: Report) -> None:
    if report.captures is not None:
        for other in apply_captures(payment, report.captures, actor=report.actor):
            _book_other_money(payment, other, report)
    if payment.capture == "manual":
        if report.capturable is not None and report.capturable.minor_units == 0 and report.captures:
            payment.save()
            release(payment, actor=report.actor, reason="the rest of the hold was released")
        settle_held(payment, actor=report.actor, reason=report.reason)
    if report.refunds:
        apply_refunds(payment, report.refunds, actor=report.actor)
    if report.disputes:
        apply_disputes(payment, report.disputes, actor=report.actor)


def _released(payment: Payment, report: Report) -> None:
    """The hold ended. Captures that we did not know of are taken in first: only the rest can have been released."""
    if report.captures is not None:
        apply_captures(payment, report.captures, actor=report.actor)
    lapsed = report.state is PaymentState.EXPIRED
    release(payment, actor=report.actor, reason="the hold lapsed" if lapsed else "the hold was released")
    settle_held(payment, actor=report.actor, reason=report.reason, lapsed=lapsed)
    if report.refunds:
        apply_refunds(payment, report.refunds, actor=report.actor)


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
        alert_mismatch(payment, reason)
    return True


def _second_success(payment: Payment, report: Report, asked: Money) -> None:
    if report.receipt and not payment.receipt:
        payment.receipt = report.receipt
        payment.updated = clock.now()
        payment.save()
        main = main_operation(payment)
        if main is not None:
            Operation.objects.filter(pk=main.pk).update(receipt=report.receipt, updated=clock.now())
        write_entry(payment, actor=report.actor, reason=f"receipt {report.receipt} learned", from_status=payment.status)
    elif report.receipt and report.receipt != payment.receipt:
        _book_other(payment, report.receipt, report.money or asked, report.payer, report.actor)


def _book_other_money(payment: Payment, fact: CaptureFact, report: Report) -> None:
    """The payer paid the same request twice (a page that was open in two windows): nobody asked for the second."""
    _book_other(payment, fact.receipt or fact.provider_ref, fact.money, report.payer, report.actor)


def _book_other(payment: Payment, receipt: str, money: Money, payer: str, actor: str) -> None:
    book_incoming(
        tenant_id=payment.tenant_id,
        provider=payment.provider,
        config=payment.config,
        incoming=IncomingPayment(
            receipt=receipt,
            money=money,
            account_number=payment.account_number,
            destination="",
            payer=payer or payment.phone,
            payer_name=payment.payer_name,
        ),
        actor=actor,
        reason=f"second success reported for {payment.pk}",
        allocate=False,
        method_type=payment.method_type,
    )


def book_stray_money(payment: Payment, operation: Operation, result: PaymentResult) -> None:
    """A gateway that we had left for another took the money after all: it is the payer's, booked apart for a person."""
    if operation.status != OperationStatus.FAILED or result.state not in _MONEY:
        return
    alert_mismatch(
        payment, f"{operation.provider} took the money for {payment.pk} although {payment.provider} was asked instead."
    )
    book_incoming(
        tenant_id=payment.tenant_id,
        provider=operation.provider,
        config=operation.config,
        incoming=IncomingPayment(
            receipt=result.receipt or result.provider_ref or operation.provider_ref,
            money=result.money or Money(payment.amount, payment.currency),
            account_number=payment.account_number,
            destination="",
            payer=result.payer or payment.phone,
            payer_name=payment.payer_name,
        ),
        actor=operation.provider,
        reason=f"late success of an earlier try of {payment.pk}",
        allocate=False,
        method_type=payment.method_type,
    )


def _note(payment: Payment, report: Report) -> None:
    if report.provider_ref and not payment.provider_ref:
        payment.provider_ref = report.provider_ref
        note_references(payment, [("provider_ref", report.provider_ref)], object_type="payment", object_id=payment.pk)
    if report.hold_ref and report.hold_ref != payment.hold_ref:
        payment.hold_ref = report.hold_ref
        note_references(payment, [("hold", report.hold_ref)], object_type="payment", object_id=payment.pk)
    if report.payer.startswith("+") and not payment.phone:
        payment.phone = report.payer
    if report.expires_at is not None:
        payment.expires_at = report.expires_at
    if report.fee is not None:
        payment.fee_amount, payment.fee_currency = report.fee.minor_units, report.fee.currency
    payment.method_name = report.method_name[:60] or payment.method_name
    payment.method_detail = report.method_detail[:100] or payment.method_detail
    note_references(payment, report.references, object_type="payment", object_id=payment.pk)
