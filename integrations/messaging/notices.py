"""Telling people by template that something happened, as the tenant's notification rules say."""

from __future__ import annotations

from integrations.events import DomainEvent


def notify(event: DomainEvent) -> None:
    """Queue the messages of the rules for this event, in the caller's transaction."""
