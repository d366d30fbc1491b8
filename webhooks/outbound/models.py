"""Event, endpoint, delivery, attempt: what happened, who wants to know, what is owed to whom, and each try."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned
from integrations.secrets import SecretUnreadable, masked, open_sealed, seal

MAX_ATTEMPTS = 12
"""Automatic tries of one delivery: the first, and one after each delay of `schedule.DELAYS`."""


class Endpoint(TenantOwned):
    """A URL of the tenant's that wants events. `events` lists types, `payment.*` or `*`.

    Secrets and header values are sealed; deleting is soft, so that its deliveries stay readable. `disabled_reason` says why
    the hub itself switched it off; it is empty when a person did.
    """

    id = PrefixedIdField(prefix="we")
    name = models.CharField(max_length=100, blank=True)
    url = models.CharField(max_length=2000)
    events = models.JSONField(default=list)
    sealed_headers = models.TextField(blank=True, editable=False)
    sealed_secrets = models.TextField(editable=False)
    is_active = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["tenant", "id"], condition=Q(deleted_at__isnull=True), name="webhook_endpoint_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.name or self.pk  # not the URL: it may hold a token

    def secrets(self) -> list[str]:
        """Return the signing secrets in use, newest first; each signs every attempt. Raises `SecretUnreadable`."""
        opened: list[str] = open_sealed(self.tenant_id, self.sealed_secrets)
        return opened

    def set_secrets(self, secrets: list[str]) -> None:
        self.sealed_secrets = seal(self.tenant_id, secrets)

    def headers(self) -> dict[str, str]:
        """Return the tenant's own headers in clear. Raises `SecretUnreadable`."""
        opened: dict[str, str] = open_sealed(self.tenant_id, self.sealed_headers) if self.sealed_headers else {}
        return opened

    def masked_headers(self) -> dict[str, str] | None:
        """Return the headers with what may be shown of their values; None where they can't be opened."""
        try:
            return {name: masked(value) for name, value in self.headers().items()}
        except SecretUnreadable:
            return None

    def set_headers(self, headers: dict[str, str]) -> None:
        self.sealed_headers = seal(self.tenant_id, headers) if headers else ""


class Event(TenantOwned):
    """A fact, published once for each (tenant, type, key). `payload` is the very text that is sent, byte for byte, on each try.

    Its id is the `webhook-id` of all its deliveries.
    """

    id = PrefixedIdField(prefix="evt")
    type = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    payload = models.TextField()
    object_type = models.CharField(max_length=40, blank=True)
    object_id = models.CharField(max_length=100, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "type", "key"], name="webhook_event_once")]
        indexes = [models.Index(fields=["tenant", "object_type", "object_id"], name="webhook_event_of_object")]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class DeliveryState(models.TextChoices):
    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    HELD = "held", "Held (endpoint is off)"


class Delivery(TenantOwned):
    """One event owed to one endpoint.

    Claiming moves `due_at` to the end of the lease: a pending row that is due is free to take, whether it waits for its time
    or its worker died. Only who knows `fence` may settle it. `attempts` counts claims, `attempts_allowed` ends them.
    """

    id = PrefixedIdField(prefix="dlv")
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    due_at = models.DateTimeField(default=clock.now)
    attempts = models.PositiveIntegerField(default=0)
    attempts_allowed = models.PositiveIntegerField(default=MAX_ATTEMPTS)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    fence = models.PositiveIntegerField(default=0, editable=False)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "endpoint"], name="webhook_delivery_once")]
        indexes = [
            models.Index(fields=["endpoint", "due_at"], condition=Q(state="pending"), name="webhook_delivery_due"),
            models.Index(
                fields=["endpoint", "lease_until"], condition=Q(lease_until__isnull=False), name="webhook_delivery_in_flight"
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_of_endpoint"),
        ]

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"

    def in_flight(self) -> bool:
        return self.lease_until is not None and self.lease_until > clock.now()


class DeliveryAttempt(TenantOwned):
    """One try. `error_class` is empty for a 2xx, else one of `sender.ErrorClass`; `response_head` is at most 2 kB, masked."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="tries")
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    error_class = models.CharField(max_length=20, blank=True)
    error = models.TextField(blank=True)
    response_head = models.TextField(blank=True)
    address = models.CharField(max_length=60, blank=True, help_text="The address that was really dialled.")

    class Meta(TenantOwned.Meta):
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="webhook_attempt_once")]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.status_code or self.error_class}"


def subscribes(patterns: list[Any], event_type: str) -> bool:
    """Tell whether a list of types and wildcards takes in `event_type`; `payment.*` takes in `payment.refund.failed` too."""
    return any(
        pattern == "*" or pattern == event_type or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
        for pattern in patterns
        if isinstance(pattern, str)
    )
