"""Deliveries and attempts: what is owed to whom, and each try."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Func, Q, Value

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned
from webhooks.outbound.models.endpoints import Endpoint
from webhooks.outbound.models.events import Event

MAX_ATTEMPTS = 12
"""Automatic tries of one delivery: the first, and one after each delay of `schedule.DELAYS`."""

POSITION_SEQUENCE = "webhooks_outbound_delivery_position"

BARE: Any = {"db_index": False, "db_constraint": False}
"""For a foreign key whose index is the beginning of another one, and whose constraint a composite key implies."""


class DeliveryState(models.TextChoices):
    """`gathering` waits for its batch to fill; `batched` goes (or went) out within its `carrier`'s request."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    HELD = "held", "Held (endpoint is off)"
    GATHERING = "gathering", "Gathering"
    BATCHED = "batched", "In a batch"


class DeadReason(models.TextChoices):
    """Why a delivery failed for good."""

    EXHAUSTED = "exhausted", "All tries failed"
    TOO_OLD = "too_old", "Too old to be tried again"
    REJECTED = "rejected", "The endpoint refused it, and repeating does not help"
    GONE = "gone", "The endpoint is gone (410)"
    BLOCKED = "blocked", "The address may not be called"
    UNSENDABLE = "unsendable", "It can't be made: its key can't be opened, or its payload was erased"
    DELETED = "deleted", "The endpoint was deleted"
    DISCARDED = "discarded", "Discarded by a person"


class Delivery(TenantOwned):
    """One event owed to one endpoint.

    Claiming moves `due_at` to the end of the lease: a pending row that is due is free to take, whether it waits for its time
    or its worker died. Only who knows `fence` may settle it. `attempts` counts claims, `attempts_allowed` ends them, and
    `expires_at` ends automatic tries whatever the count.

    `position` counts deliveries up in the order of publishing. With an `order_key` a delivery waits until no earlier one of
    its endpoint with the same key is owed any more. `delivered_at` is when it first arrived: sending it again can't undo that.
    """

    id = PrefixedIdField(prefix="dlv")
    # A row is written three times at least, and each index and key costs each time. The database holds event and endpoint, and
    # by them the tenant, by the composite keys (tenant, id); what is looked up by them has an index below.
    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", **BARE)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries", **BARE)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="deliveries", **BARE)
    carrier = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="passengers", **BARE)
    position = models.BigIntegerField(
        editable=False, db_default=Func(Value(POSITION_SEQUENCE), function="nextval", output_field=models.BigIntegerField())
    )
    order_key = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    due_at = models.DateTimeField(default=clock.now)
    attempts = models.PositiveIntegerField(default=0)
    attempts_allowed = models.PositiveIntegerField(default=MAX_ATTEMPTS)
    expires_at = models.DateTimeField(null=True, blank=True)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    fence = models.PositiveIntegerField(default=0, editable=False)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    dead_reason = models.CharField(max_length=12, choices=DeadReason.choices, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "endpoint"], name="webhook_delivery_once")]
        indexes = [
            models.Index(fields=["endpoint", "due_at"], condition=Q(state="pending"), name="webhook_delivery_due"),
            models.Index(
                fields=["endpoint", "due_at"], condition=Q(state="pending", attempts=0), name="webhook_delivery_first_try"
            ),
            models.Index(
                fields=["endpoint", "order_key", "position"],
                condition=Q(state__in=["pending", "gathering", "held"]) & ~Q(order_key=""),
                name="webhook_delivery_in_order",
            ),
            models.Index(fields=["endpoint", "created"], condition=Q(state="gathering"), name="webhook_delivery_gathering"),
            models.Index(
                fields=["endpoint", "lease_until"], condition=Q(lease_until__isnull=False), name="webhook_delivery_in_flight"
            ),
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_of_endpoint"),
            models.Index(fields=["endpoint", "position"], name="webhook_delivery_position"),
            models.Index(fields=["tenant", "-created", "-id"], name="webhook_delivery_by_time"),
            # Dead letters are in the order of their ids, the list of all deliveries in the order of time.
            models.Index(fields=["tenant", "-id"], condition=Q(state="failed"), name="webhook_delivery_dead"),
            models.Index(
                fields=["tenant", "-created", "-id"], condition=Q(state="failed"), name="webhook_delivery_dead_by_time"
            ),
            models.Index(fields=["carrier"], condition=Q(carrier__isnull=False), name="webhook_delivery_carrier"),
        ]

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"

    def in_flight(self) -> bool:
        return self.lease_until is not None and self.lease_until > clock.now()


class DeliveryAttempt(TenantOwned):
    """One try. `error_class` is empty for a 2xx, else one of `sender.ErrorClass`; `response_head` is at most 2 kB, masked.

    `lag_ms` is how long it had been due when it began: throttles, breakers and a lack of workers show in it.
    """

    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", **BARE)
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="tries", **BARE)
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    lag_ms = models.PositiveIntegerField(null=True, blank=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    error_class = models.CharField(max_length=20, blank=True)
    error = models.TextField(blank=True)
    request_headers = models.JSONField(default=dict, blank=True)
    response_headers = models.JSONField(default=dict, blank=True)
    response_head = models.TextField(blank=True)
    address = models.CharField(max_length=60, blank=True, help_text="The address that was really dialled.")

    class Meta(TenantOwned.Meta):
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="webhook_attempt_once")]
        indexes = [models.Index(fields=["finished_at"], name="webhook_attempt_finished")]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.status_code or self.error_class}"
