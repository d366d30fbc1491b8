"""The declaration: which configs are taken, which are refused and for which field."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.schema import SchemaErrors
from integrations.providers.mpesa.adapter import MpesaPayments
from integrations.providers.mpesa.provider import CONFIG, PROVIDER
from integrations.providers.mpesa.tests.support import SECRETS, key_pair
from integrations.providers.mpesa.webhook import MpesaWebhook

LEAST = {"shortcode": "174379", "consumer_key": "k", "consumer_secret": "s", "passkey": "p"}


def test_least_config_gets_the_defaults() -> None:
    plain, secrets = CONFIG.clean(LEAST)
    assert plain == {
        "product": "paybill",
        "shortcode": "174379",
        "callback_ip_check": "log",
        "c2b_response_type": "Completed",
        "c2b_accounts": "any",
        "stk_max": 250_000,
    }
    assert secrets == {"consumer_key": "k", "consumer_secret": "s", "passkey": "p"}


def test_a_till_with_an_initiator() -> None:
    given = {
        **LEAST,
        "product": "till",
        "store_number": "600426",
        "initiator_name": "testapi",
        "initiator_password": SECRETS["initiator_password"],
        "certificate": key_pair()[1],
        "callback_ips": "196.201.214.0/24, 10.0.0.1",
        "callback_ip_check": "enforce",
    }
    plain, secrets = CONFIG.clean(given)
    assert (plain["store_number"], plain["initiator_name"]) == ("600426", "testapi")
    assert secrets["initiator_password"] == "Canary#2026"
    assert CONFIG.secret_names == {"consumer_key", "consumer_secret", "passkey", "initiator_password"}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"shortcode": "17437a"}, {"shortcode"}),
        ({"shortcode": ""}, {"shortcode"}),
        ({"passkey": ""}, {"passkey"}),
        ({"product": "b2c"}, {"product"}),
        ({"product": "till"}, {"store_number"}),
        ({"initiator_name": "testapi"}, {"initiator_password", "certificate"}),
        ({"initiator_password": "x#1"}, {"initiator_name", "certificate"}),
        ({"initiator_name": "a", "initiator_password": "with(bracket"}, {"initiator_password"}),
        ({"initiator_name": "a", "initiator_password": "with)bracket"}, {"initiator_password"}),
        ({"certificate": "not a certificate"}, {"certificate"}),
        ({"callback_ips": "196.201.214.200, somewhere"}, {"callback_ips"}),
        ({"callback_ip_check": "maybe"}, {"callback_ip_check"}),
        ({"c2b_response_type": "completed"}, {"c2b_response_type"}),
        ({"c2b_accounts": "some"}, {"c2b_accounts"}),
        ({"stk_max": 0}, {"stk_max"}),
        ({"colour": "green"}, {"colour"}),
    ],
)
def test_refused_configs_name_the_field(changed: dict[str, Any], wrong: set[str]) -> None:
    with pytest.raises(SchemaErrors) as caught:
        CONFIG.clean({**LEAST, **changed})
    assert set(caught.value.errors) == wrong


def test_references_of_the_declaration_load() -> None:
    assert PROVIDER.adapter_class(Capability.PAYMENT) is MpesaPayments
    assert isinstance(PROVIDER.webhook_adapter(), MpesaWebhook)
    simulator = PROVIDER.simulator_class()
    assert simulator is not None
    assert simulator.slug == PROVIDER.slug == "mpesa"
    assert PROVIDER.base_urls == {
        Environment.PRODUCTION: "https://api.safaricom.co.ke",
        Environment.SANDBOX: "https://sandbox.safaricom.co.ke",
    }


def test_routing_fields_are_plain_fields_and_locators() -> None:
    names = {field.name for field in CONFIG if not field.secret}
    assert set(PROVIDER.routing_fields) == {"shortcode", "store_number"} <= names
