"""Who reacts to what: every subscription of the hub, in one place.

Handlers run in the emitter's transaction, in the order written here; none of them may touch the network.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from integrations import events
from integrations.contracts import inbound


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def connect() -> None:
    """Connect all features. Safe to call again: a subscription made twice is one."""
    # TEMPORARY while features are being written side by side.
    for kind, module, name in [
        (inbound.PaymentReported, "payments.handlers", "on_payment_reported"),
        (inbound.MoneyReceived, "payments.handlers", "on_money_received"),
        (inbound.RefundReported, "payments.handlers", "on_refund_reported"),
        (inbound.ReceiptReported, "payments.handlers", "on_receipt_reported"),
        (inbound.MessageReported, "integrations.messaging.handlers", "on_message_reported"),
        (events.DomainEvent, "webhooks.outbound.services", "on_domain_event"),
        (events.DomainEvent, "integrations.messaging.handlers", "on_payment_completed"),
    ]:
        if _exists(module):
            events.subscribe(kind, getattr(import_module(module), name))
    if _exists("payments.handlers"):
        events.respond(inbound.ValidationAsked, import_module("payments.handlers").answer_validation)
    for module in [
        "payments.selectors",
        "integrations.messaging.selectors",
        "webhooks.inbound.selectors",
        "webhooks.outbound.selectors",
        "integrations.runtime.selectors",
    ]:
        if _exists(module):
            events.respond(events.TimelineAsked, import_module(module).timeline_entries)
