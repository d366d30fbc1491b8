"""The registry's rows and each tenant's configs of providers."""

from __future__ import annotations

from typing import Any

from django.db import models

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.ids import new_token
from integrations.models.base import TenantOwned
from integrations.models.tenant import Tenant
from integrations.secrets import masked, open_sealed, seal


class Provider(models.Model):
    """A provider that the registry found. Written by `sync_providers`; only `enabled` is a person's to change."""

    slug = models.SlugField(primary_key=True, max_length=50)
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    categories = models.JSONField(default=list)
    docs_url = models.URLField(blank=True)
    is_global = models.BooleanField(default=False, help_text="One installation-wide account may serve many tenants.")
    enabled = models.BooleanField(default=True)
    installed = models.BooleanField(default=True, help_text="False once its code has gone: configs stay, calls fail clearly.")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ConfigStatus(models.TextChoices):
    UNTESTED = "untested", "Untested"
    OK = "ok", "OK"
    FAILING = "failing", "Failing"
    NEEDS_ATTENTION = "needs_attention", "Needs attention"


class Config(TenantOwned):
    """A tenant's account at a provider: plain values, sealed secrets, an environment."""

    sealed_fields = ("sealed",)

    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="+")
    label = models.CharField(max_length=100, blank=True, help_text="To tell two accounts at one provider apart.")
    environment = models.CharField(
        max_length=10,
        choices=[(e.value, e.value.capitalize()) for e in Environment],
        default=Environment.SANDBOX.value,
    )
    values = models.JSONField(default=dict, blank=True)
    sealed = models.TextField(blank=True, editable=False)
    limits = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        help_text="This account's own rate, burst, concurrency and daily quota, in place of what the provider declares.",
    )
    is_active = models.BooleanField(default=True)
    hook_token = models.CharField(max_length=64, unique=True, default=new_token, editable=False)
    status = models.CharField(max_length=20, choices=ConfigStatus.choices, default=ConfigStatus.UNTESTED, editable=False)
    status_detail = models.TextField(blank=True, editable=False)
    tested_at = models.DateTimeField(null=True, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        ordering = ["provider_id", "id"]

    def __str__(self) -> str:
        return f"{self.provider_id} · {self.label or self.environment}"

    def secrets(self) -> dict[str, Any]:
        """Return the opened secrets; raise `SecretUnreadable` where they can't be read."""
        if not self.sealed:
            return {}
        opened: dict[str, Any] = open_sealed(self.tenant_id, self.sealed)
        return opened

    def set_secrets(self, secrets: dict[str, Any]) -> None:
        self.sealed = seal(self.tenant_id, secrets) if secrets else ""

    def masked_secrets(self) -> dict[str, str]:
        """Return what may be shown of each stored secret."""
        return {name: masked(str(value)) for name, value in self.secrets().items()}


class PrimaryConfig(TenantOwned):
    """Which config serves a category when a call names none; at most one for each tenant and category."""

    category = models.CharField(max_length=20, choices=[(c.value, c.value) for c in Capability])
    config = models.ForeignKey(Config, on_delete=models.CASCADE, related_name="primaries")

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant", "category"], name="one_primary_per_category")]

    def __str__(self) -> str:
        return f"{self.category}: {self.config_id}"


class ProviderGrant(TenantOwned):
    """This tenant may use the installation-wide account of a global provider when it has none of its own."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="provider_grants")
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="grants")

    class Meta(TenantOwned.Meta):
        constraints = [models.UniqueConstraint(fields=["tenant", "provider"], name="grant_once")]

    def __str__(self) -> str:
        return f"{self.tenant_id} may use {self.provider_id}"
