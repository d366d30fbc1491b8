"""Work to be done and what came of it: the queue row is the truth, django-q2 only runs it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from integrations.contracts import clock
from integrations.models.base import TenantOwned
from integrations.models.config import Config


class QueueState(models.TextChoices):
    PENDING = "pending", "Pending"
    PROCESSING = "processing", "Processing"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    UNKNOWN = "unknown", "Unknown (being reconciled)"
    NEEDS_REVIEW = "needs_review", "Needs review"


OPEN_STATES = (QueueState.PENDING, QueueState.PROCESSING)


class QueueItem(TenantOwned):
    """One unit of work. `kind` names the job (`payment.authorize`); `payload` holds ids only, never a secret.

    While `processing`, only who knows `lease` may settle it, and only until `lease_until`; `fence` counts the claims.
    `attempts` counts tries that reached the provider or failed; `errors` is the history, newest last.
    """

    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=50)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    payload = models.JSONField(default=dict, blank=True)
    reference_type = models.CharField(max_length=30, blank=True)
    reference_id = models.CharField(max_length=60, blank=True)
    key = models.CharField(max_length=150, blank=True, help_text="At most one open item of a kind and key.")
    priority = models.SmallIntegerField(default=5, help_text="1 first, 9 last.")
    state = models.CharField(max_length=15, choices=QueueState.choices, default=QueueState.PENDING)
    due_at = models.DateTimeField(default=timezone.now)
    not_after = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveIntegerField(default=8)
    crashes = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="Workers that died over it in a row.")
    fence = models.PositiveIntegerField(default=0)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)
    errors = models.JSONField(default=list, blank=True)
    last_error = models.TextField(blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "kind", "key"],
                condition=Q(state__in=["pending", "processing"]) & ~Q(key=""),
                name="one_open_item_per_key",
            )
        ]
        indexes = [
            models.Index(fields=["priority", "due_at"], condition=Q(state="pending"), name="queue_due"),
            models.Index(fields=["tenant", "priority", "due_at"], condition=Q(state="pending"), name="queue_due_of_tenant"),
            models.Index(fields=["lease_until"], condition=Q(state="processing"), name="queue_leases"),
            models.Index(
                fields=["tenant", "finished_at"],
                condition=Q(state__in=["completed", "cancelled", "failed"]),
                name="queue_ended",
            ),
            # What ends well never enters the second one: it costs the many nothing, and finds the few.
            models.Index(fields=["tenant", "-created", "-id"], name="queue_by_time"),
            models.Index(
                fields=["tenant", "state", "-created", "-id"],
                condition=Q(state__in=["failed", "cancelled", "unknown", "needs_review"]),
                name="queue_troubled_by_time",
            ),
            models.Index(
                fields=["tenant", "reference_id", "reference_type"],
                condition=~Q(reference_id=""),
                name="queue_by_reference",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk} ({self.state})"


class AttemptState(models.TextChoices):
    SENDING = "sending", "Sending"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"


class Attempt(TenantOwned):
    """One try of an item's effect at a provider. Committed as `sending` before the first byte leaves the house.

    An item whose lease lapses over a `sending` attempt may have had its effect: it is reconciled, never run again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    item = models.ForeignKey(QueueItem, on_delete=models.CASCADE, related_name="tries")
    fence = models.PositiveIntegerField()
    operation = models.CharField(max_length=60)
    state = models.CharField(max_length=10, choices=AttemptState.choices, default=AttemptState.SENDING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    error_class = models.CharField(max_length=50, blank=True)
    detail = models.TextField(blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["started_at"]
        constraints = [models.UniqueConstraint(fields=["item", "fence"], name="one_attempt_per_claim")]

    def __str__(self) -> str:
        return f"{self.operation} {self.state}"
