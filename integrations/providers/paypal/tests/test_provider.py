"""The declaration: which configs are taken, which are refused and for which field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.schema import SchemaErrors
from integrations.providers.paypal.adapter import PaypalPayments
from integrations.providers.paypal.provider import CONFIG, PROVIDER, check_environment
from integrations.providers.paypal.simulator import PaypalSimulator
from integrations.providers.paypal.simulator.authority import authority_pem
from integrations.providers.paypal.tests.support import view
from integrations.providers.paypal.webhook import PaypalWebhook

LEAST = {"client_id": "AeA1QIZXiflr1_-client", "client_secret": "EC-canary"}


def test_least_config() -> None:
    assert CONFIG.clean(LEAST) == ({"client_id": LEAST["client_id"], "vault": False}, {"client_secret": "EC-canary"})


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"client_id": ""}, {"client_id"}),
        ({"client_id": "short"}, {"client_id"}),
        ({"client_secret": ""}, {"client_secret"}),
        ({"webhook_id": "WEBHOOK_ID"}, {"webhook_id"}),
        ({"webhook_id": "with|pipe"}, {"webhook_id"}),
        ({"vault": "yes"}, {"vault"}),
        ({"soft_descriptor": "longer than twenty-two characters"}, {"soft_descriptor"}),
        ({"brand_name": "x" * 128}, {"brand_name"}),
        ({"merchant_country": "Kenya"}, {"merchant_country"}),
        ({"simulator_ca": "no certificate"}, {"simulator_ca"}),
        ({"colour": "blue"}, {"colour"}),
    ],
)
def test_refused_configs_name_the_field(changed: dict[str, Any], wrong: set[str]) -> None:
    with pytest.raises(SchemaErrors) as caught:
        CONFIG.clean({**LEAST, **changed})
    assert set(caught.value.errors) == wrong


def test_the_simulators_authority_is_for_the_simulator_only(certificates: Path) -> None:
    authority = authority_pem(certificates).decode()
    plain, _secrets = CONFIG.clean({**LEAST, "simulator_ca": authority})
    assert check_environment(plain, Environment.SIMULATOR) == {}
    for environment in (Environment.SANDBOX, Environment.PRODUCTION):
        assert set(check_environment(plain, environment)) == {"simulator_ca"}
        assert check_environment(LEAST, environment) == {}


def test_references_of_the_declaration_load() -> None:
    assert PROVIDER.adapter_class(Capability.PAYMENT) is PaypalPayments
    assert isinstance(PROVIDER.webhook_adapter(), PaypalWebhook)
    assert PROVIDER.simulator_class() is PaypalSimulator


def test_the_matrix_follows_the_account() -> None:
    plain = PaypalPayments.features_for(view())
    assert {"setup", "off_session"} & plain.operations == set()
    assert "BRL" not in plain.currencies
    brazil = PaypalPayments.features_for(view(vault=True, merchant_country="BR"))
    assert {"setup", "off_session"} <= brazil.operations
    assert "BRL" in brazil.currencies
    assert "transactions" not in brazil.operations
    assert set(plain.notes or {}) >= {"transactions", "cancel", "setup"}
