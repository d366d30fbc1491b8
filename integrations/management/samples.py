"""Sample log rows and queue items for the demo: clearly marked, real enough to search, open, cancel and retry."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.models import CallLog, Direction, LogStatus, QueueItem, QueueState, Tenant
from integrations.runtime import jobs

KIND = "sample"
PROVIDER = "sample"


class SampleJob(jobs.LocalJob):
    """What a sample item does when somebody retries it: it writes one log row that says so."""

    kind = KIND
    max_attempts = 3

    def run(self, item: QueueItem) -> None:
        CallLog.unscoped.create(
            tenant_id=item.tenant_id,
            direction=Direction.OUTBOUND,
            provider=PROVIDER,
            operation="sample.run",
            status=LogStatus.SUCCESS,
            request_body=f"Sample: queue item {item.pk} was run. Nothing was sent anywhere.",
            reference_type="queue_item",
            reference_id=str(item.pk),
            item_id=item.pk,
        )


def register() -> None:
    jobs.register(SampleJob())


def create(tenant: Tenant) -> None:
    """Give the tenant its samples, once."""
    if not CallLog.unscoped.filter(tenant=tenant, provider=PROVIDER).exists():
        _logs(tenant)
    if not QueueItem.unscoped.filter(tenant=tenant, kind=KIND).exists():
        _items(tenant)


def _logs(tenant: Tenant) -> None:
    samples = [
        (Direction.OUTBOUND, "sample.send", LogStatus.SUCCESS, 201, "", 84),
        (Direction.OUTBOUND, "sample.send", LogStatus.FAILED, 503, "Sample: the provider was unavailable.", 1210),
        (Direction.OUTBOUND, "sample.query", LogStatus.TIMEOUT, None, "Sample: no answer within 30 seconds.", 30000),
        (Direction.INBOUND, "sample.callback", LogStatus.SUCCESS, 200, "", 12),
    ]
    for number, (direction, operation, status, code, error, duration) in enumerate(samples, start=1):
        CallLog.unscoped.create(
            tenant=tenant,
            direction=direction,
            provider=PROVIDER,
            operation=operation,
            status=status,
            method="POST",
            url="https://sample.invalid/v1/messages",
            request_headers={"Content-Type": "application/json", "Authorization": "••••"},
            request_body='{"note": "This is a sample row made by seed_demo."}',
            status_code=code,
            response_body='{"sample": true}' if code else "",
            error=error,
            duration_ms=duration,
            reference_type="sample",
            reference_id=f"SAMPLE-{number:04d}",
            external_reference=f"sample-ext-{number:04d}",
        )


def _items(tenant: Tenant) -> None:
    now = clock.now()
    failure = {"at": now.isoformat(), "attempt": 3, "error": "ProviderUnavailable", "detail": "Sample: no connection."}
    common = {"tenant": tenant, "kind": KIND, "payload": {"note": "sample made by seed_demo"}, "max_attempts": 3}
    QueueItem.unscoped.create(**common, state=QueueState.COMPLETED, attempts=1, due_at=now, finished_at=now)
    QueueItem.unscoped.create(
        **common,
        state=QueueState.FAILED,
        attempts=3,
        due_at=now,
        finished_at=now,
        errors=[{**failure, "attempt": attempt} for attempt in (1, 2, 3)],
        last_error=failure["detail"],
    )
    # Far off, so that there is something to cancel.
    QueueItem.unscoped.create(**common, state=QueueState.PENDING, due_at=now + timedelta(days=30))
