"""What people write to the tenant: kept, and obeyed where it says "stop" or "start"."""

from __future__ import annotations

from integrations.contracts.inbound import MessageReceived


def receive(event: MessageReceived) -> None:
    """Keep the message, once, in the caller's transaction."""
