"""What may be done with payments. Keyword-only functions; none holds a transaction open across the network."""

from payments.services.allocate import allocate_payment
from payments.services.cancel import cancel_payment
from payments.services.capture import capture_payment
from payments.services.receipt import has_receipt, issue_receipt
from payments.services.reconcile import resolve_line, start_reconciliation
from payments.services.refund import refund_payment
from payments.services.review import resolve_payment
from payments.services.start import start_payment
from payments.services.sync import look_soon, sync_payment

__all__ = [
    "allocate_payment",
    "cancel_payment",
    "capture_payment",
    "has_receipt",
    "issue_receipt",
    "look_soon",
    "refund_payment",
    "resolve_line",
    "resolve_payment",
    "start_payment",
    "start_reconciliation",
    "sync_payment",
]
