"""The declaration: what a config holds and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.schema import SchemaErrors
from integrations.providers.pesapal.adapter import PesapalPayments
from integrations.providers.pesapal.provider import CONFIG, PROVIDER
from integrations.providers.pesapal.simulator import PesapalSimulator
from integrations.providers.pesapal.tests.support import IPN_ID
from integrations.providers.pesapal.webhook import PesapalWebhook

KEYS = {"consumer_key": "key=", "consumer_secret": " secret== \n"}


def test_keys_are_enough_and_lose_their_blanks() -> None:
    assert CONFIG.clean(KEYS) == ({}, {"consumer_key": "key=", "consumer_secret": "secret=="})


@pytest.mark.parametrize(
    ("given", "field"),
    [({"ipn_id": "12"}, "ipn_id"), ({"country": "NG"}, "country"), ({"consumer_secret": ""}, "consumer_secret")],
)
def test_what_is_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        CONFIG.clean({**KEYS, **given})
    assert set(caught.value.errors) == {field}


def test_everything_filled_in() -> None:
    given = {"ipn_id": IPN_ID, "country": "TZ", "branch": "Main", "refund_username": "ops@example.com"}
    assert CONFIG.clean({**KEYS, **given})[0] == given


def test_the_hosts_and_classes() -> None:
    assert PROVIDER.base_urls == {
        Environment.PRODUCTION: "https://pay.pesapal.com/v3",
        Environment.SANDBOX: "https://cybqa.pesapal.com/pesapalv3",
    }
    assert PROVIDER.adapter_class(next(iter(PROVIDER.adapters))) is PesapalPayments
    assert isinstance(PROVIDER.webhook_adapter(), PesapalWebhook)
    assert PROVIDER.simulator_class() is PesapalSimulator
    assert {"consumer_key", "consumer_secret", "token"} <= PROVIDER.masked_keys
