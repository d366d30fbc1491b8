"""What registering our callback URLs at a provider brought: stored in the config, and remembered as done.

That it was done is kept as a reference whose external id is a digest of what was registered: other URLs, another
environment, or changed values of the account, and it counts as not done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.db import connection, transaction

from integrations.configs import routing, schemas
from integrations.contracts.adapter import Registration
from integrations.contracts.errors import BadReply, Conflict
from integrations.contracts.provider import Provider
from integrations.contracts.schema import ConfigSchema, SchemaErrors
from integrations.models import Config, ExternalReference
from integrations.registry import get_provider

KIND = "webhooks_registered"


@contextmanager
def one_at_a_time(config: Config) -> Iterator[None]:
    """Hold off a second registration of the same config: both would look, find nothing, and register twice.

    Raises `Conflict` while another one is under way. The lock belongs to the database session, so it ends with a process that
    dies, and no transaction is open meanwhile.
    """
    lock = int.from_bytes(hashlib.sha256(f"{KIND}:{config.pk}".encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        if not cursor.fetchone()[0]:
            raise Conflict("Its webhooks are being registered right now.", provider=config.provider_id)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])


def store(config: Config, registration: Registration) -> None:
    """Write the registration's fields into the stored config and into `config`; what was changed meanwhile in other fields
    is kept (then it does not count as done: it may be another account now), and so is the status. Secrets are sealed.

    Raises `Conflict` for a config that was removed or moved to another environment since it was read: what was registered
    is not its own. Raises `BadReply` for values that the provider's schema does not take. Both leave everything as it was.
    """
    provider = get_provider(config.provider_id)
    plain, secrets = _cleaned(provider, registration)
    with transaction.atomic():
        stored = Config.unscoped.select_for_update().filter(pk=config.pk, tenant_id=config.tenant_id).first()
        if stored is None:
            raise Conflict("The config was removed meanwhile.", provider=provider.slug)
        if stored.environment != config.environment:
            raise Conflict("The config was moved to another environment meanwhile: register again.", provider=provider.slug)
        same_account = (stored.values, stored.sealed) == (config.values, config.sealed)
        if plain or secrets:
            stored.values = {**stored.values, **plain}
            stored.set_secrets({**stored.secrets(), **secrets})
            stored.save(update_fields=["values", "sealed", "updated"])
            routing.write(stored, provider)
        if same_account:
            _remember(stored)
    config.values, config.sealed, config.updated = stored.values, stored.sealed, stored.updated


def is_registered(config: Config) -> bool:
    """Tell whether the URLs that the config has now were registered at the account that it has now."""
    found: bool = _marks(config).filter(external_id=_digest(config)).exists()
    return found


def forget(config: Config) -> None:
    """Let the registration count as not done: the config may be another account now."""
    _marks(config).delete()


def _cleaned(provider: Provider, registration: Registration) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (plain values, secrets), told apart by the schema and not by the adapter."""
    given = {**registration.values, **registration.secrets}
    try:
        stored = ConfigSchema(*(field for field in provider.config if field.name in given))
        return schemas.clean(replace(provider, config=stored), given)
    except SchemaErrors as error:
        text = f"The provider registered our URLs, but its answer could not be stored: {error}."
        raise BadReply(text, provider=provider.slug) from error


def _remember(config: Config) -> None:
    _marks(config).delete()
    ExternalReference(
        tenant_id=config.tenant_id,
        provider=config.provider_id,
        kind=KIND,
        external_id=_digest(config),
        config=config,
        object_type=routing.LABEL_TYPE,
        object_id=str(config.pk),
    ).save(force_insert=True)


def _marks(config: Config) -> Any:
    return ExternalReference.unscoped.filter(
        tenant_id=config.tenant_id, kind=KIND, object_type=routing.LABEL_TYPE, object_id=str(config.pk)
    )


def _digest(config: Config) -> str:
    urls = sorted(each.url for each in routing.callback_urls(config))
    return hashlib.sha256(json.dumps([config.environment, urls]).encode()).hexdigest()
