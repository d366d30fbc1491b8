"""Stored payers: the setup that asks for one, and the method that comes of it."""

from __future__ import annotations

from django.db import models

from integrations.contracts.ids import new_token
from integrations.models import Config
from integrations.models.base import PrefixedIdField, TenantOwned


class SetupStatus(models.TextChoices):
    REQUIRES_ACTION = "requires_action", "Requires action"
    PROCESSING = "processing", "Processing"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    EXPIRED = "expired", "Expired"
    UNKNOWN = "unknown", "Unknown"


class PayerMethod(TenantOwned):
    """A card or payer that the gateway keeps for later. The hub holds the gateway's token (sealed), never a card number."""

    sealed_fields = ("sealed_token",)

    id = PrefixedIdField(prefix="pm")
    config = models.ForeignKey(Config, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=50)
    customer_id = models.CharField(max_length=100, blank=True, help_text="The caller's own id of the customer.")
    customer_ref = models.CharField(max_length=200, blank=True, help_text="The gateway's id of the customer.")
    method_type = models.CharField(max_length=20)
    brand = models.CharField(max_length=40, blank=True)
    last4 = models.CharField(max_length=4, blank=True)
    expires = models.CharField(max_length=7, blank=True, help_text="MM/YYYY")
    payer = models.CharField(max_length=200, blank=True)
    sealed_token = models.TextField(editable=False)
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField()
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-created"]
        indexes = [models.Index(fields=["tenant", "customer_id"], name="payer_method_of_customer")]

    def __str__(self) -> str:
        return f"{self.brand or self.method_type} {self.last4}".strip()


class SetupIntent(TenantOwned):
    """The wish to store a payer's card or account, until the gateway has it."""

    id = PrefixedIdField(prefix="seti")
    config = models.ForeignKey(Config, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=50)
    status = models.CharField(max_length=20, choices=SetupStatus.choices, default=SetupStatus.PROCESSING)
    method_type = models.CharField(max_length=20)
    payer_method = models.ForeignKey(PayerMethod, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    customer = models.JSONField(default=dict, blank=True)
    customer_ref = models.CharField(max_length=200, blank=True)
    provider_ref = models.CharField(max_length=200, blank=True)
    next_action = models.JSONField(null=True, blank=True)
    failure = models.JSONField(null=True, blank=True)
    return_url = models.URLField(blank=True, max_length=500)
    metadata = models.JSONField(default=dict, blank=True)
    page_token = models.CharField(max_length=64, unique=True, editable=False, default=new_token)
    not_after = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField()
    updated = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["-created"]
        indexes = [models.Index(fields=["tenant", "provider", "provider_ref"], name="setup_provider_ref")]

    def __str__(self) -> str:
        return self.pk
