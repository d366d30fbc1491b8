"""How receipts react to what is reported; subscribed in `integrations_site/wiring.py`. All run in the caller's transaction and
inside the tenant's scope."""

from __future__ import annotations

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.events import DomainEvent, MessageMoved
from payments.models import DeliveryState, Operation, Payment, ReceiptChannel, ReceiptDelivery
from payments.services.receipt import mail_receipt, mails_receipts

_STATES = {
    MessageState.QUEUED.value: DeliveryState.QUEUED,
    MessageState.SENT.value: DeliveryState.SENT,
    MessageState.DELIVERED.value: DeliveryState.SENT,
    MessageState.READ.value: DeliveryState.SENT,
    MessageState.FAILED.value: DeliveryState.FAILED,
    MessageState.BOUNCED.value: DeliveryState.FAILED,
    MessageState.COMPLAINED.value: DeliveryState.SENT,
    MessageState.CANCELLED.value: DeliveryState.FAILED,
    MessageState.EXPIRED.value: DeliveryState.FAILED,
    MessageState.UNKNOWN.value: DeliveryState.UNKNOWN,
}


def on_payment_event(event: DomainEvent) -> None:
    """Money arrived, or was given back: mail the payer a receipt that says so. Other events are none of our business."""
    if event.type not in ("payment.completed", "payment.refunded") or not mails_receipts():
        return
    payment = Payment.objects.get(pk=event.object_id)
    refund = Operation.objects.get(pk=event.object["refund"]) if event.type == "payment.refunded" else None
    mail_receipt(payment=payment, refund=refund)


def on_message_moved(event: MessageMoved) -> None:
    """A text went on its way: if it was a receipt that somebody had asked for, its delivery is as the text is."""
    if event.reference_type != "payment":
        return
    state = _STATES[event.state]
    waiting = ReceiptDelivery.objects.filter(
        tenant_id=event.tenant_id, payment_id=event.reference_id, channel=ReceiptChannel.SMS, message=event.message_id
    )
    waiting.update(state=state, detail=event.detail[:300], finished=None if state == DeliveryState.QUEUED else clock.now())
