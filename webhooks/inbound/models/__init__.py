"""The inbox: where requests come in, what came, and what was turned away."""

from webhooks.inbound.models.endpoints import DEFAULT_TOLERANCE, InboundEndpoint, Rejection, Scheme, SourceSecret
from webhooks.inbound.models.receipts import Receipt, ReceiptStatus

__all__ = [
    "DEFAULT_TOLERANCE",
    "InboundEndpoint",
    "Receipt",
    "ReceiptStatus",
    "Rejection",
    "Scheme",
    "SourceSecret",
]
