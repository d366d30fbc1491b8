"""Reconciliation: the gateway's books held against our ledger, line by line."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

from integrations.models import Config
from integrations.models.base import TenantOwned
from payments.models.payment import Payment


class RunStatus(models.TextChoices):
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"


class LineKind(models.TextChoices):
    MATCHED = "matched", "Matched"
    MISSING_HERE = "missing_here", "At the gateway only"
    MISSING_THERE = "missing_there", "In the ledger only"
    AMOUNT_DIFFERS = "amount_differs", "Amount differs"
    STATUS_DIFFERS = "status_differs", "Status differs"
    UNCHECKED = "unchecked", "Could not be checked"
    FEE = "fee", "Fee"


class ReconciliationRun(TenantOwned):
    """One comparison of a config's gateway with the ledger, from `since` to before `until`."""

    config = models.ForeignKey(Config, on_delete=models.CASCADE, related_name="+")
    provider = models.CharField(max_length=50)
    since = models.DateTimeField()
    until = models.DateTimeField()
    status = models.CharField(max_length=10, choices=RunStatus.choices, default=RunStatus.RUNNING)
    detail = models.CharField(max_length=300, blank=True)
    actor = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-started_at", "-id"]

    def __str__(self) -> str:
        zone = self.tenant.zone
        first, last = (each.astimezone(zone) for each in (self.since, self.until - timedelta(microseconds=1)))
        days = f"{first:%Y-%m-%d}" if first.date() == last.date() else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
        return f"{self.provider} {days}"


class ReconciliationLine(TenantOwned):
    """One transaction of the gateway against one of ours. Gross amounts are positive; `fee` and `net` as the gateway has them.

    `resolved_*`: a person has looked at a difference and said why it is all right.
    """

    run = models.ForeignKey(ReconciliationRun, on_delete=models.CASCADE, related_name="lines")
    kind = models.CharField(max_length=20, choices=LineKind.choices)
    transaction_kind = models.CharField(max_length=10)
    payment = models.ForeignKey(Payment, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    provider_ref = models.CharField(max_length=200, blank=True)
    gateway_amount = models.BigIntegerField(null=True, blank=True)
    ledger_amount = models.BigIntegerField(null=True, blank=True)
    currency = models.CharField(max_length=3)
    fee = models.BigIntegerField(null=True, blank=True)
    net = models.BigIntegerField(null=True, blank=True)
    settlement_currency = models.CharField(max_length=3, blank=True)
    occurred_at = models.DateTimeField(null=True, blank=True)
    detail = models.CharField(max_length=300, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=100, blank=True)
    resolution = models.CharField(max_length=300, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["id"]
        indexes = [models.Index(fields=["run", "kind"], name="reconciliation_line_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.provider_ref}"
