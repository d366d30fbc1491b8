"""How a provider's webhooks find a config: its own unguessable paths, and what fixed paths' bodies name it by."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from integrations.contracts.provider import Provider
from integrations.models import Config, ExternalReference
from integrations.registry import get_provider, webhook_adapters

OBJECT_TYPE = "config"
LABEL_TYPE = "config_label"
"""Object type of references that only note something of a config (what callers call it, what was registered): they go with
it."""


@dataclass(frozen=True, slots=True)
class CallbackUrl:
    """A URL for the provider to call, and what it is for, for the person who pastes it."""

    purpose: str
    url: str
    what: str


def write(config: Config, provider: Provider) -> None:
    """Make the config's external references say what its routing fields say now: no more, no less.

    They stay while the config is switched off: what a provider reports late still finds its tenant.
    """
    wanted = {(name, str(config.values[name])) for name in provider.routing_fields if config.values.get(name)}
    mine = ExternalReference.unscoped.filter(
        tenant_id=config.tenant_id, provider=provider.slug, object_type=OBJECT_TYPE, object_id=str(config.pk)
    )
    present = set()
    for row in mine:
        key = (row.kind, row.external_id)
        if key in wanted:
            present.add(key)
        else:
            row.delete()
    for kind, external_id in sorted(wanted - present):
        ExternalReference(
            tenant_id=config.tenant_id,
            provider=provider.slug,
            kind=kind,
            external_id=external_id,
            config=config,
            object_type=OBJECT_TYPE,
            object_id=str(config.pk),
        ).save(force_insert=True)


def callback_urls(config: Config) -> list[CallbackUrl]:
    """Return the URLs to give to the provider for this config, once; empty where it calls nobody.

    Raises `UnknownProvider` where the provider's code has gone.
    """
    adapter = webhook_adapters().get(get_provider(config.provider_id).slug)
    if adapter is None:
        return []
    base = f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}"
    return [CallbackUrl(purpose, f"{base}/{purpose}", what) for purpose, what in adapter.config_purposes.items()]


def fixed_urls(provider: Provider) -> list[CallbackUrl]:
    """Return the URLs that are the same for all tenants; a body that comes there is only a hint."""
    adapter = webhook_adapters().get(provider.slug)
    if adapter is None:
        return []
    return [
        CallbackUrl(fixed.purpose, f"{settings.PUBLIC_BASE_URL}{fixed.path}", f"Shared path ({', '.join(fixed.methods)})")
        for fixed in adapter.fixed_paths
    ]
