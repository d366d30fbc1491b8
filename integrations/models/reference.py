"""How the outside's ids find our objects, and how a caller's repeated request finds its stored answer."""

from __future__ import annotations

from django.db import models

from integrations.contracts import clock
from integrations.models.base import TenantOwned
from integrations.models.config import Config


class ExternalReference(TenantOwned):
    """An id that a provider uses (or an unguessable path that only it was told) -> tenant, config and our object.

    `kind` says what the id is: `hook_token`, `checkout_request`, `shortcode`, `receipt` ...
    """

    provider = models.CharField(max_length=50)
    kind = models.CharField(max_length=40)
    external_id = models.CharField(max_length=200)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    object_type = models.CharField(max_length=30, blank=True)
    object_id = models.CharField(max_length=60, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "provider", "kind", "external_id", "object_type", "object_id"], name="external_reference_once"
            ),
            models.UniqueConstraint(
                fields=["external_id"], condition=models.Q(kind="hook_token"), name="hook_token_belongs_to_one"
            ),
        ]
        indexes = [
            models.Index(fields=["provider", "kind", "external_id"], name="external_reference_lookup"),
            models.Index(fields=["tenant", "object_type", "object_id"], name="external_reference_object"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.kind} → {self.object_type} {self.object_id}"


class IdempotencyRecord(TenantOwned):
    """A POST that acts, by its Idempotency-Key. `status_code` is null while it runs; kept 24 hours.

    `lease_until` bounds how long a crashed request keeps others waiting; `object_id` names what was made before the crash.
    """

    sealed_fields = ("sealed_response",)

    key = models.CharField(max_length=255)
    route = models.CharField(max_length=100)
    fingerprint = models.CharField(max_length=64)
    lease = models.UUIDField(null=True)
    lease_until = models.DateTimeField()
    object_type = models.CharField(max_length=30, blank=True)
    object_id = models.CharField(max_length=60, blank=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    sealed_response = models.TextField(blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created"], name="idempotency_created")]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"


class OAuthToken(TenantOwned):
    """An access token the hub holds at a provider, sealed. One fetcher at a time, by `lease`; `version` fences late ones."""

    sealed_fields = ("sealed",)

    config = models.OneToOneField(Config, on_delete=models.CASCADE, related_name="oauth_token")
    sealed = models.TextField(blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=0)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    updated = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        verbose_name = "OAuth token"

    def __str__(self) -> str:
        return f"token of config {self.config_id}"
