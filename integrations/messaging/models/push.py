"""The device-token registry."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.models import Config
from integrations.models.base import TenantOwned


class Device(TenantOwned):
    """An app on a device, as its push service knows it: `token`. `user` is the id that the tenant's own system gives its user.

    A token is one device only: registered again it moves to the user who came last. `gone_at` is set when its push service
    says that the app is no longer there; `registered_at` moves with each registration, and a device that came back after
    the moment from which the service calls it dead stays alive.
    """

    class Platform(models.TextChoices):
        ANDROID = "android", "Android"
        IOS = "ios", "iOS"
        WEB = "web", "Web"

    class Environment(models.TextChoices):
        PRODUCTION = "production", "Production"
        SANDBOX = "sandbox", "Development build"

    token = models.CharField(max_length=512)
    platform = models.CharField(max_length=10, choices=Platform.choices)
    provider = models.CharField(
        max_length=50, blank=True, help_text="Which push service; empty: the one that serves the platform."
    )
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    environment = models.CharField(max_length=10, choices=Environment.choices, default=Environment.PRODUCTION)
    app = models.CharField(max_length=155, blank=True, help_text="The app's id at the push service, where there are several.")
    user = models.CharField(max_length=150, blank=True)
    language = models.CharField(max_length=10, blank=True)
    time_zone = models.CharField(max_length=50, blank=True)
    topics = models.JSONField(default=list, blank=True)
    registered_at = models.DateTimeField(default=clock.now)
    gone_at = models.DateTimeField(null=True, blank=True)
    gone_why = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-registered_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "token"], name="device_token_once")]
        indexes = [models.Index(fields=["tenant", "user"], condition=Q(gone_at__isnull=True), name="device_of_user")]

    def __str__(self) -> str:
        return f"{self.platform} of {self.user or 'nobody'} (…{self.token[-6:]})"
