"""Reading: providers and configs as the API shows them. Nothing here opens a secret further than its last four characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count

from integrations.configs import schemas
from integrations.configs.features import matrix, operations
from integrations.configs.routing import callback_urls
from integrations.contracts.capabilities import Environment
from integrations.contracts.provider import Provider
from integrations.models import Config, PrimaryConfig, ProviderGrant, Tenant
from integrations.models import Provider as ProviderRow
from integrations.registry import UnknownProvider, get_provider, providers
from integrations.runtime.rate_limit.limits import described, in_force
from integrations.secrets import SecretUnreadable
from integrations.tenancy import addresses

UNREADABLE = "unreadable: enter it again"


def provider_list(*, tenant: Tenant, category: str | None = None) -> list[dict[str, Any]]:
    """Return the providers that are switched on in this installation, as this tenant sees them, by name."""
    enabled = set(ProviderRow.objects.filter(enabled=True, installed=True).values_list("slug", flat=True))
    shown = [
        each for each in providers().values() if each.slug in enabled and (category is None or category in each.categories)
    ]
    granted = set(ProviderGrant.unscoped.filter(tenant=tenant).values_list("provider_id", flat=True))
    rows = Config.unscoped.filter(tenant=tenant).order_by().values("provider_id").annotate(number=Count("pk"))
    counts = {row["provider_id"]: row["number"] for row in rows}
    return [
        provider_data(each, granted=each.slug in granted, configs=counts.get(each.slug, 0))
        for each in sorted(shown, key=lambda each: each.name.lower())
    ]


def provider_data(provider: Provider, *, granted: bool, configs: int) -> dict[str, Any]:
    return {
        "slug": provider.slug,
        "name": provider.name,
        "description": provider.description,
        "docs_url": provider.docs_url,
        "categories": provider.categories,
        "capabilities": [
            {"category": capability.value, "operations": operations(provider.adapter_class(capability))}
            for capability in provider.adapters
        ],
        "environments": schemas.environments(provider),
        "requirements": list(provider.requirements),
        "config_schema": provider.config.describe(),
        "features": matrix(provider),
        "is_global": provider.is_global,
        "granted": granted,
        "configs": configs,
    }


def config_data(config: Config, primary: Iterable[str], *, whole: bool) -> dict[str, Any]:
    """Return the config as the API shows it. `primary` are the categories that it serves first; `whole` shows its addresses
    to those who may know them."""
    try:
        categories = get_provider(config.provider_id).categories
        urls = {each.purpose: addresses.shown(each.url, whole=whole) for each in callback_urls(config)}
    except UnknownProvider:
        categories, urls = [], {}
    try:
        secrets, missing = config.masked_secrets(), schemas.missing(config)
    except SecretUnreadable:
        secrets, missing = {}, {"secrets": UNREADABLE}
    return {
        "id": config.pk,
        "provider": config.provider_id,
        "label": config.label,
        "environment": config.environment,
        "is_active": config.is_active,
        "categories": categories,
        "primary": sorted(primary),
        "values": config.values,
        "secrets": secrets,
        "missing": missing,
        "limits": config.limits,
        "limits_in_force": limits_in_force(config),
        "urls": urls,
        "status": config.status,
        "status_detail": config.status_detail,
        "tested_at": config.tested_at,
        "created": config.created,
        "updated": config.updated,
    }


def limits_in_force(config: Config) -> dict[str, Any] | None:
    """Return what the account may be asked for; None where its provider is not installed any more."""
    try:
        return described(in_force(get_provider(config.provider_id).rate_limit, config.limits))
    except UnknownProvider:
        return None


def configs_data(configs: Sequence[Config], *, whole: bool) -> list[dict[str, Any]]:
    """The same for many, with one query for all of their primaries."""
    primaries: dict[int, list[str]] = {config.pk: [] for config in configs}
    rows = PrimaryConfig.unscoped.filter(config_id__in=primaries).values_list("config_id", "category")
    for config_id, category in rows:
        primaries[config_id].append(category)
    return [config_data(config, primaries[config.pk], whole=whole) for config in configs]


def category_data(configs: Sequence[Config], category: str, *, whole: bool) -> list[dict[str, Any]]:
    """Return the configs as the API shows accounts of this one category."""
    return [
        {
            **shown,
            "mode": mode(config),
            "primary": category in shown["primary"],
            "features": _matrix(config),
        }
        for config, shown in zip(configs, configs_data(configs, whole=whole), strict=True)
    ]


def mode(config: Config) -> str:
    """Return `live` where real money moves, else `test`."""
    return "live" if config.environment == Environment.PRODUCTION.value else "test"


def _matrix(config: Config) -> dict[str, Any] | None:
    try:
        return matrix(get_provider(config.provider_id), config)
    except UnknownProvider:
        return None


def config_for_setup(*, tenant: Tenant, provider: str) -> Config | None:
    """Return the tenant's config that a set-up page is about when none is named: a primary one, else the oldest active."""
    mine = Config.unscoped.filter(tenant=tenant, provider_id=provider, is_active=True).order_by("pk")
    return mine.filter(primaries__isnull=False).first() or mine.first()
