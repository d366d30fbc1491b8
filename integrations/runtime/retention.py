"""Removes what is kept for a time only. Small batches, each its own transaction: nobody waits for a long lock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import QuerySet

from integrations.contracts import clock
from integrations.models import ApiKeyUsage, AuditEntry, CallLog, Heartbeat, IdempotencyRecord, RateBucket

logger = structlog.get_logger(__name__)

IDEMPOTENCY_KEPT = timedelta(hours=24)
HEARTBEAT_KEPT = timedelta(days=1)
BUCKET_KEPT = timedelta(days=7)
USAGE_KEPT = timedelta(days=400)
BATCH = 1000


def purge() -> dict[str, int]:
    """Delete call logs older than LOG_RETENTION_DAYS, audit entries older than AUDIT_RETENTION_DAYS, counts of API keys' use
    older than 400 days, idempotency records older than 24 hours, heartbeats older than a day and token buckets that nobody took
    from for a week (full again by then); return how many rows of each. Called daily by a schedule; several at once are
    harmless."""
    now = clock.now()
    counts = {
        "call_logs": delete_in_batches(CallLog.unscoped.filter(created__lt=now - timedelta(days=settings.LOG_RETENTION_DAYS))),
        "idempotency_records": delete_in_batches(IdempotencyRecord.unscoped.filter(created__lt=now - IDEMPOTENCY_KEPT)),
        "api_key_usage": delete_in_batches(ApiKeyUsage.unscoped.filter(day__lt=now.date() - USAGE_KEPT)),
        "audit_entries": delete_in_batches(
            AuditEntry.unscoped.filter(created__lt=now - timedelta(days=settings.AUDIT_RETENTION_DAYS))
        ),
        "heartbeats": delete_in_batches(Heartbeat.objects.filter(beat_at__lt=now - HEARTBEAT_KEPT)),
        "rate_buckets": delete_in_batches(RateBucket.objects.filter(updated_at__lt=now - BUCKET_KEPT)),
    }
    logger.info("purged", **counts)
    return counts


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Delete these rows, some at a time, each batch in a transaction of its own; return how many rows went."""
    total = 0
    while True:
        batch = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if not batch:
            return total
        total += rows.model._base_manager.filter(pk__in=batch).delete()[0]
