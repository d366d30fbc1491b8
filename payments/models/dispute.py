"""Dispute: a payer's bank questions a payment, or takes the money back."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from integrations.models.base import PrefixedIdField, TenantOwned
from payments.models.payment import Payment


class DisputeStatus(models.TextChoices):
    INQUIRY = "inquiry", "Inquiry"
    NEEDS_RESPONSE = "needs_response", "Needs response"
    UNDER_REVIEW = "under_review", "Under review"
    WON = "won", "Won"
    LOST = "lost", "Lost"
    CLOSED = "closed", "Closed"


class Dispute(TenantOwned):
    """A dispute as the gateway has it. `withdrawn`: the money is gone from the tenant's account, for now or for good."""

    id = PrefixedIdField(prefix="dp")
    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="disputes")
    provider = models.CharField(max_length=50)
    provider_ref = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=DisputeStatus.choices)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=100, blank=True)
    withdrawn = models.BooleanField(default=False)
    respond_by = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField()
    updated = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        ordering = ["-created"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="dispute_amount_not_negative"),
            models.UniqueConstraint(fields=["tenant", "provider", "provider_ref"], name="dispute_once"),
        ]

    def __str__(self) -> str:
        return self.pk
