"""What a tenant may set for all its endpoints."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from integrations.contracts import clock
from integrations.models.base import TenantOwned

DAYS = [MinValueValidator(1), MaxValueValidator(3650)]


class RetentionPolicy(TenantOwned):
    """How long a tenant's events are kept, in days; empty: the installation's own setting. At most one for each tenant.

    Payloads and answers go first, then deliveries and attempts; what failed is kept longer. What is still owed stays.
    """

    payload_days = models.PositiveSmallIntegerField(null=True, blank=True, validators=DAYS)
    log_days = models.PositiveSmallIntegerField(null=True, blank=True, validators=DAYS)
    failed_days = models.PositiveSmallIntegerField(null=True, blank=True, validators=DAYS)
    dead_letter_alarm = models.PositiveIntegerField(
        null=True, blank=True, help_text="Dead letters of the last day above which an alert is raised."
    )
    updated = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        verbose_name_plural = "retention policies"
        constraints = [models.UniqueConstraint(fields=["tenant"], name="webhook_retention_once")]

    def __str__(self) -> str:
        return "webhook retention"
