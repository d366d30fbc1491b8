"""Receipt numbers, and what account numbers stand for."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.db import models

from integrations.models.base import TenantOwned


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
