"""Whose webhook is it? By the unguessable token in the path, or by what the body refers to."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import InboundRequest, WebhookAdapter
from integrations.models import Config, ExternalReference
from integrations.registry import config_view, webhook_adapters
from webhooks.inbound.models import InboundEndpoint

GENERIC = "generic"
"""What stands as `provider` where the tenant described the source itself."""

ENDPOINT = "inbound_endpoint"


@dataclass(frozen=True, slots=True)
class Owner:
    """Tenant, config, way in and object that a request belongs to; all empty where nobody was found."""

    provider: str
    tenant_id: int | None = None
    config: Config | None = None
    token_object: str = ""
    endpoint: InboundEndpoint | None = None

    def view(self) -> ConfigView | None:
        return config_view(self.config) if self.config is not None else None


def by_token(token: str) -> Owner | None:
    """Return whom the path's token belongs to, or None."""
    config = Config.unscoped.select_related("tenant").filter(hook_token=token).first()
    if config is not None:
        return _of_config(config)
    found = ExternalReference.unscoped.select_related("config", "tenant").filter(kind="hook_token", external_id=token).first()
    if found is not None:
        if not found.tenant.is_active:
            return None
        endpoint = way_in(found.config)
        return Owner(found.provider, found.tenant_id, found.config, f"{found.object_type}:{found.object_id}", endpoint)
    return _of_endpoint(token)


def _of_config(config: Config) -> Owner | None:
    if not config.tenant.is_active:
        return None
    return Owner(config.provider_id, config.tenant_id, config, endpoint=way_in(config))


def _of_endpoint(token: str) -> Owner | None:
    """Return the owner of a generic source's path, or of a provider's former one in its overlap."""
    rows = InboundEndpoint.unscoped.select_related("tenant", "config__tenant").filter(deleted_at__isnull=True)
    found: InboundEndpoint | None = rows.filter(token=token, config__isnull=True).first()
    if found is not None:
        whose = f"{ENDPOINT}:{found.pk}"
        return Owner(GENERIC, found.tenant_id, None, whose, found) if found.tenant.is_active else None
    found = rows.filter(previous_token=token, previous_until__gt=clock.now(), config__isnull=False).first()
    return _of_config(found.config) if found is not None and found.config is not None else None


def way_in(config: Config | None) -> InboundEndpoint | None:
    """Return the row that counts, restricts and rotates what comes in for this account, made if need be; None where its
    provider has no address to give out."""
    if config is None or not has_way_in(config.provider_id):
        return None
    row: InboundEndpoint | None = InboundEndpoint.unscoped.filter(config_id=config.pk).first()
    if row is None:
        fields = {"tenant_id": config.tenant_id, "name": str(config)[:100]}
        row, _ = InboundEndpoint.unscoped.get_or_create(config_id=config.pk, defaults=fields)
    return row


def has_way_in(provider: str) -> bool:
    """Tell whether accounts of this provider have an address of their own for webhooks."""
    adapter = webhook_adapters().get(provider)
    return adapter is not None and bool(adapter.config_purposes)


def by_content(provider: str, adapter: WebhookAdapter, request: InboundRequest) -> Owner:
    """Return whom the body refers to. An id that several tenants have names nobody: a guess could cross tenants."""
    for locator in adapter.locate(request):
        if not _is_storable(locator.external_id):
            continue  # no row can hold it, and PostgreSQL would not even look
        found = list(
            ExternalReference.unscoped.select_related("config")
            .filter(provider=provider, kind=locator.kind, external_id=locator.external_id, tenant__is_active=True)
            .order_by("id")[:20]
        )
        if len({reference.tenant_id for reference in found}) == 1:
            configs = {reference.config_id for reference in found}
            config = found[0].config if len(configs) == 1 else None
            return Owner(provider, found[0].tenant_id, config, endpoint=way_in(config))
    return Owner(provider)


def _is_storable(text: str) -> bool:
    return "\x00" not in text and text.encode("utf-8", "replace").decode() == text
