"""Payment (what was asked for), Operation (each thing done at a gateway) and LedgerEntry (what changed, append-only)."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q

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

    The three totals are derived from succeeded operations, in the transaction that changes one; never edited by hand.
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
    amount_refunded = models.BigIntegerField(default=0)
    capture = models.CharField(max_length=10, default="automatic")
    method_type = models.CharField(max_length=20)
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
    receipt = models.CharField(max_length=60, blank=True, help_text="The provider's receipt number: names the money itself.")
    failure = models.JSONField(null=True, blank=True)
    reported_amount = models.BigIntegerField(null=True, blank=True, help_text="What the gateway said it took.")
    reported_currency = models.CharField(max_length=3, blank=True)
    hook_token = models.CharField(max_length=64, unique=True, editable=False)
    receipt_number = models.CharField(max_length=30, blank=True, help_text="The number of the tenant's own receipt.")
    not_after = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField()
    updated = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["-created"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_amount_positive"),
            models.CheckConstraint(
                condition=Q(amount_refunded__gte=0)
                & Q(amount_refunded__lte=F("amount_captured"))
                & Q(amount_captured__lte=F("amount_authorized"))
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


class OperationKind(models.TextChoices):
    AUTHORIZE = "authorize", "Authorize"
    CAPTURE = "capture", "Capture"
    REFUND = "refund", "Refund"
    VOID = "void", "Void"
    INCOMING = "incoming", "Incoming"


class OperationStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"
    NEEDS_REVIEW = "needs_review", "Needs review"


class Operation(TenantOwned):
    """One thing asked of a gateway for a payment, with an idempotency key and a callback path of its own.

    A refund's id begins with `re_`; it is the refund's id in the API.
    """

    id = models.CharField(primary_key=True, max_length=40, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="operations")
    kind = models.CharField(max_length=10, choices=OperationKind.choices)
    status = models.CharField(max_length=15, choices=OperationStatus.choices, default=OperationStatus.PENDING)
    amount = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=60, unique=True)
    hook_token = models.CharField(max_length=64, unique=True, editable=False)
    provider_ref = models.CharField(max_length=200, blank=True)
    receipt = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    failure = models.JSONField(null=True, blank=True)
    created = models.DateTimeField()
    updated = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["created"]
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="operation_amount_positive")]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class LedgerEntry(TenantOwned):
    """One change of a payment: who, why, from, to, with which amounts and gateway id. Append-only."""

    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="ledger")
    operation = models.ForeignKey(Operation, null=True, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField()
    actor = models.CharField(max_length=100)
    reason = models.CharField(max_length=300)
    from_status = models.CharField(max_length=20, blank=True)
    to_status = models.CharField(max_length=20)
    amount = models.BigIntegerField(null=True)
    amount_captured = models.BigIntegerField()
    amount_refunded = models.BigIntegerField()
    provider_ref = models.CharField(max_length=200, blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["id"]
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.payment_id}: {self.from_status} → {self.to_status}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("ledger entries are never changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("ledger entries are never deleted")


class ReceiptCounter(TenantOwned):
    """The last receipt number of a tenant and year; locked while the next one is taken, so that there are no gaps."""

    year = models.PositiveSmallIntegerField()
    last = models.PositiveIntegerField(default=0)

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant", "year"], name="receipt_counter_once")]

    def __str__(self) -> str:
        return f"{self.year}: {self.last}"


class AllocationRule(TenantOwned):
    """Account numbers of this form stand for references of this type, so that money sent by itself finds its place."""

    position = models.PositiveSmallIntegerField(default=10)
    pattern = models.CharField(
        max_length=200, help_text="Regular expression for the whole account number, such as INV-\\d+ ; case does not matter."
    )
    reference_type = models.CharField(max_length=40, help_text="Such as invoice or wallet.")

    class Meta(TenantOwned.Meta):
        ordering = ["position", "id"]

    def __str__(self) -> str:
        return f"{self.pattern} → {self.reference_type}"

    def clean(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValidationError({"pattern": f"This is no regular expression: {error}"}) from error

    def matches(self, account_number: str) -> bool:
        """Tell whether the whole account number has this form; a broken pattern matches nothing."""
        try:
            return re.fullmatch(self.pattern, account_number, re.IGNORECASE) is not None
        except re.error:
            return False
