"""What a gateway has of a payment (captures, refunds, disputes), held against our operations, whoever made them.

All of it runs in the caller's transaction with the payment's row locked, and is harmless to repeat, in any order: an
operation goes from pending to succeeded to failed and never back.
"""

from __future__ import annotations

from django.db import transaction
from django.db.utils import IntegrityError

from integrations.contracts import clock
from integrations.contracts.ids import new_id, new_token
from integrations.contracts.money import Money
from integrations.contracts.payment import CaptureFact, DisputeFact, DisputeState, RefundFact, RefundResult, RefundState
from integrations.models import Alert
from integrations.runtime.alerts import raise_alert, resolve_alert
from payments.gateway import main_operation
from payments.ledger import derive_totals, failure_form, publish, write_entry
from payments.models import Dispute, Operation, OperationKind, OperationOrigin, OperationStatus, Payment
from payments.references import note_references
from payments.refunds import apply_refund

_OPEN_OPERATION = (OperationStatus.PENDING, OperationStatus.UNKNOWN, OperationStatus.NEEDS_REVIEW)
_CLOSED_DISPUTE = frozenset({DisputeState.WON.value, DisputeState.LOST.value, DisputeState.CLOSED.value})
_ORDER = [state.value for state in DisputeState]


def alert_mismatch(payment: Payment, message: str) -> None:
    """Call a person: what the gateway says does not go together with what we asked for."""
    raise_alert(
        tenant_id=payment.tenant_id,
        kind="payment_report_mismatch",
        subject=payment.pk,
        message=message,
        level=Alert.Level.CRITICAL.value,
    )


def apply_captures(payment: Payment, facts: tuple[CaptureFact, ...], *, actor: str) -> list[CaptureFact]:
    """Book the captures of a payment; return those that are other money than was asked for.

    A payment that takes at once has one: it is the request itself. A held one has an operation for each, ours or one that was
    made in the gateway's own dashboard.
    """
    if payment.capture == "automatic":
        return _captured_at_once(payment, facts)
    for fact in facts:
        operation = _match(payment, OperationKind.CAPTURE, fact.provider_ref, fact.operation_id)
        if operation is None:
            operation = _seen_capture(payment, fact, actor)
        if operation is not None:
            settle_capture(payment, operation, fact, actor=actor)
    return []


def _captured_at_once(payment: Payment, facts: tuple[CaptureFact, ...]) -> list[CaptureFact]:
    taken = [fact for fact in facts if fact.state is RefundState.SUCCEEDED]
    main = main_operation(payment)
    if main is None or not taken:
        return []
    known = next((fact for fact in taken if fact.provider_ref == main.provider_ref), taken[0])
    if main.status == OperationStatus.SUCCEEDED:
        main.provider_ref, main.receipt = known.provider_ref, known.receipt or main.receipt
        _note_fee(main, known.fee)
        main.save()
    note_references(payment, [("capture", fact.provider_ref) for fact in taken], object_type="payment", object_id=payment.pk)
    return [fact for fact in taken if fact is not known]


def settle_capture(payment: Payment, operation: Operation, fact: CaptureFact, *, actor: str) -> None:
    """Apply what the gateway says of one capture; the caller derives the payment's status afterwards."""
    if operation.status == OperationStatus.FAILED and fact.state is not RefundState.SUCCEEDED:
        return
    if operation.status == OperationStatus.SUCCEEDED:
        _note_fee(operation, fact.fee)
        operation.save()
        _captured_further(payment, operation, fact, actor)
        return
    if fact.state is RefundState.SUCCEEDED and fact.money.minor_units != operation.amount:
        _took_another_amount(payment, operation, fact)
    operation.provider_ref = operation.provider_ref or fact.provider_ref
    operation.receipt = fact.receipt or operation.receipt
    operation.failure = failure_form(fact.failure)
    operation.updated = clock.now()
    before = operation.status
    operation.status = {
        RefundState.SUCCEEDED: OperationStatus.SUCCEEDED,
        RefundState.FAILED: OperationStatus.FAILED,
        RefundState.PROCESSING: OperationStatus.PENDING,
        RefundState.UNKNOWN: OperationStatus.UNKNOWN,
    }[fact.state]
    _note_fee(operation, fact.fee)
    operation.save()
    note_references(payment, [("capture", operation.provider_ref)], object_type="payment", object_id=payment.pk)
    if before == operation.status:
        return
    derive_totals(payment)
    write_entry(
        payment,
        actor=actor,
        reason=f"capture {operation.status}" + (f": {fact.failure.message}" if fact.failure else ""),
        from_status=payment.status,
        operation=operation,
        amount=operation.amount,
        provider_ref=operation.provider_ref,
    )
    if operation.status == OperationStatus.SUCCEEDED:
        publish(payment, "payment.captured", key=operation.pk, extra={"capture_id": operation.pk})


def _took_another_amount(payment: Payment, operation: Operation, fact: CaptureFact) -> None:
    others = payment.amount_captured + payment.amount_voided
    fits = fact.money.currency == payment.currency and 0 < fact.money.minor_units <= payment.amount_authorized - others
    asked = Money(operation.amount, payment.currency)
    alert_mismatch(payment, f"The gateway took {fact.money} where {asked} was to be captured.")
    payment.reported_amount, payment.reported_currency = fact.money.minor_units, fact.money.currency
    if fits:
        operation.amount = fact.money.minor_units  # the gateway's word is what the payer has paid


def _seen_capture(payment: Payment, fact: CaptureFact, actor: str) -> Operation | None:
    if fact.state is not RefundState.SUCCEEDED:
        return None
    if fact.money.currency != payment.currency or fact.money.minor_units > payment.amount_capturable:
        alert_mismatch(payment, f"The gateway reports a capture of {fact.money} that the hold does not cover.")
        return None
    return _seen(payment, OperationKind.CAPTURE, fact.money.minor_units, fact.provider_ref, "captured at the gateway")


def _captured_further(payment: Payment, operation: Operation, fact: CaptureFact, actor: str) -> None:
    """Book what a gateway whose captures have no ids of their own shows as one capture that has grown: more was taken there."""
    if fact.state is not RefundState.SUCCEEDED or fact.money == Money(operation.amount, payment.currency):
        return
    same = payment.operations.filter(kind=OperationKind.CAPTURE, status=OperationStatus.SUCCEEDED)
    pieces = same.filter(pk=operation.pk) | same.filter(provider_ref__startswith=f"{fact.provider_ref}:further:")
    known = sum(pieces.values_list("amount", flat=True))
    further = fact.money.minor_units - known
    if further == 0 and fact.money.currency == payment.currency:
        return
    derive_totals(payment)
    fits = fact.money.currency == payment.currency and 0 < further <= payment.amount_capturable
    if operation.origin != OperationOrigin.GATEWAY or not fits:
        alert_mismatch(payment, f"The gateway reports a capture of {fact.money} that was {Money(known, payment.currency)}.")
        return
    ref = f"{fact.provider_ref}:further:{fact.money.minor_units}"
    piece = _seen(payment, OperationKind.CAPTURE, further, ref, "captured at the gateway")
    own = CaptureFact(ref, Money(further, payment.currency), fact.state, receipt=fact.receipt)
    settle_capture(payment, piece, own, actor=actor)


def release(payment: Payment, *, actor: str, reason: str) -> None:
    """Book that what was held and not taken is released, if anything is left; by our own void where one is under way."""
    derive_totals(payment)
    left = payment.amount_capturable
    ours = payment.operations.filter(kind=OperationKind.VOID, status__in=_OPEN_OPERATION).order_by("created").first()
    if left <= 0:
        return
    if ours is None:
        ours = _seen(payment, OperationKind.VOID, left, "", reason)
    ours.amount, ours.status, ours.updated = left, OperationStatus.SUCCEEDED, clock.now()
    ours.save()
    derive_totals(payment)
    write_entry(payment, actor=actor, reason=reason, from_status=payment.status, operation=ours, amount=left)


def apply_refunds(payment: Payment, facts: tuple[RefundFact, ...], *, actor: str) -> None:
    """Book the refunds of a payment, ours and those made in the gateway's own dashboard.

    What is known comes first: one of ours that has failed makes room for another.
    """
    for fact in sorted(
        facts, key=lambda each: _match(payment, OperationKind.REFUND, each.provider_ref, each.operation_id) is None
    ):
        refund = _match(payment, OperationKind.REFUND, fact.provider_ref, fact.operation_id)
        if refund is None and fact.money is None:
            waiting = payment.operations.filter(kind=OperationKind.REFUND, status__in=_OPEN_OPERATION, provider_ref="")
            refund = waiting.order_by("created").first()
        if refund is None:
            refund = _seen_refund(payment, fact)
        if refund is None:
            continue
        if fact.money is not None and (fact.money.minor_units, fact.money.currency) != (refund.amount, payment.currency):
            alert_mismatch(
                payment, f"The gateway refunded {fact.money} where {Money(refund.amount, payment.currency)} was asked."
            )
            continue
        result = RefundResult(state=fact.state, provider_ref=fact.provider_ref, receipt=fact.receipt, failure=fact.failure)
        why = "seen at the gateway" if refund.origin == OperationOrigin.GATEWAY else "reported by the gateway"
        apply_refund(refund.pk, result, actor=actor, reason=why)
    payment.refresh_from_db()


def _seen_refund(payment: Payment, fact: RefundFact) -> Operation | None:
    if fact.state is RefundState.FAILED:
        return None
    derive_totals(payment)
    spoken_for = sum(
        payment.operations.filter(kind=OperationKind.REFUND)
        .exclude(status=OperationStatus.FAILED)
        .values_list("amount", flat=True)
    )
    left = payment.amount_captured - spoken_for
    wanted = left if fact.money is None else fact.money.minor_units
    if fact.money is None and left <= 0:
        return None
    if wanted > left or (fact.money is not None and fact.money.currency != payment.currency):
        alert_mismatch(payment, f"The gateway reports a refund of {fact.money} that exceeds what is left of the payment.")
        return None
    return _seen(payment, OperationKind.REFUND, wanted, fact.provider_ref, fact.reason or "refunded at the gateway")


def apply_disputes(payment: Payment, facts: tuple[DisputeFact, ...], *, actor: str) -> None:
    """Book the disputes of a payment. A state never goes back, except that a bank may reopen what was won."""
    for fact in facts:
        _apply_dispute(payment, fact, actor)


def _apply_dispute(payment: Payment, fact: DisputeFact, actor: str) -> None:
    now = clock.now()
    dispute = Dispute.objects.filter(provider=payment.provider, provider_ref=fact.provider_ref).first()
    if dispute is not None and dispute.payment_id != payment.pk:
        alert_mismatch(payment, f"Dispute {fact.provider_ref} belongs to {dispute.payment_id}.")
        return
    is_new = dispute is None
    if dispute is None:
        dispute = Dispute(
            tenant_id=payment.tenant_id, payment=payment, provider=payment.provider, provider_ref=fact.provider_ref, created=now
        )
    before = "" if is_new else (dispute.status, dispute.withdrawn, dispute.amount)
    older = not is_new and _ORDER.index(fact.state.value) < _ORDER.index(dispute.status)
    if older and dispute.status != DisputeState.WON.value:
        return
    dispute.status, dispute.withdrawn, dispute.reason = fact.state.value, fact.withdrawn, fact.reason[:100]
    dispute.amount, dispute.currency = fact.money.minor_units, fact.money.currency
    dispute.respond_by, dispute.updated = fact.respond_by or dispute.respond_by, now
    if before == (dispute.status, dispute.withdrawn, dispute.amount):
        return
    dispute.save(force_insert=is_new)
    note_references(payment, [("dispute", fact.provider_ref)], object_type="payment", object_id=payment.pk)
    derive_totals(payment)
    payment.updated = now
    payment.save()
    write_entry(
        payment,
        actor=actor,
        reason=f"dispute {dispute.get_status_display().lower()}" + (f" ({fact.reason})" if fact.reason else ""),
        from_status=payment.status,
        amount=dispute.amount,
        provider_ref=fact.provider_ref,
    )
    _tell_dispute(payment, dispute, is_new)


def _tell_dispute(payment: Payment, dispute: Dispute, is_new: bool) -> None:
    closed = dispute.status in _CLOSED_DISPUTE
    if is_new:
        publish(payment, "payment.dispute_opened", key=dispute.pk, extra={"dispute": dispute.pk})
    if closed:
        publish(payment, "payment.dispute_closed", key=f"{dispute.pk}:{dispute.status}", extra={"dispute": dispute.pk})
        resolve_alert(tenant_id=payment.tenant_id, kind="payment_disputed", subject=dispute.pk)
    else:
        until = f" Answer at the gateway by {dispute.respond_by:%Y-%m-%d %H:%M} UTC." if dispute.respond_by else ""
        raise_alert(
            tenant_id=payment.tenant_id,
            kind="payment_disputed",
            subject=dispute.pk,
            message=f"The payer disputes {payment.pk} ({Money(dispute.amount, dispute.currency)}).{until}",
            level=Alert.Level.CRITICAL.value,
        )


def _match(payment: Payment, kind: OperationKind, provider_ref: str, operation_id: str) -> Operation | None:
    mine = payment.operations.filter(kind=kind)
    found = mine.filter(provider_ref=provider_ref).first() if provider_ref else None
    return found or (mine.filter(pk=operation_id).first() if operation_id else None)


def _seen(payment: Payment, kind: OperationKind, amount: int, provider_ref: str, reason: str) -> Operation:
    """Write down an operation that was not ours; one that another process wrote down meanwhile is returned instead."""
    now = clock.now()
    operation_id = new_id("re" if kind == OperationKind.REFUND else "op")
    operation = Operation(
        id=operation_id,
        tenant_id=payment.tenant_id,
        payment=payment,
        config_id=payment.config_id,
        provider=payment.provider,
        kind=kind,
        origin=OperationOrigin.GATEWAY,
        amount=amount,
        idempotency_key=operation_id,
        hook_token=new_token(),
        provider_ref=provider_ref,
        reason=reason[:200],
        created=now,
        updated=now,
    )
    try:
        with transaction.atomic():
            operation.save(force_insert=True)
    except IntegrityError:
        found = _match(payment, kind, provider_ref, "")
        if found is None:
            raise
        return found
    return operation


def _note_fee(operation: Operation, fee: Money | None) -> None:
    if fee is not None:
        operation.fee_amount, operation.fee_currency = fee.minor_units, fee.currency
