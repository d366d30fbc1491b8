"""What goes out by itself: another way when the first one fails, notices about events, messages that recur."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from integrations.contracts import clock
from integrations.messaging.models.channels import Channel
from integrations.messaging.models.templates import LANGUAGE
from integrations.models.base import TenantOwned


class FallbackPolicy(TenantOwned):
    """How messages of a channel go on where the first way fails. The policy of the message's own category comes before the one
    without category. Its ways are tried in the order of their numbers."""

    name = models.CharField(max_length=60)
    channel = models.CharField(max_length=10, choices=Channel.choices)
    category = models.CharField(max_length=30, blank=True, help_text="Empty: for all that have no policy of their own.")
    after_minutes = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 60)],
        help_text="Also go on where the provider took it and no receipt came in this time; empty: only on certain failure.",
    )
    tries = models.PositiveSmallIntegerField(
        default=2, validators=[MinValueValidator(1), MaxValueValidator(8)], help_text="Tries at a provider that is down."
    )
    is_active = models.BooleanField(default=True)

    class Meta(TenantOwned.Meta):
        ordering = ["channel", "category"]
        verbose_name_plural = "fallback policies"
        constraints = [models.UniqueConstraint(fields=["tenant", "channel", "category"], name="fallback_policy_once")]

    def __str__(self) -> str:
        return self.name


class FallbackStep(TenantOwned):
    """One way further: another provider of the same channel, or another channel (whose address the sender has given)."""

    policy = models.ForeignKey(FallbackPolicy, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveSmallIntegerField()
    channel = models.CharField(max_length=10, choices=Channel.choices)
    provider = models.CharField(max_length=50, blank=True, help_text="Empty: the primary account of the channel.")

    class Meta(TenantOwned.Meta):
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["policy", "number"], name="fallback_step_once")]

    def __str__(self) -> str:
        return f"{self.number}. {self.get_channel_display()} {self.provider}".strip()


class NotificationRule(TenantOwned):
    """Who is told by template when an event of the tenant happens: any type of the catalogue."""

    class Audience(models.TextChoices):
        PAYER = "payer", "The payer or customer of the object"
        FIXED = "fixed", "These addresses"
        FIELD = "field", "The address in this field of the event"

    name = models.CharField(max_length=60)
    event_type = models.CharField(max_length=60)
    channel = models.CharField(max_length=10, choices=Channel.choices)
    audience = models.CharField(max_length=10, choices=Audience.choices, default=Audience.PAYER)
    addresses = models.TextField(blank=True, help_text="One a line; for a field: its path, such as customer.email.")
    template_name = models.SlugField(max_length=60)
    language = models.CharField(max_length=10, blank=True, validators=[LANGUAGE])
    category = models.CharField(max_length=30, blank=True)
    conditions = models.JSONField(
        default=dict, blank=True, help_text='Only where these fields are so: {"currency": "KES", "reference.type": "invoice"}.'
    )
    delay_minutes = models.PositiveIntegerField(default=0, validators=[MaxValueValidator(30 * 24 * 60)])
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["event_type", "id"]
        indexes = [models.Index(fields=["tenant", "event_type"], name="notification_rule_event")]

    def __str__(self) -> str:
        return self.name


class RecurringMessage(TenantOwned):
    """A message that is sent again and again: a report by e-mail every Monday. `request` is what the send route takes, without
    the time; `attachment_url` is fetched anew each time, through the guarded client."""

    class Frequency(models.TextChoices):
        DAILY = "daily", "Every day"
        WEEKLY = "weekly", "Every week"
        MONTHLY = "monthly", "Every month"

    name = models.CharField(max_length=100)
    channel = models.CharField(max_length=10, choices=Channel.choices)
    request = models.JSONField()
    frequency = models.CharField(max_length=10, choices=Frequency.choices)
    at = models.TimeField(help_text="In the tenant's time zone.")
    weekday = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(6)], help_text="0 is Monday."
    )
    day = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text="Of the month; its last where it has fewer.",
    )
    attachment_url = models.URLField(max_length=2000, blank=True)
    attachment_name = models.CharField(max_length=150, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    next_at = models.DateTimeField(null=True, blank=True)
    last_at = models.DateTimeField(null=True, blank=True)
    last_problem = models.CharField(max_length=300, blank=True)
    is_active = models.BooleanField(default=True)
    created_by = models.CharField(max_length=150, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["name", "id"]
        indexes = [models.Index(fields=["next_at"], condition=models.Q(is_active=True), name="recurring_due")]

    def __str__(self) -> str:
        return self.name
