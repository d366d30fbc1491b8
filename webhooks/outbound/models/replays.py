"""Sending many events to an endpoint once more."""

from __future__ import annotations

from django.db import models

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned
from webhooks.outbound.models.endpoints import Endpoint


class ReplayMode(models.TextChoices):
    """`failed`: deliveries that failed. `missing`: events it wants and was never owed. `all`: both, and what was delivered."""

    FAILED = "failed", "Failed deliveries"
    MISSING = "missing", "Events never attempted"
    ALL = "all", "Everything, delivered or not"


class ReplayState(models.TextChoices):
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"


class Replay(TenantOwned):
    """An endpoint's events of a window, sent again in the background. `since` is included, `until` is not; both are times of
    publishing. `cursor` is the last event looked at, in the order of event ids: nothing is skipped or taken twice.

    `total` was counted when it began; `looked_at` events were walked and `queued` of them are sent.
    """

    id = PrefixedIdField(prefix="rpl")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="replays")
    mode = models.CharField(max_length=10, choices=ReplayMode.choices)
    types = models.JSONField(default=list, blank=True, help_text="Event types or wildcards; empty: all that it wants.")
    since = models.DateTimeField()
    until = models.DateTimeField()
    state = models.CharField(max_length=10, choices=ReplayState.choices, default=ReplayState.RUNNING)
    total = models.PositiveIntegerField(default=0)
    looked_at = models.PositiveIntegerField(default=0)
    queued = models.PositiveIntegerField(default=0)
    cursor = models.CharField(max_length=60, blank=True, editable=False)
    detail = models.CharField(max_length=200, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        indexes = [models.Index(fields=["endpoint", "-id"], name="webhook_replay_of_endpoint")]

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"
