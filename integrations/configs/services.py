"""Creating, changing, choosing and removing a tenant's provider accounts.

An active config is always complete by its provider's schema; an inactive one may still lack fields (`schemas.missing`).
Secrets are write-only: a secret that is not given, or given empty, keeps its stored value; given as None it is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError

from integrations.configs import registrations, routing, schemas
from integrations.configs.checks import Outcome, register_webhooks, test_config
from integrations.configs.routing import CallbackUrl, callback_urls, fixed_urls
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.provider import Provider
from integrations.models import CallLog, Config, ConfigStatus, ExternalReference, OAuthToken, PrimaryConfig, Tenant
from integrations.models import Provider as ProviderRow
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.rate_limit import limits as own_limits
from integrations.secrets import SecretUnreadable
from integrations.tenancy import audit

__all__ = [
    "CallbackUrl",
    "Outcome",
    "callback_urls",
    "create_config",
    "delete_config",
    "fixed_urls",
    "register_webhooks",
    "set_primary",
    "test_config",
    "update_config",
]

MAX_LABEL = 100
EXPENDABLE = frozenset({"webhooks_inbound.InboundEndpoint"})
"""What goes with a config, by names of models: of packages that this one may not import."""


def create_config(
    *,
    tenant: Tenant,
    provider: str,
    environment: str,
    values: Mapping[str, Any],
    label: str = "",
    is_active: bool = True,
    limits: Mapping[str, Any] | None = None,
) -> Config:
    """Store a new account. `values` holds plain fields and secrets alike, by the names of the provider's schema; `limits` what
    it has in place of its provider's declared limits (`rate_limit.limits`).

    The only active config of a category becomes its primary. Raises `InvalidRequest` (attr `provider`, `environment`, `label`
    or `limits.<name>`) and `SchemaErrors` naming each bad field.
    """
    declared = _declared(provider, enabled=is_active)
    schemas.check_environment(declared, environment)
    _check_label(label)
    plain, secrets = schemas.clean(declared, values, complete=is_active)
    schemas.check_keys(declared, environment, {**plain, **secrets})
    config = Config(
        tenant=tenant,
        provider_id=declared.slug,
        label=label,
        environment=environment,
        values=plain,
        is_active=is_active,
        limits=own_limits.clean(limits or {}),
    )
    config.set_secrets(secrets)
    with transaction.atomic():
        _lock(tenant.pk)
        config.save(force_insert=True)
        routing.write(config, declared)
        _settle_primaries(tenant.pk, declared.categories)
        after = {**_facts(config), **dict.fromkeys((*plain, *secrets), True)}
        _record(config, "created", audit.differences({}, after, secret=frozenset((*plain, *secrets))))
    return config


def update_config(
    *,
    config: Config,
    values: Mapping[str, Any] | None = None,
    replace: bool = False,
    environment: str | None = None,
    label: str | None = None,
    is_active: bool | None = None,
    limits: Mapping[str, Any] | None = None,
) -> Config:
    """Change what is given and return the stored row. With `replace`, plain fields that are not given go back to empty, but
    for those that the provider assigned when webhooks were registered. `limits` replaces all of its own limits; {} leaves it
    those that its provider declares.

    Changed values make the config untested, drop its access token and what is known of its registration at the provider.
    Raises as `create_config`.
    """
    with transaction.atomic():
        _lock(config.tenant_id)
        stored = Config.unscoped.select_for_update().get(pk=config.pk, tenant_id=config.tenant_id)
        active = stored.is_active if is_active is None else is_active
        declared = _declared(stored.provider_id, enabled=active)
        before = (stored.environment, stored.values, _secrets(stored))
        facts = _facts(stored)
        if environment is not None:
            schemas.check_environment(declared, environment)
            stored.environment = environment
        if label is not None:
            _check_label(label)
            stored.label = label
        if limits is not None:
            stored.limits = own_limits.clean(limits)
        stored.is_active = active
        given = dict(values or {})
        kept = {name: value for name, value in before[2].items() if given.get(name, "") is not None}
        merged = {**_kept(stored, declared, replace=replace), **given}
        plain, secrets = schemas.clean(declared, merged, kept_secrets=kept, complete=active)
        stored.values = plain
        changed = (stored.environment, plain, secrets) != before
        if changed or active:  # what is wrong already can still be switched off
            schemas.check_keys(declared, stored.environment, {**plain, **secrets})
        if changed:
            stored.set_secrets(secrets)
            stored.status, stored.status_detail, stored.tested_at = ConfigStatus.UNTESTED, "", None
            OAuthToken.unscoped.filter(config_id=stored.pk).delete()
            registrations.forget(stored)
        stored.save()
        routing.write(stored, declared)
        _settle_primaries(stored.tenant_id, declared.categories)
        shown = audit.differences(facts, _facts(stored))
        values_changed, secrets_changed = _changed(before[1], plain), _changed(before[2], secrets)
        shown |= {name: [audit.MASKED, audit.MASKED] for name in sorted(values_changed | secrets_changed)}
        if shown:
            _record(stored, "credentials_changed" if secrets_changed else "updated", shown)
    return stored


def delete_config(*, config: Config) -> bool:
    """Remove the config and return True; where payments, messages or queued work refer to it, switch it off and return False.

    A kept config still receives what its provider reports about them.
    """
    with transaction.atomic():
        _lock(config.tenant_id)
        stored = Config.unscoped.select_for_update().get(pk=config.pk, tenant_id=config.tenant_id)
        categories, was_active = _categories(stored), stored.is_active
        gone = not _in_use(stored)
        if gone:
            try:
                with transaction.atomic():
                    stored.delete()
            except ProtectedError:  # referred to since we looked
                gone = False
        if not gone:
            stored.is_active = False
            stored.save(update_fields=["is_active", "updated"])
        _record(config, "deleted" if gone else "switched_off", {"is_active": [True, False]} if was_active else {})
        _settle_primaries(config.tenant_id, categories)
    return gone


def set_primary(*, config: Config, category: str | None = None) -> list[str]:
    """Make the config serve `category` (all of its provider's where none is named); return the categories.

    Raises `InvalidRequest` (attr `category`), `Conflict` for a config that is switched off.
    """
    able = _categories(config)
    if category is not None and category not in able:
        raise InvalidRequest(f"This provider does not serve {category}.", attr="category")
    chosen = able if category is None else [category]
    with transaction.atomic():
        _lock(config.tenant_id)
        if not Config.unscoped.filter(pk=config.pk, tenant_id=config.tenant_id, is_active=True).exists():
            raise Conflict("A config that is switched off can't be primary.")
        for each in chosen:
            PrimaryConfig.unscoped.update_or_create(
                tenant_id=config.tenant_id, category=each, defaults={"config_id": config.pk}
            )
        _record(config, "made_primary", {"categories": [None, chosen]})
    return chosen


def _kept(config: Config, provider: Provider, *, replace: bool) -> dict[str, Any]:
    assigned = {field.name for field in provider.config if field.assigned}
    return {name: value for name, value in config.values.items() if not replace or name in assigned}


def _secrets(config: Config) -> dict[str, Any]:
    """Return the stored secrets; none where they can't be read any more: then they must be entered again."""
    try:
        return config.secrets()
    except SecretUnreadable:
        return {}


def _facts(config: Config) -> dict[str, Any]:
    plain = {"label": config.label, "environment": config.environment, "is_active": config.is_active}
    return plain | {f"limits.{name}": config.limits.get(name) for name in own_limits.NAMES}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def _record(config: Config, what: str, changes: Mapping[str, Any]) -> None:
    """Write a change into the audit: of the fields of the account only which they were."""
    audit.record(
        tenant_id=config.tenant_id,
        action=f"config.{what}",
        object_type="config",
        object_id=str(config.pk),
        object_name=f"{config.provider_id} {config.label}".strip(),
        changes=changes,
    )


def _declared(slug: str, *, enabled: bool) -> Provider:
    try:
        declared = get_provider(slug)
    except UnknownProvider as error:
        raise InvalidRequest("No such provider is installed.", attr="provider") from error
    known = ProviderRow.objects.filter(slug=slug)
    if not (known.filter(enabled=True) if enabled else known).exists():
        raise InvalidRequest("This provider is switched off in this installation.", attr="provider")
    return declared


def _categories(config: Config) -> list[str]:
    try:
        return get_provider(config.provider_id).categories
    except UnknownProvider:
        return sorted(PrimaryConfig.unscoped.filter(config_id=config.pk).values_list("category", flat=True))


def _check_label(label: str) -> None:
    if len(label) > MAX_LABEL or "\0" in label:
        raise InvalidRequest(f"At most {MAX_LABEL} characters, without null characters.", attr="label")


def _lock(tenant_id: int) -> None:
    """One change of a tenant's configs at a time: primaries are decided by looking at all of them."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _settle_primaries(tenant_id: int, categories: Iterable[str]) -> None:
    """Drop primaries that are switched off; where a category has none and exactly one active config, that one it is."""
    PrimaryConfig.unscoped.filter(tenant_id=tenant_id, config__is_active=False).delete()
    for category in categories:
        if PrimaryConfig.unscoped.filter(tenant_id=tenant_id, category=category).exists():
            continue
        active = Config.unscoped.filter(tenant_id=tenant_id, is_active=True)
        able = list(active.filter(provider_id__in=schemas.slugs_of(category))[:2])
        if len(able) == 1:
            PrimaryConfig.unscoped.create(tenant_id=tenant_id, category=category, config=able[0])


def _in_use(config: Config) -> bool:
    """Tell whether anything refers to the config that must not lose it: all but its own settings and past log rows."""
    expendable = {each._meta.label for each in (PrimaryConfig, OAuthToken, CallLog)} | EXPENDABLE
    for relation in Config._meta.get_fields(include_hidden=True):
        if not (relation.auto_created and relation.is_relation and not relation.concrete):
            continue
        model = relation.related_model
        if not isinstance(model, type) or model._meta.label in expendable:
            continue
        rows = model._base_manager.filter(**{relation.field.name: config.pk})  # type: ignore[union-attr]
        if model is ExternalReference:
            rows = rows.exclude(object_type__in=[routing.OBJECT_TYPE, routing.LABEL_TYPE])
        if rows.exists():
            return True
    return False
