"""Whose webhook is it? By the unguessable token in the path, or by what the body refers to."""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import InboundRequest, WebhookAdapter
from integrations.models import Config, ExternalReference
from integrations.registry import config_view


@dataclass(frozen=True, slots=True)
class Owner:
    """Tenant, config and object that a request belongs to; all empty where nobody was found."""

    provider: str
    tenant_id: int | None = None
    config: Config | None = None
    token_object: str = ""

    def view(self) -> ConfigView | None:
        return config_view(self.config) if self.config is not None else None


def by_token(token: str) -> Owner | None:
    """Return whom the path's token belongs to, or None."""
    config = Config.unscoped.select_related("tenant").filter(hook_token=token).first()
    if config is not None:
        return Owner(config.provider_id, config.tenant_id, config) if config.tenant.is_active else None
    found = ExternalReference.unscoped.select_related("config", "tenant").filter(kind="hook_token", external_id=token).first()
    if found is None or not found.tenant.is_active:
        return None
    return Owner(found.provider, found.tenant_id, found.config, f"{found.object_type}:{found.object_id}")


def by_content(provider: str, adapter: WebhookAdapter, request: InboundRequest) -> Owner:
    """Return whom the body refers to. An id that several tenants have names nobody: a guess could cross tenants."""
    for locator in adapter.locate(request):
        found = list(
            ExternalReference.unscoped.select_related("config")
            .filter(provider=provider, kind=locator.kind, external_id=locator.external_id, tenant__is_active=True)
            .order_by("id")[:20]
        )
        if len({reference.tenant_id for reference in found}) == 1:
            configs = {reference.config_id for reference in found}
            config = found[0].config if len(configs) == 1 else None
            return Owner(provider, found[0].tenant_id, config)
    return Owner(provider)
