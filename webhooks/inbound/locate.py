"""Whose webhook is it? By the unguessable token in the path, or by what the body refers to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from django.db.models.expressions import RawSQL

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import InboundRequest, WebhookAdapter
from integrations.models import Config, ExternalReference
from integrations.registry import config_view, webhook_adapters
from webhooks.inbound import versions
from webhooks.inbound.models import InboundEndpoint

GENERIC = "generic"
"""What stands as `provider` where the tenant described the source itself."""

ENDPOINT = "inbound_endpoint"
HOOK_TOKEN = "hook_token"  # noqa: S105 a kind of reference, not a token


@dataclass(frozen=True)
class Owner:
    """Tenant, config, way in and object that a request belongs to; all empty where nobody was found.

    `read_as` are the versions of config and way in where both were found by the path's token: what is `remembered` counts only
    while the rows have these still (see `known.py`).
    """

    provider: str
    tenant_id: int | None = None
    config: Config | None = None
    token_object: str = ""
    endpoint: InboundEndpoint | None = None
    read_as: tuple[str, str] = ("", "")
    remembered: bool = False

    @cached_property
    def _view(self) -> ConfigView | None:
        return config_view(self.config) if self.config is not None else None

    def view(self) -> ConfigView | None:
        return self._view


def by_token(token: str) -> Owner | None:
    """Return whom the path's token belongs to, or None. One look-up for a payment's own path, which is used but once."""
    rows = ExternalReference.unscoped.select_related("tenant", "config__inbound_endpoint")
    found = rows.filter(kind=HOOK_TOKEN, external_id=token).first()
    if found is not None:
        if not found.tenant.is_active:
            return None
        endpoint = way_in(found.config)
        return Owner(found.provider, found.tenant_id, found.config, f"{found.object_type}:{found.object_id}", endpoint)
    configs = Config.unscoped.select_related("tenant", "inbound_endpoint")
    config = configs.annotate(read_as=_READ_AS, way_in_read_as=_WAY_IN_READ_AS).filter(hook_token=token).first()
    return _of_config(config) if config is not None else _of_endpoint(token)


_READ_AS = RawSQL(versions.of_config(Config._meta.db_table), [])  # noqa: S611 made of names of our own
_WAY_IN_READ_AS = RawSQL(versions.of_way_in(InboundEndpoint._meta.db_table), [])  # noqa: S611 likewise


def _of_config(config: Config) -> Owner | None:
    if not config.tenant.is_active:
        return None
    read_as, endpoint = (getattr(config, "read_as", ""), getattr(config, "way_in_read_as", "")), way_in(config)
    if endpoint is not None and not read_as[1]:  # it was only made now
        read_as = ("", "")
    return Owner(config.provider_id, config.tenant_id, config, endpoint=endpoint, read_as=read_as)


def _of_endpoint(token: str) -> Owner | None:
    """Return the owner of a generic source's path, or of a provider's former one in its overlap."""
    rows = InboundEndpoint.unscoped.filter(deleted_at__isnull=True)
    sources = rows.select_related("tenant").annotate(read_as=_WAY_IN_READ_AS)
    found: InboundEndpoint | None = sources.filter(token=token, config__isnull=True).first()
    if found is not None:
        if not found.tenant.is_active:
            return None
        return Owner(GENERIC, found.tenant_id, None, f"{ENDPOINT}:{found.pk}", found, ("", found.read_as))  # type: ignore[attr-defined]
    former = rows.select_related("config__tenant", "config__inbound_endpoint")
    found = former.filter(previous_token=token, previous_until__gt=clock.now(), config__isnull=False).first()
    return _of_config(found.config) if found is not None and found.config is not None else None


def way_in(config: Config | None) -> InboundEndpoint | None:
    """Return the row that counts, restricts and rotates what comes in for this account, made if need be; None where its
    provider has no address to give out."""
    if config is None or not has_way_in(config.provider_id):
        return None
    try:
        row: InboundEndpoint = config.inbound_endpoint
    except InboundEndpoint.DoesNotExist:
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
            ExternalReference.unscoped.select_related("config__inbound_endpoint")
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
