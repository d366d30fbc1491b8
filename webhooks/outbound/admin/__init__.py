"""The console's pages of outbound webhooks."""

from webhooks.outbound.admin import endpoints

__all__ = ["endpoints"]
