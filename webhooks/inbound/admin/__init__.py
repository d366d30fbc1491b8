"""The console's pages of what comes in."""

from webhooks.inbound.admin import endpoints, receipts, rejections

__all__ = ["endpoints", "receipts", "rejections"]
