"""Payment: what was asked for, or money a customer sent by himself."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from integrations.contracts.ids import new_token
from integrations.models import Config
from integrations.models.base import PrefixedIdField, TenantOwned


class Status(models.TextChoices):
    REQUIRES_ACTION = "requires_action", "Requires action"
    PROCESSING = "processing", "Processing"
    AUTHORIZED = "authorized", "Authorized"
    PARTIALLY_CAPTURED = "partially_captured", "Partially captured"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    EXPIRED = "expired", "Expired"
    UNKNOWN = "unknown", "Unknown"
    CONFLICTED = "conflicted", "Conflicted"
    NEEDS_REVIEW = "needs_review", "Needs review"


class Origin(models.TextChoices):
    API = "api", "Asked for by us"
    CUSTOMER = "customer", "Sent by the customer"


class Payment(TenantOwned):
    """Money asked for, or money a customer sent by himself. Amounts are minor units of `currency`.

    The totals are derived from succeeded operations, in the transaction that changes one; never edited by hand.
    `amount_disputed` is what payers' banks hold back, of disputes that are open with the money withdrawn, or lost.
    """

    id = PrefixedIdField(prefix="pay")
    config = models.ForeignKey(Config, null=True, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=50)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.API)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PROCESSING)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    amount_authorized = models.BigIntegerField(default=0)
    amount_captured = models.BigIntegerField(default=0)
    amount_voided = models.BigIntegerField(default=0)
    amount_refunded = models.BigIntegerField(default=0)
    amount_disputed = models.BigIntegerField(default=0)
    fee_amount = models.BigIntegerField(null=True, blank=True, help_text="What the gateway kept, in its settlement currency.")
    fee_currency = models.CharField(max_length=3, blank=True)
    capture = models.CharField(max_length=10, default="automatic")
    method_type = models.CharField(max_length=20)
    method_name = models.CharField(max_length=60, blank=True, help_text="The gateway's word for how the payer paid.")
    method_detail = models.CharField(max_length=100, blank=True)
    payer_method = models.ForeignKey("payments.PayerMethod", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    phone = models.CharField(max_length=20, blank=True)
    payer_name = models.CharField(max_length=200, blank=True)
    customer = models.JSONField(default=dict, blank=True)
    reference_type = models.CharField(max_length=40, blank=True)
    reference_id = models.CharField(max_length=100, blank=True)
    account_number = models.CharField(max_length=100, blank=True, help_text="What the payer saw or typed as the account.")
    allocated = models.BooleanField(default=True, help_text="False: money came in and nobody knows yet what for.")
    description = models.CharField(max_length=200, blank=True)
    return_url = models.URLField(blank=True, max_length=500)
    metadata = models.JSONField(default=dict, blank=True)
    next_action = models.JSONField(null=True, blank=True)
    provider_ref = models.CharField(max_length=200, blank=True)
    hold_ref = models.CharField(max_length=200, blank=True, help_text="The gateway's id of the hold, where it has one apart.")
    receipt = models.CharField(max_length=60, blank=True, help_text="The provider's receipt number: names the money itself.")
    failure = models.JSONField(null=True, blank=True)
    reported_amount = models.BigIntegerField(null=True, blank=True, help_text="What the gateway said it took.")
    reported_currency = models.CharField(max_length=3, blank=True)
    hook_token = models.CharField(max_length=64, unique=True, editable=False)
    page_token = models.CharField(max_length=64, unique=True, editable=False, default=new_token)
    fallbacks = models.JSONField(default=list, blank=True, help_text="Configs that may still be tried, in their order.")
    receipt_number = models.CharField(max_length=30, blank=True, help_text="The number of the tenant's own receipt.")
    not_after = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When the hold lapses, or the request for the payer.")
    checked_at = models.DateTimeField(null=True, blank=True, help_text="When the gateway was asked last.")
    completed_at = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField()
    updated = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["-created"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_amount_positive"),
            models.CheckConstraint(
                condition=Q(amount_refunded__gte=0)
                & Q(amount_voided__gte=0)
                & Q(amount_disputed__gte=0)
                & Q(amount_refunded__lte=F("amount_captured"))
                & Q(amount_captured__lte=F("amount_authorized") - F("amount_voided"))
                & Q(amount_authorized__lte=F("amount")),
                name="payment_refunded_captured_authorized",
            ),
            models.UniqueConstraint(
                fields=["tenant", "provider", "receipt"], condition=~Q(receipt=""), name="payment_receipt_once"
            ),
            models.UniqueConstraint(
                fields=["tenant", "receipt_number"], condition=~Q(receipt_number=""), name="payment_receipt_number_once"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-created"], name="payment_of_tenant"),
            models.Index(fields=["tenant", "reference_type", "reference_id"], name="payment_of_reference"),
            models.Index(fields=["tenant", "provider", "provider_ref"], name="payment_provider_ref"),
            models.Index(fields=["tenant", "account_number", "amount"], name="payment_account"),
        ]

    def __str__(self) -> str:
        return self.pk

    @property
    def amount_capturable(self) -> int:
        """What is held and neither taken nor released, in minor units; 0 for a payment that takes at once."""
        return self.amount_authorized - self.amount_captured - self.amount_voided if self.capture == "manual" else 0
