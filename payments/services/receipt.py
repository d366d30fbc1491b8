"""Sending a payment's receipt: by itself once, and again when somebody asks."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest, NotConfigured
from integrations.contracts.ids import new_id
from integrations.events import ReceiptAsked, ReceiptTaken, ask
from integrations.runtime import idempotency, mailer
from integrations.runtime.alerts import raise_alert
from integrations.runtime.queue import enqueue
from payments.models import (
    DeliveryState,
    Operation,
    Payment,
    ReceiptChannel,
    ReceiptDelivery,
    ReceiptReason,
    Status,
)
from payments.selectors import public_form

MAX_ADDRESS = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets


class NoReceipt(Conflict):
    """No money has arrived, so that there is nothing to give a receipt for."""

    code = "no_receipt"


def has_receipt(payment: Payment) -> bool:
    """Tell whether the payment has a receipt that may be sent."""
    return payment.status == Status.SUCCEEDED and bool(payment.receipt_number)


def mails_receipts() -> bool:
    """Tell whether this installation mails receipts without being asked."""
    return bool(settings.RECEIPT_EMAILS) and mailer.is_set_up()


def issue_receipt(*, payment: Payment, channel: str, to: str = "", actor: str) -> ReceiptDelivery:
    """Send the payment's receipt by `email` or `sms`, again if need be, and return the delivery; the queue does the sending.

    Without `to` it goes to the payer's own address or number. Raises `NoReceipt` (a `Conflict`), `InvalidRequest` naming `to`
    or `channel`, and `NotConfigured` where no mail server is set up or no SMS account connected, with nothing changed.
    """
    if not has_receipt(payment):
        raise NoReceipt(f"A payment that is {payment.status} has no receipt.", attr="payment")
    with transaction.atomic():
        match channel:
            case ReceiptChannel.EMAIL:
                mailer.check_set_up()
                delivery = _mail(payment, _address(to or payer_address(payment)), ReceiptReason.REISSUED, actor=actor)
            case ReceiptChannel.SMS:
                delivery = _text(payment, to or payment.phone, actor=actor)
            case _:
                raise InvalidRequest("Must be email or sms.", attr="channel")
        idempotency.attach("receipt_delivery", delivery.pk)
    return delivery


def mail_receipt(*, payment: Payment, refund: Operation | None = None) -> ReceiptDelivery | None:
    """Queue the mail that a completed payment, or a succeeded `refund` of it, is due, once, in the caller's transaction.

    None where there is nothing to send: no address, no receipt, no mail server, switched off, or queued before. Never
    refuses the payment: an address that is none becomes an alert.
    """
    address = payer_address(payment)
    if not (address and mails_receipts() and has_receipt(payment)):
        return None
    try:
        address = _address(address)
    except InvalidRequest as error:
        raise_alert(
            tenant_id=payment.tenant_id,
            kind="receipt_not_sent",
            subject=payment.pk,
            message=f"The receipt could not be mailed: {error.message}",
        )
        return None
    reason = ReceiptReason.REFUNDED if refund is not None else ReceiptReason.COMPLETED
    try:
        with transaction.atomic():
            return _mail(payment, address, reason, actor="hub", refund=refund)
    except IntegrityError:
        if ReceiptDelivery.objects.filter(
            payment=payment, operation=refund, channel=ReceiptChannel.EMAIL, reason=reason
        ).exists():
            return None
        raise


def payer_address(payment: Payment) -> str:
    """Return the e-mail address that came with the payment, as it was given."""
    return str((payment.customer or {}).get("email") or "").strip()


def _mail(payment: Payment, to: str, reason: ReceiptReason, *, actor: str, refund: Operation | None = None) -> ReceiptDelivery:
    delivery = _new(payment, ReceiptChannel.EMAIL, to, reason, actor)
    delivery.operation = refund
    delivery.save(force_insert=True)
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.receipt_email",
        payload={"delivery": delivery.pk},
        reference=("payment", payment.pk),
        key=delivery.pk,
        priority=4,
    )
    return delivery


def _text(payment: Payment, to: str, *, actor: str) -> ReceiptDelivery:
    if not to:
        raise InvalidRequest("The payment names no phone number: say where to.", attr="to")
    delivery = _new(payment, ReceiptChannel.SMS, to, ReceiptReason.REISSUED, actor)
    try:
        taken: ReceiptTaken | None = ask(
            ReceiptAsked(
                tenant_id=payment.tenant_id,
                object=public_form(payment),
                object_id=payment.pk,
                to=to,
                key=delivery.pk,
                asked_by=actor,
                private={"phone": payment.phone, "payer_name": payment.payer_name},
            )
        )
    except NotConfigured as error:
        raise NotConfigured("No SMS account is connected.", attr="channel") from error
    if taken is None:
        raise NotConfigured("Nothing here sends SMS.", attr="channel")
    delivery.to, delivery.message = taken.to, taken.message_id
    if taken.refused:
        delivery.state, delivery.detail, delivery.finished = DeliveryState.FAILED, taken.refused[:300], clock.now()
    delivery.save(force_insert=True)
    return delivery


def _new(payment: Payment, channel: ReceiptChannel, to: str, reason: ReceiptReason, actor: str) -> ReceiptDelivery:
    return ReceiptDelivery(
        id=new_id("rd"),
        tenant_id=payment.tenant_id,
        payment=payment,
        channel=channel,
        reason=reason,
        to=to,
        actor=actor[:100],
        created=clock.now(),
    )


def _address(to: str) -> str:
    address = to.strip()
    if not address:
        raise InvalidRequest("The payment names no e-mail address: say where to.", attr="to")
    try:
        validate_email(address)
    except ValidationError as error:
        raise InvalidRequest("This is not an e-mail address.", attr="to") from error
    if len(address) > MAX_ADDRESS:
        raise InvalidRequest(f"The address has more than {MAX_ADDRESS} characters.", attr="to")
    return address
