"""How long stored requests are kept."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet

from integrations.contracts import clock
from integrations.runtime.keeping import Kept, days_ago, kept_by
from integrations.runtime.retention import Chore, delete_in_batches, for_each_tenant, run
from webhooks.inbound.models import Receipt, ReceiptStatus, Rejection


def purge() -> dict[str, int]:
    """Delete requests older than each tenant keeps them, and strangers' after RECEIPT_RETENTION_DAYS; of those that could not
    be processed, not before a failed call would go; never one that still waits to be processed. Counts of refused requests go
    at RECEIPT_RETENTION_DAYS. Return how many of each. Called hourly by a schedule, and again while something is left
    (`runtime.retention.run`); several at once are harmless."""
    counted = (clock.now() - timedelta(days=settings.RECEIPT_RETENTION_DAYS)).date()
    chores: dict[str, Chore] = {
        "strangers": lambda span: delete_in_batches(_old(None, kept_by(None)), by="received_at", span=span),
        "receipts": lambda whole: for_each_tenant(
            lambda tenant_id, kept, span: delete_in_batches(_old(tenant_id, kept), by="received_at", span=span), whole
        ),
        "rejections": lambda span: delete_in_batches(Rejection.objects.filter(day__lt=counted), span=span),
    }
    counts = run("purged_receipts", chores, schedule="webhooks.inbound.retention.purge")
    return {"receipts": counts["strangers"] + counts["receipts"], "rejections": counts["rejections"]}


def _old(tenant_id: int | None, kept: Kept) -> QuerySet[Receipt]:
    whose = {"tenant__isnull": True} if tenant_id is None else {"tenant_id": tenant_id}
    rows = Receipt.unscoped.filter(**whose, received_at__lt=days_ago(kept.receipt_days)).exclude(status=ReceiptStatus.RECEIVED)
    longer = days_ago(max(kept.receipt_days, kept.failed_call_log_days))
    return rows.exclude(status=ReceiptStatus.FAILED, received_at__gte=longer)
