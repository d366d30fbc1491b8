"""Events, and the types that tenants define for their own."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned


class Event(TenantOwned):
    """A fact, published once for each (tenant, type, key). `payload` is the very text that is sent, byte for byte, on each try.

    Its id is the `webhook-id` of all its deliveries. `spread_at` is when its deliveries were made: in the publisher's own
    transaction, or soon after by a worker where many endpoints want it. An erased event has no payload any more.
    """

    id = PrefixedIdField(prefix="evt")
    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    type = models.CharField(max_length=100)
    type_version = models.PositiveSmallIntegerField(default=1)
    key = models.CharField(max_length=200)
    channels = models.JSONField(default=list, blank=True)
    payload = models.TextField()
    object_type = models.CharField(max_length=40, blank=True)
    object_id = models.CharField(max_length=100, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)
    spread_at = models.DateTimeField(null=True, blank=True, editable=False)
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "type", "key"], name="webhook_event_once")]
        indexes = [
            models.Index(fields=["tenant", "object_id", "object_type"], name="webhook_event_by_object"),
            models.Index(fields=["tenant", "-id"], name="webhook_event_of_tenant"),
            models.Index(fields=["created"], condition=Q(spread_at__isnull=True), name="webhook_event_unspread"),
            models.Index(fields=["tenant", "-created", "-id"], name="webhook_event_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class EventTypeDefinition(TenantOwned):
    """A type of event that the tenant itself publishes. `schema` is a JSON Schema of `data.object`; `version` counts up each
    time it changes. Deprecated types can still be published; archived ones can't."""

    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True)
    schema = models.JSONField(null=True, blank=True)
    example = models.JSONField(null=True, blank=True)
    version = models.PositiveSmallIntegerField(default=1, editable=False)
    deprecated = models.BooleanField(default=False)
    deprecation_note = models.CharField(max_length=300, blank=True, help_text="What to use instead, and until when.")
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        verbose_name = "event type"
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="webhook_event_type_once")]

    def __str__(self) -> str:
        return self.name
