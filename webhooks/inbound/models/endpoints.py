"""Where webhooks come in: a provider account's own path, or a source that the tenant described itself."""

from __future__ import annotations

from typing import TypedDict

from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.ids import new_token
from integrations.models import Config, Tenant
from integrations.models.base import PrefixedIdField, TenantOwned
from integrations.secrets import open_sealed, seal

DEFAULT_TOLERANCE = 300


class Scheme(models.TextChoices):
    """How a source proves who it is. Each is described in webhooks/inbound/generic/schemes.py."""

    HMAC = "hmac", "HMAC of the body"
    TIMESTAMPED = "timestamped", "t=…,v1=… (Stripe's form)"
    GITHUB = "github", "GitHub"
    SLACK = "slack", "Slack"
    STANDARD = "standard", "Standard Webhooks"
    BASIC = "basic", "User name and password"
    API_KEY = "api_key", "Key in a header"
    ED25519 = "ed25519", "ed25519 signature"


class SourceSecret(TypedDict):
    """`expires_at` (ISO 8601) is null for the current one, the end of the overlap for one that was rotated out."""

    secret: str
    created: str
    expires_at: str | None


class InboundEndpoint(TenantOwned):
    """One way in for webhooks.

    With a `config` it is the path of that provider account: the provider's folder says how it is verified and parsed, the row
    counts, restricts and rotates the path. Without one it is a generic source: `scheme`, `options` (header names and the
    like), where to find what makes a request the same (`dedupe_path`) and what it tells (`type_path`, `event_types`,
    `fields`). `events` lists source types that are taken in, with wildcards; empty: all. What is left out is kept, not worked
    off. Deleting is soft: receipts stay readable.

    `token` is the unguessable part of its path; an old one keeps working until `previous_until`. Secrets are sealed.
    """

    id = PrefixedIdField(prefix="src")
    name = models.CharField(max_length=100, blank=True)
    config = models.OneToOneField(Config, null=True, blank=True, on_delete=models.CASCADE, related_name="inbound_endpoint")
    token = models.CharField(max_length=64, unique=True, default=new_token, editable=False)
    previous_token = models.CharField(max_length=64, blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, blank=True, editable=False)
    scheme = models.CharField(max_length=12, choices=Scheme.choices, blank=True)
    options = models.JSONField(default=dict, blank=True)
    sealed_secrets = models.TextField(blank=True, editable=False)
    sealed_verify_token = models.TextField(blank=True, editable=False)
    tolerance = models.PositiveIntegerField(default=DEFAULT_TOLERANCE, help_text="Seconds that a signed time may be off.")
    events = models.JSONField(default=list, blank=True)
    dedupe_path = models.CharField(max_length=200, blank=True)
    type_path = models.CharField(max_length=200, blank=True)
    event_types = models.JSONField(default=dict, blank=True, help_text="Source type -> event type; * for the rest.")
    fields = models.JSONField(
        default=dict, blank=True, help_text="Member of the event's object -> path in the body; empty: all of it."
    )
    allowed_ips = models.JSONField(default=list, blank=True)
    is_active = models.BooleanField(default=True)
    received = models.BigIntegerField(default=0, editable=False)
    last_received_at = models.DateTimeField(null=True, blank=True, editable=False)
    rejected = models.BigIntegerField(default=0, editable=False)
    last_rejected_at = models.DateTimeField(null=True, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        verbose_name = "inbound endpoint"
        indexes = [
            models.Index(fields=["previous_token"], condition=~Q(previous_token=""), name="inbound_previous_token"),
            models.Index(fields=["tenant", "-id"], name="inbound_endpoint_of_tenant"),
        ]

    def __str__(self) -> str:
        return self.name or self.pk

    def secrets(self) -> list[SourceSecret]:
        """Return the secrets, newest first, expired ones included. Raises `SecretUnreadable`."""
        opened: list[SourceSecret] = open_sealed(self.tenant_id, self.sealed_secrets) if self.sealed_secrets else []
        return opened

    def set_secrets(self, secrets: list[SourceSecret]) -> None:
        self.sealed_secrets = seal(self.tenant_id, secrets)


class Rejection(models.Model):
    """How many requests of one kind were turned away on one day, and why. Their bodies are not kept.

    `source` is the provider's slug, or an endpoint's id; `tenant` is null where nobody could be found for it.
    """

    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    endpoint = models.ForeignKey(InboundEndpoint, null=True, blank=True, on_delete=models.CASCADE, related_name="rejections")
    key = models.CharField(max_length=200, unique=True, editable=False)
    source = models.CharField(max_length=60)
    reason = models.CharField(max_length=40)
    day = models.DateField()
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()
    last_ip = models.GenericIPAddressField(null=True, blank=True)
    last_detail = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-day", "-last_at"]
        indexes = [models.Index(fields=["tenant", "-day"], name="inbound_rejection_of_tenant")]

    def __str__(self) -> str:
        return f"{self.source}: {self.reason} ({self.count})"
