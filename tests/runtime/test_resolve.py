"""Which config serves a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import NotConfigured
from integrations.models import Config, PrimaryConfig, ProviderGrant, Tenant
from integrations.models import Provider as ProviderRow
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve
from tests.runtime.conftest import config_for
from tests.runtime.service import SLUG, Service

pytestmark = pytest.mark.django_db
Declare = Callable[..., Any]


def call(**fields: Any) -> Call:
    return Call(Capability.CRM, "ask", ("v",), **fields)


def chosen(tenant: Tenant, **fields: Any) -> int | None:
    return resolve(call(**fields), tenant_id=tenant.pk).id


def refused(tenant: Tenant, **fields: Any) -> str:
    with pytest.raises(NotConfigured) as caught:
        resolve(call(**fields), tenant_id=tenant.pk)
    return caught.value.message


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation's own account."""
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_ACCOUNT", "house")
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_API_KEY", "house-key-123")


def grant(tenant: Tenant) -> None:
    ProviderGrant.unscoped.create(tenant=tenant, provider_id=SLUG)


def test_the_only_config_serves(tenant: Tenant, config: Config) -> None:
    assert chosen(tenant) == config.pk
    assert chosen(tenant, provider=SLUG) == config.pk
    assert chosen(tenant, config_id=config.pk) == config.pk


def test_of_two_none_is_guessed_but_the_primary_serves(tenant: Tenant, config: Config) -> None:
    second = config_for(tenant, label="second")
    assert refused(tenant) == "No active config serves crm."
    PrimaryConfig.unscoped.create(tenant=tenant, category="crm", config=second)
    assert chosen(tenant) == second.pk
    assert chosen(tenant, provider=SLUG) == second.pk
    assert chosen(tenant, config_id=config.pk) == config.pk


def test_a_named_provider_without_primary_is_served_by_its_first(tenant: Tenant, config: Config) -> None:
    config_for(tenant, label="second")
    assert chosen(tenant, provider=SLUG) == config.pk


def test_a_primary_of_another_category_does_not_count(tenant: Tenant, config: Config) -> None:
    second = config_for(tenant, label="second")
    PrimaryConfig.unscoped.create(tenant=tenant, category="sms", config=second)
    assert refused(tenant) == "No active config serves crm."


@pytest.mark.parametrize("how", ["inactive", "provider_disabled"])
@pytest.mark.parametrize("named", [{}, {"provider": SLUG}, {"config_id": True}])
def test_what_is_switched_off_serves_nothing(tenant: Tenant, config: Config, how: str, named: dict[str, Any]) -> None:
    if how == "inactive":
        Config.unscoped.filter(pk=config.pk).update(is_active=False)
    else:
        ProviderRow.objects.filter(pk=SLUG).update(enabled=False)
    refused(tenant, **({"config_id": config.pk} if "config_id" in named else named))


def test_another_tenants_config_serves_nothing(tenant: Tenant, config: Config, other_tenant: Tenant) -> None:
    refused(other_tenant)
    refused(other_tenant, provider=SLUG)
    refused(other_tenant, config_id=config.pk)


def test_a_provider_that_lacks_the_capability_or_does_not_exist(tenant: Tenant, config: Config) -> None:
    assert refused(tenant, provider="mpesa") == "No active config serves crm with mpesa."
    assert refused(tenant, provider="nobody") == "No active config serves crm with nobody."


def test_the_installations_account_serves_who_is_granted_it_and_has_none(
    tenant: Tenant, provider: Declare, environment: None, service: Service
) -> None:
    refused(tenant)
    grant(tenant)

    view = resolve(call(), tenant_id=tenant.pk)

    assert (view.id, view.tenant_id, view.environment, view.base_url) == (None, tenant.pk, Environment.PRODUCTION, service.url)
    assert (view.account, view.api_key) == ("house", "house-key-123")
    assert execute(call(), tenant_id=tenant.pk) == "v"
    refused(tenant, config_id=1)


def test_an_own_config_goes_before_the_installations(tenant: Tenant, config: Config, environment: None) -> None:
    grant(tenant)
    assert chosen(tenant) == config.pk


def test_a_grant_alone_serves_nothing(tenant: Tenant, provider: Declare) -> None:
    grant(tenant)
    refused(tenant)


def test_a_provider_that_is_not_global_reads_no_environment(tenant: Tenant, provider: Declare, environment: None) -> None:
    provider(is_global=False)
    grant(tenant)
    refused(tenant)


def test_a_disabled_provider_is_not_granted(tenant: Tenant, provider: Declare, environment: None) -> None:
    grant(tenant)
    ProviderRow.objects.filter(pk=SLUG).update(enabled=False)
    refused(tenant)


def test_an_installation_account_set_up_badly_says_which_variable_and_no_value(
    tenant: Tenant, provider: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_SAMPLE_CRM_API_KEY", "house-key-123")
    grant(tenant)
    message = refused(tenant)
    assert "PROVIDER_SAMPLE_CRM_ACCOUNT" in message
    assert "house-key-123" not in message


def test_not_configured_sends_nothing(tenant: Tenant, provider: Declare, service: Service) -> None:
    with pytest.raises(NotConfigured):
        execute(call(), tenant_id=tenant.pk)
    assert service.received == []
