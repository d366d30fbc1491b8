"""The ways on which a message may go."""

from __future__ import annotations

from django.db import models


class Channel(models.TextChoices):
    SMS = "sms", "SMS"
    EMAIL = "email", "E-mail"
    PUSH = "push", "Push"
    WHATSAPP = "whatsapp", "WhatsApp"
