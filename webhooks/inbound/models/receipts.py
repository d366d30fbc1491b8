"""Stored inbound requests."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django_scopes import ScopedManager

from integrations.models import Config, Tenant


class ReceiptStatus(models.TextChoices):
    RECEIVED = "received", "Received"
    PROCESSED = "processed", "Processed"
    UNMATCHED = "unmatched", "Unmatched"
    FAILED = "failed", "Failed"
    IGNORED = "ignored", "Ignored (not asked for)"


class Receipt(models.Model):
    """One inbound request, stored raw before it is acknowledged. `tenant` is null where nobody could be found for it.

    Unique by what it says: a repetition counts up `duplicates` and has no second effect.
    """

    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+", db_index=False)
    provider = models.CharField(max_length=50)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    purpose = models.CharField(max_length=40)
    trust = models.CharField(max_length=10)
    token_object = models.CharField(max_length=80, blank=True)
    provider_event_type = models.CharField(max_length=80, blank=True)
    dedupe_key = models.CharField(max_length=200)
    method = models.CharField(max_length=10)
    query = models.JSONField(default=dict, blank=True)
    headers = models.JSONField(default=dict, blank=True)
    body = models.BinaryField()
    remote_ip = models.GenericIPAddressField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=ReceiptStatus.choices, default=ReceiptStatus.RECEIVED)
    detail = models.TextField(blank=True)
    duplicates = models.PositiveIntegerField(default=0)
    received_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True, help_text="When query, headers and body were erased on request.")

    objects = ScopedManager(tenant="tenant")
    unscoped: ClassVar[models.Manager[Receipt]] = models.Manager()

    class Meta:
        ordering = ["-id"]
        base_manager_name = "unscoped"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "provider", "dedupe_key"], name="receipt_once"),
            models.UniqueConstraint(
                fields=["provider", "dedupe_key"], condition=Q(tenant__isnull=True), name="receipt_once_without_tenant"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-received_at", "-id"], name="receipt_by_time"),
            models.Index(fields=["tenant", "token_object"], name="receipt_of_object"),
            models.Index(fields=["received_at"], name="receipt_received"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.provider_event_type or self.purpose} #{self.pk}"
