"""The ticks: django-q2 schedules that keep the long work going. Each of them may run twice or late without harm."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone
from django_q.models import Schedule


@dataclass(frozen=True, slots=True)
class Tick:
    """A function by its dotted path, every so many minutes."""

    name: str
    function: str
    minutes: int


# What is kept for a time only goes hour by hour: each run deletes for a bounded time, and the next one goes on.
TICKS = (
    Tick("hub: keep shifts running", "integrations.runtime.shifts.ensure_running", 1),
    Tick("hub: recover lapsed items", "integrations.runtime.worker.recover_lapsed", 1),
    Tick("hub: close ranks in lines", "integrations.runtime.rate_limit.closing.close_ranks", 1),
    Tick("hub: purge by retention", "integrations.runtime.retention.purge", 60),
    Tick("messaging: purge by retention", "integrations.messaging.safety.retention.purge", 60),
    Tick("webhooks: purge receipts", "webhooks.inbound.retention.purge", 60),
    Tick("webhooks: purge events", "webhooks.outbound.retention.purge", 24 * 60),
    Tick("webhooks: go on purging events", "webhooks.outbound.retention.go_on", 60),
    Tick("webhooks: alarm on dead letters", "webhooks.outbound.recovery.dead_letters.check_alarms", 60),
    Tick("webhooks: find events without deliveries", "webhooks.outbound.publishing.sweeping.tick", 1),
    Tick("messaging: ask for balances", "integrations.messaging.safety.balances.ask_all", 60),
    Tick("messaging: send recurring messages", "integrations.messaging.rules.recurring.enqueue_due", 1),
    # Hourly, since each tenant's day ends at another hour; whoever has had his run today is passed over.
    Tick("payments: reconcile yesterday", "payments.services.reconcile.reconcile_daily", 60),
)


def ensure() -> list[str]:
    """Create or correct the schedules of `TICKS`; return the names of those that were created. The next run of one that
    stands right already is left alone."""
    created = []
    for tick in TICKS:
        wanted = {"func": tick.function, "schedule_type": Schedule.MINUTES, "minutes": tick.minutes, "repeats": -1}
        row = Schedule.objects.filter(name=tick.name).order_by("pk").first()
        if row is None:
            first = timezone.now() + timedelta(minutes=min(tick.minutes, 5))
            Schedule.objects.create(name=tick.name, next_run=first, **wanted)
            created.append(tick.name)
        elif any(getattr(row, field) != value for field, value in wanted.items()):
            Schedule.objects.filter(pk=row.pk).update(**wanted)
        # Two processes that migrate at once may both have created one.
        if row is not None:
            Schedule.objects.filter(name=tick.name, pk__gt=row.pk).delete()
    return created
