"""Testing a config calls the (simulated) provider over a real socket, outside of any transaction."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.db import transaction

from integrations.configs import services
from integrations.contracts.errors import Conflict
from integrations.http.client import NetworkInsideTransaction
from integrations.models import Alert, CallLog, Config, ConfigStatus, Tenant
from integrations.runtime.alerts import raise_alert
from integrations.simulators import running_simulators
from tests.factories import MovableClock, make_config

pytestmark = pytest.mark.django_db(transaction=True)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("provider", ["mpesa", "africastalking"])
def test_good_credentials(tenant: Tenant, simulators: running_simulators, clock: MovableClock, provider: str) -> None:
    config = make_config(tenant, provider)
    subject = f"{provider} {config.pk}"
    raise_alert(tenant_id=tenant.pk, kind="config_needs_attention", subject=subject, message="refused")
    outcome = services.test_config(config=config)
    assert (outcome.ok, outcome.status) == (True, "ok")
    stored = Config.unscoped.get(pk=config.pk)
    assert (stored.status, stored.status_detail, stored.tested_at) == (ConfigStatus.OK, outcome.detail, clock.moment)
    assert Alert.objects.get(subject=subject).resolved_at is not None
    assert CallLog.unscoped.filter(config=config, status="success").exists()


@pytest.mark.parametrize(
    ("provider", "secret"),
    [("mpesa", {"consumer_secret": "wrong-secret-canary"}), ("africastalking", {"api_key": "wrong-canary"})],
)
def test_refused_credentials(tenant: Tenant, simulators: running_simulators, provider: str, secret: dict[str, str]) -> None:
    config = make_config(tenant, provider, secret)
    outcome = services.test_config(config=config)
    assert (outcome.ok, outcome.status) == (False, "provider_authentication_failed")
    stored = Config.unscoped.get(pk=config.pk)
    assert (stored.status, stored.status_detail) == (ConfigStatus.NEEDS_ATTENTION, outcome.detail)
    assert "canary" not in outcome.detail


def test_a_provider_that_is_away_is_an_outcome(tenant: Tenant, settings: Any) -> None:
    settings.SIMULATOR_URL = f"http://127.0.0.1:{free_port()}"
    config = make_config(tenant, "africastalking")
    outcome = services.test_config(config=config)
    assert (outcome.ok, outcome.status) == (False, "provider_unavailable")
    assert Config.unscoped.get(pk=config.pk).status == ConfigStatus.FAILING


def test_a_config_edited_meanwhile_stays_untested(tenant: Tenant, simulators: running_simulators) -> None:
    config = make_config(tenant, "africastalking")
    services.update_config(config=config, values={"api_key": "another-one-entirely"})
    services.test_config(config=config)  # the row as it was read before the edit
    assert Config.unscoped.get(pk=config.pk).status == ConfigStatus.UNTESTED


def test_a_config_that_is_off_is_not_called(tenant: Tenant, simulators: running_simulators) -> None:
    config = make_config(tenant, "africastalking", is_active=False)
    with pytest.raises(Conflict):
        services.test_config(config=config)
    assert not CallLog.unscoped.exists()


def test_not_inside_a_transaction(tenant: Tenant, simulators: running_simulators) -> None:
    config = make_config(tenant, "africastalking")
    with pytest.raises(NetworkInsideTransaction), transaction.atomic():
        services.test_config(config=config)
    assert not CallLog.unscoped.exists()
    assert Config.unscoped.get(pk=config.pk).status == ConfigStatus.UNTESTED


def test_webhooks_are_registered_with_the_configs_own_urls(
    tenant: Tenant, simulators: running_simulators, settings: Any
) -> None:
    config = make_config(tenant, "mpesa")
    outcome = services.register_webhooks(config=config)
    assert (outcome.ok, outcome.status) == (True, "registered")
    school = simulators.simulator("mpesa").state()["accounts"][0]
    base = f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}"
    assert school["urls"]["confirmation"].startswith(base + "/")
    assert school["urls"]["validation"].startswith(base + "/")
