"""What may be done with payments. Keyword-only functions; none holds a transaction open across the network."""

from payments.services.allocate import allocate_payment
from payments.services.cancel import cancel_payment
from payments.services.capture import capture_payment
from payments.services.refund import refund_payment
from payments.services.review import resolve_payment
from payments.services.start import start_payment
from payments.services.sync import look_soon, sync_payment

__all__ = [
    "allocate_payment",
    "cancel_payment",
    "capture_payment",
    "look_soon",
    "refund_payment",
    "resolve_payment",
    "start_payment",
    "sync_payment",
]
