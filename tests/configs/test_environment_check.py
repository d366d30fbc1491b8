"""Live keys in a sandbox config, and the reverse, are refused wherever a config is written; nothing is stored then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.configs import schemas, services
from integrations.configs.forms import ConfigForm, config_form_class
from integrations.contracts.errors import NotConfigured
from integrations.contracts.schema import SchemaErrors
from integrations.models import Config, Tenant
from integrations.registry import global_view
from tests.configs.sample_fixtures import gateway, sample_config
from tests.configs.sample_gateway import LIVE_KEY, PROVIDER, SLUG, TEST_KEY

__all__ = ["gateway"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("gateway")]
BASE = "/api/v1/integrations/configs"


def stored(config: Config) -> tuple[Any, ...]:
    row = Config.unscoped.get(pk=config.pk)
    return row.environment, row.values, row.secrets(), row.is_active, row.label, row.updated


@pytest.mark.parametrize(("environment", "key"), [("sandbox", LIVE_KEY), ("production", TEST_KEY)])
@pytest.mark.parametrize("active", [True, False])
def test_a_new_config(tenant: Tenant, environment: str, key: str, active: bool) -> None:
    with pytest.raises(SchemaErrors) as caught:
        sample_config(tenant, environment=environment, values={"secret_key": key}, is_active=active)
    assert caught.value.errors == {"secret_key": f"is no key for {environment}"}
    assert not Config.unscoped.exists()


def test_keys_of_the_right_kind_are_taken(tenant: Tenant) -> None:
    assert sample_config(tenant).environment == "sandbox"
    assert sample_config(tenant, environment="production", values={"secret_key": LIVE_KEY}).is_active


def test_an_incomplete_config_is_checked_for_what_is_there(tenant: Tenant) -> None:
    config = services.create_config(tenant=tenant, provider=SLUG, environment="sandbox", values={}, is_active=False)
    before = stored(config)
    with pytest.raises(SchemaErrors):
        services.update_config(config=config, values={"secret_key": LIVE_KEY})
    assert stored(config) == before


def test_changing_the_environment_alone_checks_the_stored_key(tenant: Tenant) -> None:
    config = sample_config(tenant)
    before = stored(config)
    with pytest.raises(SchemaErrors) as caught:
        services.update_config(config=config, environment="production")
    assert caught.value.errors == {"secret_key": "is no key for production"}
    assert stored(config) == before
    services.update_config(config=config, environment="production", values={"secret_key": LIVE_KEY})
    assert stored(config)[:3] == ("production", {"multicapture": False}, {"secret_key": LIVE_KEY})


def test_what_is_wrong_already_is_missing_and_can_be_switched_off_but_not_on(tenant: Tenant) -> None:
    config = sample_config(tenant)
    Config.unscoped.filter(pk=config.pk).update(environment="production")  # as if the rule came later
    config.refresh_from_db()
    assert schemas.missing(config) == {"secret_key": "is no key for production"}
    services.update_config(config=config, is_active=False, label="old")
    assert stored(config)[3:5] == (False, "old")
    with pytest.raises(SchemaErrors):
        services.update_config(config=config, is_active=True)
    assert stored(config)[3] is False


def test_through_the_api(admin_api: APIClient, tenant: Tenant) -> None:
    given = {"provider": SLUG, "environment": "sandbox", "values": {"secret_key": LIVE_KEY}}
    refused = admin_api.post(BASE, given)
    assert refused.status_code == 400
    assert [each["attr"] for each in refused.json()["errors"]] == ["values.secret_key"]
    assert LIVE_KEY not in refused.content.decode()
    assert not Config.unscoped.exists()
    config = sample_config(tenant)
    before = stored(config)
    for method, body in (("patch", {"environment": "production"}), ("put", {"environment": "production", "values": {}})):
        changed = getattr(admin_api, method)(f"{BASE}/{config.pk}", body)
        assert (changed.status_code, changed.json()["errors"][0]["attr"]) == (400, "values.secret_key")
    assert stored(config) == before


def form(config: Config | None, tenant: Tenant, **changes: str) -> ConfigForm:
    data = {"tenant": str(tenant.pk), "label": "", "environment": "sandbox", "is_active": "on", "value_secret_key": ""}
    return config_form_class(PROVIDER)({**data, **changes}, instance=config)


def test_through_the_admin_form(tenant: Tenant) -> None:
    new = form(None, tenant, value_secret_key=LIVE_KEY)
    assert not new.is_valid()
    assert dict(new.errors) == {"value_secret_key": ["is no key for sandbox"]}
    config = sample_config(tenant)
    moved = form(config, tenant, environment="production")
    assert not moved.is_valid()
    assert dict(moved.errors) == {"value_secret_key": ["is no key for production"]}
    inactive = form(None, tenant, value_secret_key=LIVE_KEY, is_active="")
    assert not inactive.is_valid()
    assert form(None, tenant, value_secret_key=TEST_KEY).is_valid()


def test_the_form_still_switches_off_what_is_wrong_already(tenant: Tenant) -> None:
    config = sample_config(tenant)
    Config.unscoped.filter(pk=config.pk).update(environment="production")
    config.refresh_from_db()
    off = form(config, tenant, environment="production", is_active="")
    assert off.is_valid(), off.errors
    off.save()
    assert stored(config)[3] is False


def test_the_installations_own_account(tenant: Tenant) -> None:
    installed = replace(PROVIDER, is_global=True)
    given = {"PROVIDER_SAMPLE_PAY_SECRET_KEY": TEST_KEY}
    with pytest.raises(NotConfigured, match="PROVIDER_SAMPLE_PAY_SECRET_KEY"):
        global_view(installed, tenant.pk, given)
    view = global_view(installed, tenant.pk, {**given, "PROVIDER_SAMPLE_PAY_ENVIRONMENT": "sandbox"})
    assert view is not None
    assert view.secret_key == TEST_KEY
