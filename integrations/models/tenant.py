"""Who uses the hub: tenants, the people in them, and the keys of their systems."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned


class User(AbstractUser):
    """A person. A superuser operates the installation; what others may do comes from their memberships."""


class Tenant(models.Model):
    """An organisation: a school, a photo studio, a shop. Everything it owns carries its id."""

    slug = models.SlugField(unique=True, max_length=50)
    name = models.CharField(max_length=200)
    country = models.CharField(
        max_length=2,
        default="KE",
        validators=[RegexValidator(r"^[A-Z]{2}$")],
        help_text="ISO 3166 code; phone numbers without a country code are read as this country's.",
    )
    time_zone = models.CharField(max_length=50, default="Africa/Nairobi")
    currency = models.CharField(max_length=3, default="KES", validators=[RegexValidator(r"^[A-Z]{3}$")])
    is_active = models.BooleanField(default=True)
    max_queued = models.PositiveIntegerField(
        null=True, blank=True, help_text="Queue items that may wait at once; empty: HUB_MAX_QUEUED. More are refused with 429."
    )
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> tzinfo:
        """The time zone; UTC where its name means nothing here."""
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            return UTC


class Role(models.TextChoices):
    ADMIN = "admin", "Admin"
    STAFF = "staff", "Staff"
    AUDITOR = "auditor", "Auditor"


def office_channels() -> list[str]:
    """Return the channels that new members may send on: those that an office uses by hand."""
    return ["sms", "email"]


class Membership(TenantOwned):
    """A user's role in a tenant; one row for each pair. `channels` are those that staff may send on; an admin may use all."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.STAFF)
    channels = models.JSONField(
        default=office_channels, blank=True, help_text="Channels on which staff may send: sms, email, push, whatsapp."
    )
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(TenantOwned):
    """A key of a tenant's system. The key itself is shown once; only its prefix and SHA-256 are kept.

    A plain hash is enough: the key holds 160 random bits, there is nothing to guess. After a rotation the key before
    (`previous_hash`) is good until `previous_until`. With `allowed_ips` (addresses and networks) it works from there alone.
    """

    PREFIX: ClassVar[str] = "hub_"

    id = PrefixedIdField(prefix="key")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, help_text="The key's first characters, to recognise it by.")
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.ADMIN)
    scopes = models.JSONField(default=list, blank=True, help_text="Scopes such as payments:write; empty means all of the role.")
    allowed_ips = models.JSONField(
        default=list, blank=True, help_text="Addresses and networks it may be used from; empty: any."
    )
    rate_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requests a minute; empty: the installation's limit."
    )
    previous_hash = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    previous_prefix = models.CharField(max_length=16, blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    created_by = models.CharField(max_length=150, blank=True, editable=False)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_ip = models.GenericIPAddressField(null=True, blank=True, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-created"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class ApiKeyUsage(TenantOwned):
    """How often a key was used on one day (UTC) at one route: `GET /api/v1/payments`. `errors` are answers of 400 and above."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="usage")
    day = models.DateField()
    route = models.CharField(max_length=160)
    count = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)

    class Meta(TenantOwned.Meta):
        ordering = ["-day", "route"]
        constraints = [models.UniqueConstraint(fields=["key", "day", "route"], name="api_key_usage_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.route}: {self.count}"
