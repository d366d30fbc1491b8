"""Finds providers and turns a stored config into a ready adapter. The only module that imports provider folders.

A provider is a package below `integrations.providers` with a `provider.py` that defines `PROVIDER`, or an installed package
that names its `PROVIDER` in the entry-point group `integrations.providers`.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

import integrations.providers
from integrations.contracts.adapter import Adapter, Clock, ConfigView, HttpPort, TokenPort
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import NotConfigured, UnsupportedOperation
from integrations.contracts.inbound import WebhookAdapter
from integrations.contracts.provider import Provider
from integrations.contracts.schema import SchemaErrors
from integrations.models import Config
from integrations.models import Provider as ProviderRow

ENTRY_POINT_GROUP = "integrations.providers"


class UnknownProvider(LookupError):
    """No installed provider has this slug."""


@lru_cache(maxsize=1)
def providers() -> Mapping[str, Provider]:
    """Return every installed provider by slug, sorted; raise `ImproperlyConfigured` where two claim one slug."""
    found: dict[str, Provider] = {}
    packages = pkgutil.iter_modules(integrations.providers.__path__)
    declared = [import_module(f"integrations.providers.{info.name}.provider").PROVIDER for info in packages if info.ispkg] + [
        point.load() for point in entry_points(group=ENTRY_POINT_GROUP)
    ]
    for provider in declared:
        if provider.slug in found:
            raise ImproperlyConfigured(f"two providers have the slug {provider.slug!r}")
        found[provider.slug] = provider
    return dict(sorted(found.items()))


def get_provider(slug: str) -> Provider:
    """Return the declaration; raise `UnknownProvider`."""
    try:
        return providers()[slug]
    except KeyError:
        raise UnknownProvider(f"no provider {slug!r} is installed") from None


def providers_of(category: str) -> list[Provider]:
    """Return the providers that have this capability."""
    return [provider for provider in providers().values() if category in provider.categories]


@lru_cache(maxsize=1)
def webhook_adapters() -> Mapping[str, WebhookAdapter]:
    """Return the inbound side of every provider that has one, by slug."""
    found = {slug: provider.webhook_adapter() for slug, provider in providers().items()}
    return {slug: adapter for slug, adapter in found.items() if adapter is not None}


def simulators() -> list[type[Any]]:
    """Return the simulator class of every provider that has one."""
    return [found for provider in providers().values() if (found := provider.simulator_class()) is not None]


def sync_rows() -> None:
    """Write the registry into the database; what is no longer installed is marked, never deleted. One query where nothing has
    changed."""
    stored = ProviderRow.objects.in_bulk()
    for provider in providers().values():
        wanted = {
            "name": provider.name,
            "description": provider.description,
            "categories": provider.categories,
            "docs_url": provider.docs_url,
            "is_global": provider.is_global,
            "installed": True,
        }
        row = stored.get(provider.slug)
        if row is None or any(getattr(row, name) != value for name, value in wanted.items()):
            ProviderRow.objects.update_or_create(slug=provider.slug, defaults=wanted)
    ProviderRow.objects.filter(slug__in=[slug for slug in stored if slug not in providers()]).update(installed=False)


def base_url(provider: Provider, environment: Environment) -> str:
    """Return where the provider's API is in this environment; raise `UnsupportedOperation` where it has none there."""
    if environment is Environment.SIMULATOR:
        return f"{settings.SIMULATOR_URL}/{provider.slug}"
    try:
        return provider.base_urls[environment].rstrip("/")
    except KeyError:
        raise UnsupportedOperation(
            f"{provider.name} has no {environment.value} environment.", provider=provider.slug, attr="environment"
        ) from None


def config_view(config: Config) -> ConfigView:
    """Open a stored config for a call: defaults filled in, secrets unsealed."""
    try:
        provider = get_provider(config.provider_id)
    except UnknownProvider as error:
        raise NotConfigured("The provider of this config is not installed any more.", provider=config.provider_id) from error
    defaults = {field.name: field.default for field in provider.config if not field.secret and field.default is not None}
    environment = Environment(config.environment)
    return ConfigView(
        id=config.pk,
        tenant_id=config.tenant_id,
        provider=provider.slug,
        environment=environment,
        base_url=base_url(provider, environment),
        values={**{field.name: None for field in provider.config if not field.secret}, **defaults, **config.values},
        secrets={**dict.fromkeys(provider.config.secret_names), **config.secrets()},
        label=config.label,
        limits=config.limits,
    )


def _refuse_keys_of_another(provider: Provider, environment: Environment, values: Mapping[str, Any]) -> None:
    if provider.check_environment is not None and (wrong := provider.check_environment(values, environment)):
        raise SchemaErrors(dict(wrong))


def global_view(provider: Provider, tenant_id: int, environ: Mapping[str, str] | None = None) -> ConfigView | None:
    """Return the installation-wide config of a global provider from `PROVIDER_<SLUG>_<FIELD>`, or None where it is not set.

    `PROVIDER_<SLUG>_ENVIRONMENT` is `production` unless said otherwise. Raises `NotConfigured` where it is set badly.
    """
    if not provider.is_global:
        return None
    source = os.environ if environ is None else environ
    prefix = f"PROVIDER_{provider.slug.upper().replace('-', '_')}_"
    given = {f.name: source[prefix + f.name.upper()] for f in provider.config if prefix + f.name.upper() in source}
    if not given:
        return None
    try:
        values, secrets = provider.config.clean(given)
        environment = Environment(source.get(prefix + "ENVIRONMENT", Environment.PRODUCTION.value))
        _refuse_keys_of_another(provider, environment, {**values, **secrets})
    except SchemaErrors as error:
        names = ", ".join(prefix + name.upper() for name in error.errors)
        raise NotConfigured(f"The installation's account is set up wrongly: {names}.", provider=provider.slug) from error
    except ValueError as error:
        raise NotConfigured(f"{prefix}ENVIRONMENT is none of the environments.", provider=provider.slug) from error
    return ConfigView(
        id=None,
        tenant_id=tenant_id,
        provider=provider.slug,
        environment=environment,
        base_url=base_url(provider, environment),
        values={**{field.name: None for field in provider.config if not field.secret}, **values},
        secrets={**dict.fromkeys(provider.config.secret_names), **secrets},
        label="installation",
    )


def build_adapter(view: ConfigView, capability: Capability, *, http: HttpPort, tokens: TokenPort, clock: Clock) -> Adapter:
    """Return the provider's adapter for the capability; raise `UnsupportedOperation` where it has none."""
    provider = get_provider(view.provider)
    try:
        make: Callable[..., Adapter] = provider.adapter_class(capability)
    except KeyError:
        raise UnsupportedOperation(f"{provider.name} can't do {capability.value}.", provider=provider.slug) from None
    return make(config=view, http=http, tokens=tokens, clock=clock)
