"""What a provider's ConfigSchema means for a stored config: cleaning, what is missing, which environments there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.provider import Provider
from integrations.contracts.schema import ConfigSchema, SchemaErrors
from integrations.models import Config
from integrations.registry import UnknownProvider, get_provider, providers_of

MASK = "••••"


def environments(provider: Provider) -> list[str]:
    """Return the environments a config of this provider may have here; the simulator's only in the demo."""
    found = [each.value for each in (Environment.PRODUCTION, Environment.SANDBOX) if each in provider.base_urls]
    if settings.DEMO and provider.simulator:
        found.append(Environment.SIMULATOR.value)
    return found


def check_environment(provider: Provider, environment: str) -> None:
    """Raise `InvalidRequest` (attr `environment`) for one that this provider has not, or not here."""
    allowed = environments(provider)
    if environment in allowed:
        return
    if environment == Environment.SIMULATOR.value and not settings.DEMO:
        raise InvalidRequest("Simulators exist in the demo only.", attr="environment")
    raise InvalidRequest(f"{provider.name} has these environments: {', '.join(allowed)}.", attr="environment")


def check_keys(provider: Provider, environment: str, values: Mapping[str, Any]) -> None:
    """Raise `SchemaErrors` for values that belong to another environment: live keys in a sandbox config, and the reverse.

    `values` holds plain values and secrets together; what is not there is not checked.
    """
    if provider.check_environment is None:
        return
    problems = provider.check_environment(values, Environment(environment))
    if problems:
        raise SchemaErrors(dict(problems))


def clean(
    provider: Provider, given: Mapping[str, Any], *, kept_secrets: Mapping[str, Any] | None = None, complete: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (plain values, secrets); raise `SchemaErrors`. Unless `complete`, fields may be missing, none may be wrong."""
    bad = {
        name: "looks like the masked form that the hub shows, not like the secret"
        for name in provider.config.secret_names
        if isinstance(given.get(name), str) and given[name].startswith(MASK)
    }
    bad |= {
        storable(name): "holds characters that can't be stored"
        for name, value in given.items()
        if storable(name) != name or (isinstance(value, str) and storable(value) != value)
    }
    if bad:
        raise SchemaErrors(bad)
    schema = provider.config if complete else ConfigSchema(*(replace(field, required=False) for field in provider.config))
    return schema.clean(given, kept_secrets=kept_secrets)


def storable(text: str) -> str:
    """Return the text without what neither PostgreSQL nor UTF-8 can hold: null characters and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def missing(config: Config) -> dict[str, str]:
    """Return {field: problem} of what keeps the config from being switched on; empty where it is complete."""
    try:
        provider = get_provider(config.provider_id)
        plain, secrets = provider.config.clean(config.values, kept_secrets=config.secrets())
        check_keys(provider, config.environment, {**plain, **secrets})
    except SchemaErrors as error:
        return error.errors
    except UnknownProvider:
        return {"provider": "is not installed any more"}
    return {}


def slugs_of(category: str) -> list[str]:
    """Return the slugs of the providers that serve the category."""
    return [provider.slug for provider in providers_of(category)]
