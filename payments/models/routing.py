"""Which gateway takes a payment: a tenant's rules, and the order of gateways in each."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q

from integrations.models import Config
from integrations.models.base import TenantOwned


class RoutingRule(TenantOwned):
    """Payments that fit go to the rule's gateways, in their order. Empty fields fit everything; the first rule that fits
    counts. The second gateway is tried only where it is certain that the first one charged nothing."""

    name = models.CharField(max_length=100)
    position = models.PositiveSmallIntegerField(default=10, help_text="Lower comes first.")
    is_active = models.BooleanField(default=True)
    currency = models.CharField(max_length=3, blank=True, help_text="ISO 4217; empty: any.")
    method_type = models.CharField(
        max_length=20,
        blank=True,
        choices=[("card", "Card"), ("mobile_money", "Mobile money"), ("redirect", "The gateway's own page")],
        help_text="Empty: any.",
    )
    minimum = models.BigIntegerField(null=True, blank=True, help_text="In minor units; needs a currency.")
    maximum = models.BigIntegerField(null=True, blank=True, help_text="In minor units, inclusive; needs a currency.")

    class Meta(TenantOwned.Meta):
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(minimum__isnull=True) | Q(maximum__isnull=True) | Q(minimum__lte=F("maximum")),
                name="routing_rule_minimum_below_maximum",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.currency and not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isupper()):
            raise ValidationError({"currency": "Three upper-case letters (ISO 4217)."})
        if (self.minimum is not None or self.maximum is not None) and not self.currency:
            raise ValidationError({"currency": "An amount means nothing without its currency."})
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValidationError({"maximum": "Must not be below the minimum."})


class RoutingStep(TenantOwned):
    """One gateway of a rule."""

    rule = models.ForeignKey(RoutingRule, on_delete=models.CASCADE, related_name="steps")
    config = models.ForeignKey(Config, on_delete=models.CASCADE, related_name="+")
    position = models.PositiveSmallIntegerField(default=10)

    class Meta(TenantOwned.Meta):
        ordering = ["position", "id"]
        constraints = [models.UniqueConstraint(fields=["rule", "config"], name="routing_step_once")]

    def __str__(self) -> str:
        return f"{self.rule_id}: {self.config_id}"
