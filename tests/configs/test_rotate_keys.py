"""Rotation: everything sealed gets the newest key, online and resumable; nothing is lost where a key is missing."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from integrations.management.commands import rotate_keys
from integrations.models import Config, OAuthToken, Tenant
from integrations.models.base import TenantOwned
from integrations.secrets import generate_key, key_id_of, open_sealed, seal
from tests.factories import make_config, make_endpoint, make_source
from webhooks.inbound.generic.receiving import verify_token

pytestmark = pytest.mark.django_db
SECRET = "atsk_0123456789abcdef"
OLD, NEW = generate_key("old"), generate_key("new")


def rotate(*arguments: str) -> str:
    out = StringIO()
    call_command("rotate_keys", *arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def config(tenant: Tenant, settings: Any) -> Config:
    settings.ENCRYPTION_KEYS = OLD
    config = make_config(tenant, "africastalking", {"api_key": SECRET})
    OAuthToken.unscoped.create(tenant=tenant, config=config, sealed=seal(tenant.pk, "token-1"))
    settings.ENCRYPTION_KEYS = f"{NEW},{OLD}"
    return config


def stored(config: Config) -> Config:
    return Config.unscoped.get(pk=config.pk)


def test_every_sealed_column_is_found() -> None:
    found = {(model._meta.label, name) for model, name in rotate_keys.sealed_columns()}
    assert {
        ("integrations.Config", "sealed"),
        ("integrations.OAuthToken", "sealed"),
        ("webhooks_outbound.Endpoint", "sealed_headers"),
        ("webhooks_outbound.Endpoint", "sealed_secrets"),
        ("webhooks_inbound.InboundEndpoint", "sealed_secrets"),
        ("webhooks_inbound.InboundEndpoint", "sealed_verify_token"),
    } <= found
    declared = {(model._meta.label, name) for model in apps.get_models() for name in getattr(model, "sealed_fields", ())}
    assert declared <= found
    # What one of these columns holds opens under its row's tenant.
    models = [model for model, _ in rotate_keys.sealed_columns()]
    assert all(issubclass(model, TenantOwned) for model in models)


def test_all_is_sealed_anew_and_opens_without_the_old_key(tenant: Tenant, config: Config, settings: Any) -> None:
    told = rotate()
    assert "integrations.Config.sealed: 0 current, 1 rotated, 0 changed meanwhile, 0 unreadable" in told
    assert key_id_of(stored(config).sealed) == "new"
    settings.ENCRYPTION_KEYS = NEW
    assert stored(config).secrets() == {"api_key": SECRET}
    assert open_sealed(tenant.pk, OAuthToken.unscoped.get().sealed) == "token-1"
    assert "integrations.Config.sealed: 1 current, 0 rotated, 0 changed meanwhile, 0 unreadable" in rotate()


def test_a_sources_secrets_and_word_are_rotated_too(tenant: Tenant, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = OLD
    source, secret = make_source(tenant, options={"handshake": "meta", "verify_token": "our-own-word"})
    settings.ENCRYPTION_KEYS = f"{NEW},{OLD}"
    rotate()
    settings.ENCRYPTION_KEYS = NEW
    source.refresh_from_db(from_queryset=type(source).unscoped.all())
    assert [each["secret"] for each in source.secrets()] == [secret]
    assert verify_token(source) == "our-own-word"
    assert source.options == {"handshake": "meta"}


def test_endpoint_secrets_are_rotated_too(tenant: Tenant, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = OLD
    endpoint = make_endpoint(tenant, headers={"X-Shop": "sealed-too"})
    before = endpoint.signing_keys()
    settings.ENCRYPTION_KEYS = f"{NEW},{OLD}"
    rotate()
    settings.ENCRYPTION_KEYS = NEW
    endpoint.refresh_from_db(from_queryset=type(endpoint).unscoped.all())
    assert (endpoint.signing_keys(), endpoint.headers()) == (before, {"X-Shop": "sealed-too"})


def test_a_dry_run_changes_nothing(config: Config) -> None:
    before = stored(config).sealed
    assert "integrations.Config.sealed: 0 current, 1 to rotate" in rotate("--dry-run")
    assert stored(config).sealed == before


def test_what_can_not_be_read_stays_and_the_rest_is_rotated(tenant: Tenant, config: Config, settings: Any) -> None:
    settings.ENCRYPTION_KEYS = generate_key("lost")
    lost = make_config(tenant, "mpesa")
    before = stored(lost).sealed
    settings.ENCRYPTION_KEYS = f"{NEW},{OLD}"
    with pytest.raises(CommandError, match="1 values can't be read"):
        rotate()
    assert stored(lost).sealed == before
    assert key_id_of(stored(config).sealed) == "new"


def test_a_value_written_meanwhile_is_left_to_its_writer(
    tenant: Tenant, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seal_while_somebody_edits(tenant_id: int, value: Any) -> str:
        if isinstance(value, dict):
            Config.unscoped.filter(pk=config.pk).update(sealed=seal(tenant_id, {"api_key": "edited-meanwhile"}))
        return seal(tenant_id, value)

    monkeypatch.setattr(rotate_keys, "seal", seal_while_somebody_edits)
    assert "integrations.Config.sealed: 0 current, 0 rotated, 1 changed meanwhile, 0 unreadable" in rotate()
    assert stored(config).secrets() == {"api_key": "edited-meanwhile"}


def test_batches(tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate_keys, "BATCH", 2)
    settings.ENCRYPTION_KEYS = OLD
    for number in range(5):
        make_config(tenant, "africastalking", label=str(number))
    settings.ENCRYPTION_KEYS = f"{NEW},{OLD}"
    assert "integrations.Config.sealed: 0 current, 5 rotated" in rotate()
