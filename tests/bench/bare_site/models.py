from __future__ import annotations

from django.db import models
from django.utils import timezone


class Taken(models.Model):
    """One request, as it came."""

    body = models.BinaryField()
    received_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"request #{self.pk}"
