"""Who is not to be written to, about what, when, and for how much."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.messaging import SuppressReason
from integrations.messaging.models.channels import Channel
from integrations.models import Config
from integrations.models.base import TenantOwned

REASONS = [
    (SuppressReason.INVALID.value, "Invalid address"),
    (SuppressReason.HARD_BOUNCE.value, "Hard bounce"),
    (SuppressReason.COMPLAINT.value, "Spam complaint"),
    (SuppressReason.OPT_OUT.value, "Opted out"),
    (SuppressReason.DEAD_TOKEN.value, "App removed from the device"),
    (SuppressReason.BLOCKED.value, "Blocked by network or provider"),
    ("manual", "Entered by a person"),
]


class Suppression(TenantOwned):
    """An address that is not to be written to any more on a channel, and why. Released, it stays as history."""

    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.SMS)
    address = models.CharField(max_length=512)
    reason = models.CharField(max_length=20, choices=REASONS, default="manual")
    detail = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=50, blank=True)
    created = models.DateTimeField(default=clock.now)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.CharField(max_length=150, blank=True)
    release_reason = models.CharField(max_length=200, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "channel", "address"], condition=Q(released_at__isnull=True), name="suppression_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.address}"


class Preference(TenantOwned):
    """What the owner of an address wants: `category` empty means all messages on that channel. The narrower one counts."""

    channel = models.CharField(max_length=10, choices=Channel.choices)
    address = models.CharField(max_length=512)
    category = models.CharField(max_length=30, blank=True)
    allowed = models.BooleanField()
    source = models.CharField(max_length=50, blank=True)
    updated = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-updated", "-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "channel", "address", "category"], name="preference_once")]

    def __str__(self) -> str:
        return f"{self.address}: {self.category or 'all'} {'yes' if self.allowed else 'no'} ({self.channel})"


class MessageCategory(TenantOwned):
    """What a kind of message may do. Names that no row describes are ordinary ones, except those that come with the hub
    (`categories.BUILT_IN`)."""

    name = models.CharField(
        max_length=30, validators=[RegexValidator(r"^[a-z0-9_-]+$", "Lower-case letters, digits, - and _.")]
    )
    label = models.CharField(max_length=60, blank=True, help_text="What recipients read on the unsubscribe page.")
    is_critical = models.BooleanField(
        "critical", default=False, help_text="Goes out in spite of preferences and quiet hours: one-time codes, alarms."
    )
    can_unsubscribe = models.BooleanField(
        default=True, help_text="E-mails carry an unsubscribe link and one-click headers (RFC 8058)."
    )
    priority = models.PositiveSmallIntegerField(
        default=5, validators=[MinValueValidator(1), MaxValueValidator(9)], help_text="1 first, 9 last."
    )

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        verbose_name_plural = "message categories"
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="message_category_once")]

    def __str__(self) -> str:
        return self.label or self.name


class SendingPolicy(TenantOwned):
    """A tenant's rules for one channel: quiet hours in the recipient's own zone, expected prices, caps."""

    class Period(models.TextChoices):
        DAY = "day", "Day"
        MONTH = "month", "Month"

    channel = models.CharField(max_length=10, choices=Channel.choices)
    quiet_from = models.TimeField(null=True, blank=True, help_text="Nothing but critical messages from then on ...")
    quiet_until = models.TimeField(null=True, blank=True, help_text="... until then, where the recipient lives.")
    unit_cost = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="Expected price of one text part or message."
    )
    currency = models.CharField(max_length=3, blank=True, validators=[RegexValidator(r"^[A-Z]{3}$")])
    spend_cap = models.DecimalField(
        max_digits=14, decimal_places=2, null=True, blank=True, help_text="Nothing is accepted beyond this in a period."
    )
    spend_period = models.CharField(max_length=5, choices=Period.choices, default=Period.MONTH)
    low_balance = models.DecimalField(
        max_digits=14, decimal_places=2, null=True, blank=True, help_text="Warn when an account has less than this left."
    )

    class Meta(TenantOwned.Meta):
        ordering = ["channel"]
        verbose_name_plural = "sending policies"
        constraints = [models.UniqueConstraint(fields=["tenant", "channel"], name="sending_policy_once")]

    def __str__(self) -> str:
        return f"Policy for {self.get_channel_display()}"

    def clean(self) -> None:
        if (self.quiet_from is None) != (self.quiet_until is None):
            raise ValidationError({"quiet_until": "Give both ends of the quiet hours, or none."})
        if self.quiet_from is not None and self.quiet_from == self.quiet_until:
            raise ValidationError({"quiet_until": "The quiet hours are empty."})
        if (self.spend_cap is not None or self.unit_cost is not None) and not self.currency:
            raise ValidationError({"currency": "Prices and caps need a currency."})
        if self.spend_cap is not None and self.unit_cost is None:
            raise ValidationError({"unit_cost": "A cap needs a price: without one nobody knows beforehand what would pass it."})


class BalanceReading(TenantOwned):
    """What an account had left when last asked, in major units of `currency` (or of `unit`, where it counts messages)."""

    config = models.ForeignKey(Config, on_delete=models.CASCADE, related_name="+")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    amount = models.DecimalField(max_digits=16, decimal_places=6)
    currency = models.CharField(max_length=3, blank=True)
    unit = models.CharField(max_length=20, blank=True)
    at = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-at"]
        constraints = [models.UniqueConstraint(fields=["config", "channel"], name="balance_reading_once")]

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency or self.unit}"
