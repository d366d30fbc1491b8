"""Which config serves a call."""

from __future__ import annotations

from typing import Any

from django.db import connection

from integrations.contracts.adapter import ConfigView
from integrations.contracts.errors import NotConfigured, UnsupportedOperation
from integrations.models import Config, PrimaryConfig, ProviderGrant
from integrations.models import Provider as ProviderRow
from integrations.registry import UnknownProvider, config_view, get_provider, global_view, providers_of
from integrations.runtime.jobs import Call
from integrations.runtime.statements import read_row


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
    if config_id is not None:
        which = "config.id = %s AND (config.is_active OR %s)"
        return _first(tenant_id, capability, which, [config_id, not active_only])
    if provider:
        if not _can(provider, capability):
            return None
        return _first(tenant_id, capability, "config.is_active AND config.provider_id = %s", [provider])
    able = [each.slug for each in providers_of(capability)]
    found = _read(tenant_id, capability, f"config.is_active AND (config.provider_id = ANY(%s) OR {_IS_PRIMARY})", [able], 2)
    return found[0][0] if found and (len(found) == 1 or found[0][1]) else None


_FIELDS = tuple(Config._meta.concrete_fields)
_NAMES = [each.attname for each in _FIELDS]
_IS_PRIMARY = "mine.id IS NOT NULL"
_READ = (
    f"SELECT {', '.join(f'config.{each.column}' for each in _FIELDS)}, {_IS_PRIMARY} "  # noqa: S608 names of our own
    f'FROM "{Config._meta.db_table}" AS config '
    f'JOIN "{ProviderRow._meta.db_table}" AS provider ON provider.slug = config.provider_id AND provider.enabled '
    f'LEFT JOIN "{PrimaryConfig._meta.db_table}" AS mine '
    "ON mine.tenant_id = config.tenant_id AND mine.category = %s AND mine.config_id = config.id "
)
"""Each call to a provider begins with this: written out, since the ORM takes longer to ask than the database to answer."""


def _first(tenant_id: int, capability: str, which: str, values: list[Any]) -> Config | None:
    found = _read(tenant_id, capability, which, values, 1)
    return found[0][0] if found else None


def _read(tenant_id: int, capability: str, which: str, values: list[Any], limit: int) -> list[tuple[Config, bool]]:
    """Return the tenant's configs of enabled providers `which` is true of, the primary one of the capability first, then the
    oldest; and whether each is the primary one."""
    query = f"{_READ} WHERE config.tenant_id = %s AND {which} ORDER BY {_IS_PRIMARY} DESC, config.id LIMIT {limit}"
    with connection.cursor() as cursor:
        cursor.execute(query, [capability, tenant_id, *values])
        rows = cursor.fetchall()
    return [(read_row(Config, _FIELDS, _NAMES, row[:-1]), row[-1]) for row in rows]


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
