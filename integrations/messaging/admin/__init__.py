"""Messaging's pages in the console, one module a subject. Django imports this package; it imports them all."""

from integrations.messaging.admin import inbound, messages, notices, push, rules, safety

__all__ = ["inbound", "messages", "notices", "push", "rules", "safety"]
