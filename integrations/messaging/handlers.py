"""How messaging reacts to what others report; subscribed in `integrations_site/wiring.py`. All run in the caller's transaction
and inside the tenant's scope."""

from __future__ import annotations

from integrations.contracts.inbound import MessageReceived, MessageReported
from integrations.events import AdminNotice, DomainEvent, MessageMoved, PayloadErased, ReceiptAsked, ReceiptTaken, ReportErased
from integrations.messaging import inbound, reports
from integrations.messaging.fallback import fallback
from integrations.messaging.rules import admin_notices, notices, receipts


def on_message_reported(event: MessageReported) -> None:
    """A provider's delivery report: see `reports.receive`."""
    reports.receive(event)


def on_message_received(event: MessageReceived) -> None:
    """Somebody wrote to the tenant: see `inbound.receive`."""
    inbound.receive(event)


def on_report_erased(event: ReportErased) -> None:
    """A stored request was erased: where somebody's message came with it, see `inbound.erase`."""
    if isinstance(event.fact, MessageReceived):
        inbound.erase(event.fact)


def on_payload_erased(event: PayloadErased) -> None:
    """An event's payload was erased: see `notices.erase`."""
    notices.erase(event)


def on_message_moved(event: MessageMoved) -> None:
    """A recipient's state moved: where it failed, another way may be left; see `fallback.moved`."""
    fallback.moved(event)


def on_domain_event(event: DomainEvent) -> None:
    """Something happened to one of the tenant's objects: tell whom the tenant's rules name; see `notices.notify`."""
    notices.notify(event)


def on_admin_notice(notice: AdminNotice) -> None:
    """The hub has something to tell the tenant's admins: see `admin_notices.take`."""
    admin_notices.take(notice)


def on_payment_completed(event: DomainEvent) -> None:
    """Money arrived: send the payer a receipt. Other events are none of our business."""
    if event.type == "payment.completed":
        receipts.send_receipt(event)


def answer_receipt(question: ReceiptAsked) -> ReceiptTaken:
    """Somebody wants a payment's receipt sent again: see `receipts.resend_receipt`."""
    return receipts.resend_receipt(question)
