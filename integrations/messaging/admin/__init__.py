"""Messaging's pages in the console, one module a subject. Django imports this package; it imports them all."""

from integrations.messaging.admin import messages, safety

__all__ = ["messages", "safety"]
