"""Who reacts to what: every subscription of the hub, in one place.

Handlers run in the emitter's transaction, in the order written here; none of them may touch the network.
"""

from __future__ import annotations

from integrations.contracts.inbound import (
    MessageReceived,
    MessageReported,
    MoneyReceived,
    PaymentReported,
    PaymentTouched,
    ReceiptReported,
    RefundReported,
    SetupTouched,
    ValidationAsked,
)
from integrations.events import (
    AdminNotice,
    DomainEvent,
    EventTypesAsked,
    ExchangeErased,
    FactErased,
    MessageMoved,
    OwnEventAsked,
    PayloadErased,
    ReceiptAsked,
    ReportErased,
    StillOpenAsked,
    TimelineAsked,
    respond,
    subscribe,
)


def connect() -> None:
    """Connect all features. Called once the apps are loaded; safe to call again: a subscription made twice is one."""
    from integrations.messaging import handlers as messaging
    from integrations.messaging import selectors as messages
    from integrations.runtime import selectors as calls
    from payments import handlers as payments
    from payments import receipt_handlers as payment_receipts
    from payments import selectors as ledger
    from payments import setup_handlers as setups
    from payments import still_open
    from webhooks.inbound import erasing as stored_requests
    from webhooks.inbound import selectors as receipts
    from webhooks.outbound import selectors as deliveries
    from webhooks.outbound.publishing import erasing
    from webhooks.outbound.publishing import own as own_events
    from webhooks.outbound.publishing import publish as outbound

    # What providers report.
    subscribe(PaymentReported, payments.on_payment_reported)
    subscribe(PaymentTouched, payments.on_payment_touched)
    subscribe(SetupTouched, setups.on_setup_touched)
    subscribe(MoneyReceived, payments.on_money_received)
    subscribe(RefundReported, payments.on_refund_reported)
    subscribe(ReceiptReported, payments.on_receipt_reported)
    subscribe(MessageReported, messaging.on_message_reported)
    subscribe(MessageReceived, messaging.on_message_received)
    respond(ValidationAsked, payments.answer_validation)

    # What features say happened: to the tenant's own systems, and to the payer.
    subscribe(DomainEvent, outbound.on_domain_event)
    subscribe(DomainEvent, messaging.on_payment_completed)
    subscribe(DomainEvent, messaging.on_domain_event)
    subscribe(DomainEvent, payment_receipts.on_payment_event)

    # Receipts by SMS: asked for by payments, sent by messaging, followed by payments.
    respond(ReceiptAsked, messaging.answer_receipt)
    subscribe(MessageMoved, payment_receipts.on_message_moved)

    # What the hub must tell a tenant's admins by mail.
    subscribe(AdminNotice, messaging.on_admin_notice)

    # A message whose first way failed goes on by another.
    subscribe(MessageMoved, messaging.on_message_moved)

    # What is erased at a person's request is erased wherever it is kept.
    subscribe(ExchangeErased, stored_requests.on_exchange_erased)
    subscribe(ReportErased, messaging.on_report_erased)
    subscribe(FactErased, erasing.on_fact_erased)
    subscribe(PayloadErased, messaging.on_payload_erased)

    # What may happen at all: told by the catalogue, asked for by notification rules.
    respond(EventTypesAsked, deliveries.known_event_types)
    respond(OwnEventAsked, own_events.answer_own_event)

    # Work done for what still goes on is kept.
    respond(StillOpenAsked, still_open.still_open)

    # What each knows of an object.
    respond(TimelineAsked, ledger.timeline_entries)
    respond(TimelineAsked, calls.timeline_entries)
    respond(TimelineAsked, receipts.timeline_entries)
    respond(TimelineAsked, messages.timeline_entries)
    respond(TimelineAsked, deliveries.timeline_entries)
