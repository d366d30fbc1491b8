"""What health, metrics and readiness tell of the installation: read from the database, the same in every process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min

from integrations.contracts import clock
from integrations.models import Config, Heartbeat, QueueItem, QueueState
from integrations.registry import providers

SUPERVISOR_ALIVE = timedelta(seconds=20)
COUNTED = (QueueState.PENDING, QueueState.PROCESSING, QueueState.FAILED, QueueState.UNKNOWN, QueueState.NEEDS_REVIEW)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Items by state over all tenants, and the age in seconds of the item that is overdue longest (0.0: none is)."""

    counts: dict[str, int]
    overdue_seconds: float


def queue_depth() -> QueueDepth:
    rows = QueueItem.unscoped.filter(state__in=COUNTED).order_by().values("state").annotate(number=Count("pk"))
    found = {row["state"]: row["number"] for row in rows}
    now = clock.now()
    pending = QueueItem.unscoped.filter(state=QueueState.PENDING, due_at__lte=now)
    oldest = pending.aggregate(oldest=Min("due_at"))["oldest"]
    age = (now - oldest).total_seconds() if oldest else 0.0
    return QueueDepth({state.value: found.get(state.value, 0) for state in COUNTED}, round(age, 1))


def worker_count() -> int:
    """Return how many worker processes the live supervisors of all machines report."""
    rows = Heartbeat.objects.filter(kind="supervisor", beat_at__gt=clock.now() - SUPERVISOR_ALIVE)
    return sum(len(row.detail.get("processes", {}).get("workers", [])) for row in rows)


def config_count() -> int:
    """Return how many provider accounts are set up, over all tenants."""
    return Config.unscoped.count()


def provider_count() -> int:
    return len(providers())


def database_answers() -> None:
    """Raise Django's database error where it does not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def migrations_missing() -> bool:
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
