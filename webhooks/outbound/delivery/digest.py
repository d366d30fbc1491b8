"""Dead letters by mail: gathered for a while, then one mail to the tenant's admins, at most one a day."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count
from django.urls import reverse

from integrations.contracts import clock
from integrations.events import AdminNotice, emit
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import LocalJob
from integrations.runtime.queue import enqueue
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import DeadReason, Delivery, DeliveryState

KIND = "webhook.dead_letters"
REFERENCE = (KIND, "digest")
GATHERED = timedelta(minutes=15)
"""What dies together is told together: so long a mail waits for more of its kind."""
APART = timedelta(days=1)
OVERLAP = timedelta(minutes=1)
"""A delivery has died a little before anybody is told so; its transaction is over by then."""
LINES = 20


def plan(tenant_id: int) -> None:
    """Queue the mail about dead letters, in the caller's transaction: due soon, or a day after the last one.

    Each tells of a window of its own, which ends before it is due, by as long as a death may take to be committed; the next one
    begins there. So whatever runs at the same time, each death is told once.
    """
    told = QueueItem.unscoped.filter(tenant_id=tenant_id, kind=KIND, reference_type=REFERENCE[0], reference_id=REFERENCE[1])
    told = told.exclude(state__in=[QueueState.FAILED, QueueState.CANCELLED])
    last = told.filter(payload__has_key="until").order_by("-id").first()
    now = clock.now()
    due_at, since = now + GATHERED, now - OVERLAP
    if last is not None:
        told_until = datetime.fromisoformat(last.payload["until"])
        if now < told_until:
            return  # this one is among what it tells of
        due_at = max(due_at, told_until + OVERLAP + APART)
        since = max(now - APART, told_until)
    enqueue(
        tenant_id=tenant_id,
        kind=KIND,
        payload={"since": since.isoformat(), "until": (due_at - OVERLAP).isoformat()},
        reference=REFERENCE,
        # Whoever else plans what follows the same one means the same mail; that one itself may be open still.
        key=f"{REFERENCE[1]}:{last.pk if last is not None else 0}",
        due_at=due_at,
    )


class DigestJob(LocalJob):
    """Counts what died in the window that was planned, by endpoint, and tells the tenant's admins."""

    kind = KIND

    def run(self, item: QueueItem) -> None:
        since = datetime.fromisoformat(item.payload["since"])
        until = datetime.fromisoformat(item.payload.get("until", clock.now().isoformat()))
        dead = (
            Delivery.unscoped.filter(tenant_id=item.tenant_id, state=DeliveryState.FAILED)
            .filter(finished_at__gte=since, finished_at__lt=until)
            .exclude(dead_reason__in=[DeadReason.DISCARDED, DeadReason.DELETED])
            .exclude(event__type=TEST_EVENT)
        )
        by_endpoint = dead.order_by().values("endpoint_id", "endpoint__name").annotate(number=Count("pk")).order_by("-number")
        rows = list(by_endpoint[: LINES + 1])
        if not rows:
            return  # a person has sent them again meanwhile
        count = dead.count()
        lines = [f"- {row['endpoint__name'] or row['endpoint_id']}: {row['number']:,}" for row in rows[:LINES]]
        if len(rows) > LINES:
            lines.append("- and more endpoints")
        page = settings.PUBLIC_BASE_URL + reverse("admin:webhooks_outbound_delivery_changelist") + "?state__exact=failed"
        emit(
            AdminNotice(
                tenant_id=item.tenant_id,
                subject=f"{count:,} {'event was' if count == 1 else 'events were'} not delivered to your webhook endpoints",
                text=f"These will not be tried again by themselves. By endpoint:\n\n{chr(10).join(lines)}\n\n"
                f"Why, and to send them again: {page}\n",
                key=f"webhook-dead-letters:{item.pk}",
            )
        )
