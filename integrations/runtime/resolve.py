"""Which config serves a call."""

from __future__ import annotations

from integrations.contracts.adapter import ConfigView
from integrations.contracts.errors import NotConfigured, UnsupportedOperation
from integrations.models import Config, PrimaryConfig, ProviderGrant
from integrations.models import Provider as ProviderRow
from integrations.registry import UnknownProvider, config_view, get_provider, global_view, providers_of
from integrations.runtime.jobs import Call


def resolve(call: Call, *, tenant_id: int) -> ConfigView:
    """Return the config by id, else the tenant's for the named provider, else its primary of the category, else its only
    one, else the installation's where the tenant is granted it. Raises `NotConfigured` naming what is missing,
    `UnsupportedOperation` for a config by id that can do something else only."""
    config = find_config(
        tenant_id=tenant_id,
        capability=call.capability.value,
        config_id=call.config_id,
        provider=call.provider,
        active_only=not call.in_flight,
    )
    if config is not None:
        if not _can(config.provider_id, call.capability.value):
            raise UnsupportedOperation(
                f"This account can't do {call.capability.value}.", provider=config.provider_id, attr="config"
            )
        return config_view(config)
    view = None if call.config_id is not None else _granted(tenant_id, call)
    if view is None:
        what = f"{call.capability.value} with {call.provider}" if call.provider else call.capability.value
        attr = "config" if call.config_id is not None else "provider"
        raise NotConfigured(f"No active config serves {what}.", provider=call.provider or "", attr=attr)
    return view


def find_config(
    *,
    tenant_id: int,
    capability: str,
    config_id: int | None = None,
    provider: str | None = None,
    active_only: bool = True,
) -> Config | None:
    """Return the tenant's own active config for a capability, or None. Without `active_only` a config that is named by its id
    may be switched off: what was begun there still has to end."""
    enabled = Config.unscoped.filter(tenant_id=tenant_id, provider__enabled=True)
    mine = enabled.filter(is_active=True)
    if config_id is not None:
        return (mine if active_only else enabled).filter(pk=config_id).first()
    primary = PrimaryConfig.unscoped.filter(tenant_id=tenant_id, category=capability).values_list("config_id", flat=True)
    if provider:
        if not _can(provider, capability):
            return None
        of_provider = mine.filter(provider_id=provider)
        own: Config | None = of_provider.filter(pk__in=primary).first() or of_provider.order_by("id").first()
        return own
    chosen: Config | None = mine.filter(pk__in=primary).first()
    if chosen is not None:
        return chosen
    able: list[Config] = list(mine.filter(provider_id__in=[p.slug for p in providers_of(capability)]).order_by("id")[:2])
    return able[0] if len(able) == 1 else None


def _can(provider: str, capability: str) -> bool:
    try:
        return capability in get_provider(provider).categories
    except UnknownProvider:
        return False


def _granted(tenant_id: int, call: Call) -> ConfigView | None:
    granted = set(ProviderGrant.unscoped.filter(tenant_id=tenant_id).values_list("provider_id", flat=True))
    enabled = set(ProviderRow.objects.filter(slug__in=granted, enabled=True).values_list("slug", flat=True))
    for provider in providers_of(call.capability.value):
        if provider.slug in enabled and call.provider in (None, "", provider.slug):
            view = global_view(provider, tenant_id)
            if view is not None:
                return view
    return None
