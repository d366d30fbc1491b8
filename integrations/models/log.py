"""The one log of every exchange with the outside, in and out."""

from __future__ import annotations

from django.db import models

from integrations.contracts import clock
from integrations.models.base import TenantOwned
from integrations.models.config import Config


class Direction(models.TextChoices):
    OUTBOUND = "outbound", "Outbound"
    INBOUND = "inbound", "Inbound"


class LogStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    SUCCESS = "success", "Success"
    FAILED = "failed", "Failed"
    TIMEOUT = "timeout", "Timeout"


class CallLog(TenantOwned):
    """One exchange, masked. Bodies are capped; what was cut is said at their end.

    `reference_*` is our object that the exchange was about, `external_reference` the provider's id of it.
    """

    # Each index costs with each call: the tenant's own would say nothing that does not begin another one.
    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    direction = models.CharField(max_length=10, choices=Direction.choices)
    provider = models.CharField(max_length=50)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    operation = models.CharField(max_length=60)
    status = models.CharField(max_length=10, choices=LogStatus.choices, default=LogStatus.PENDING)
    method = models.CharField(max_length=10, blank=True)
    url = models.TextField(blank=True)
    request_headers = models.JSONField(default=dict, blank=True)
    request_body = models.TextField(blank=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    response_headers = models.JSONField(default=dict, blank=True)
    response_body = models.TextField(blank=True)
    error = models.TextField(blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    reference_type = models.CharField(max_length=30, blank=True)
    reference_id = models.CharField(max_length=60, blank=True)
    external_reference = models.CharField(max_length=200, blank=True)
    request_id = models.CharField(max_length=64, blank=True, help_text="The id of the request or task that caused it.")
    ip = models.GenericIPAddressField(null=True, blank=True)
    item = models.ForeignKey("integrations.QueueItem", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created = models.DateTimeField(default=clock.now, editable=False)
    erased_at = models.DateTimeField(null=True, blank=True, help_text="When headers and bodies were erased on request.")

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["tenant", "-created", "-id"], name="log_by_time"),
            models.Index(fields=["tenant", "provider", "-created", "-id"], name="log_of_provider_by_time"),
            models.Index(
                fields=["tenant", "-created", "-id"],
                name="log_failed_by_time",
                condition=models.Q(status__in=["failed", "timeout"]),
            ),
            models.Index(
                fields=["tenant", "reference_id", "reference_type"],
                name="log_by_reference",
                condition=~models.Q(reference_id=""),
            ),
            models.Index(fields=["tenant", "request_id"], name="log_of_request", condition=~models.Q(request_id="")),
            models.Index(
                fields=["external_reference"], name="log_external_reference", condition=~models.Q(external_reference="")
            ),
            models.Index(fields=["created"], name="log_created"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.operation} {self.status}"


class LogRetention(TenantOwned):
    """How many days a tenant keeps what the core records; empty: the installation's setting. Failures may be kept longer."""

    call_log_days = models.PositiveIntegerField(null=True, blank=True)
    failed_call_log_days = models.PositiveIntegerField(null=True, blank=True)
    queue_days = models.PositiveIntegerField(null=True, blank=True)
    failed_queue_days = models.PositiveIntegerField(null=True, blank=True)
    receipt_days = models.PositiveIntegerField(null=True, blank=True)
    message_days = models.PositiveIntegerField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "log retention"
        constraints = [models.UniqueConstraint(fields=["tenant"], name="one_log_retention_per_tenant")]

    def __str__(self) -> str:
        return "log retention"
