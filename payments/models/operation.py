"""Operation (each thing done at a gateway) and LedgerEntry (what changed, append-only)."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models
from django.db.models import Q

from integrations.models import Config
from integrations.models.base import TenantOwned
from payments.models.payment import Payment


class OperationKind(models.TextChoices):
    AUTHORIZE = "authorize", "Authorize"
    CAPTURE = "capture", "Capture"
    REFUND = "refund", "Refund"
    VOID = "void", "Void"
    CANCEL = "cancel", "Cancel"
    SETUP = "setup", "Setup"
    INCOMING = "incoming", "Incoming"


class OperationOrigin(models.TextChoices):
    HUB = "hub", "Asked for by us"
    GATEWAY = "gateway", "Seen at the gateway"


class OperationStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"
    NEEDS_REVIEW = "needs_review", "Needs review"


class Operation(TenantOwned):
    """One thing asked of a gateway (or done there without us), with an idempotency key and a callback path of its own.

    It belongs to a payment, or (SETUP) to a setup. `config` is the account it went to: a payment that fell back to another
    gateway has an AUTHORIZE for each. A refund's id begins with `re_`; it is the refund's id in the API; `source` is the
    capture that it gives back. VOID releases held money and counts; CANCEL calls off what was never paid and does not.
    """

    sealed_fields = ("sealed_token",)

    id = models.CharField(primary_key=True, max_length=40, editable=False)
    payment = models.ForeignKey(Payment, null=True, on_delete=models.CASCADE, related_name="operations")
    setup = models.ForeignKey("payments.SetupIntent", null=True, on_delete=models.CASCADE, related_name="operations")
    source = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="+")
    config = models.ForeignKey(Config, null=True, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=50, blank=True)
    origin = models.CharField(max_length=10, choices=OperationOrigin.choices, default=OperationOrigin.HUB)
    kind = models.CharField(max_length=10, choices=OperationKind.choices)
    status = models.CharField(max_length=15, choices=OperationStatus.choices, default=OperationStatus.PENDING)
    amount = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=60, unique=True)
    hook_token = models.CharField(max_length=64, unique=True, editable=False)
    provider_ref = models.CharField(max_length=200, blank=True)
    receipt = models.CharField(max_length=60, blank=True)
    final = models.BooleanField(default=True, help_text="A capture after which the rest of the hold is released.")
    fee_amount = models.BigIntegerField(null=True, blank=True)
    fee_currency = models.CharField(max_length=3, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    requested_by = models.CharField(max_length=100, blank=True)
    sealed_token = models.TextField(blank=True, editable=False)
    failure = models.JSONField(null=True, blank=True)
    created = models.DateTimeField()
    updated = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["created"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0) | Q(kind="setup", amount=0), name="operation_amount_positive"),
            models.CheckConstraint(
                condition=Q(payment__isnull=False, setup__isnull=True)
                | Q(payment__isnull=True, setup__isnull=False, kind="setup"),
                name="operation_of_payment_or_setup",
            ),
            models.UniqueConstraint(
                fields=["tenant", "provider", "config", "kind", "provider_ref"],
                condition=~Q(provider_ref=""),
                name="operation_provider_ref_once",
            ),
        ]

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
    amount_voided = models.BigIntegerField(default=0)
    amount_disputed = models.BigIntegerField(default=0)
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
