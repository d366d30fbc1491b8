"""Reading the inbox."""

from __future__ import annotations

from integrations.events import TimelineAsked, TimelineEntry
from webhooks.inbound.models import Receipt


def timeline_entries(question: TimelineAsked) -> list[TimelineEntry]:
    """Answer the timeline question with the requests that came to the object's own path, or were about it."""
    own_path = f"{question.object_type}:{question.object_id}"
    receipts = Receipt.objects.filter(tenant_id=question.tenant_id, token_object=own_path)
    return [
        TimelineEntry(
            at=receipt.received_at,
            kind="webhook",
            text=f"{receipt.provider} reported {receipt.provider_event_type or receipt.purpose}"
            + (f", {receipt.duplicates} more times" if receipt.duplicates else ""),
            status=receipt.status,
            object_type="receipt",
            object_id=str(receipt.pk),
        )
        for receipt in receipts
    ]
