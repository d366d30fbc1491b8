"""How long stored requests are kept."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings

from integrations.contracts import clock
from integrations.runtime.retention import delete_in_batches
from webhooks.inbound.models import Receipt, ReceiptStatus, Rejection

logger = structlog.get_logger(__name__)


def purge() -> dict[str, int]:
    """Delete requests older than RECEIPT_RETENTION_DAYS, those of strangers included; never one that still waits to be
    processed. Counts of refused requests go at the same age. Return how many of each.
    Called daily by a schedule; several at once are harmless."""
    before = clock.now() - timedelta(days=settings.RECEIPT_RETENTION_DAYS)
    rows = Receipt.unscoped.filter(received_at__lt=before).exclude(status=ReceiptStatus.RECEIVED)
    refused = Rejection.objects.filter(day__lt=before.date())
    counts = {"receipts": delete_in_batches(rows), "rejections": delete_in_batches(refused)}
    logger.info("purged_receipts", **counts)
    return counts
