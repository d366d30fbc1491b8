"""The declaration: keys fit their environment, the schema, the page of the docs."""

from __future__ import annotations

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.schema import SchemaErrors
from integrations.providers.flutterwave.provider import CONFIG, PROVIDER, check_environment

TEST, LIVE = "FLWSECK_TEST-abc-X", "FLWSECK-abc-X"


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize("live", [True, False])
def test_keys_of_the_other_mode_are_refused(environment: Environment, live: bool) -> None:
    mark = "-" if live else "_TEST-"
    values = {"secret_key": f"FLWSECK{mark}abc-X", "public_key": f"FLWPUBK{mark}abc-X"}
    fits = live is (environment is Environment.PRODUCTION)
    assert set(check_environment(values, environment)) == (set() if fits else {"secret_key", "public_key"})


@pytest.mark.parametrize("key", ["", "sk_test_1", "flwseck_test-1", "FLWPUBK_TEST-abc-X", "xFLWSECK_TEST-1"])
def test_what_is_no_secret_key_fits_nowhere(key: str) -> None:
    for environment in Environment:
        found = check_environment({"secret_key": key}, environment)
        assert set(found) == ({"secret_key"} if key else set())
        assert key == "" or key not in " ".join(found.values())


def test_each_key_is_looked_at_alone() -> None:
    assert set(check_environment({"secret_key": TEST, "public_key": "FLWPUBK-1"}, Environment.SANDBOX)) == {"public_key"}
    assert check_environment({"secret_key": LIVE, "public_key": None}, Environment.PRODUCTION) == {}


def test_the_least_that_a_config_needs() -> None:
    assert CONFIG.clean({"secret_key": TEST}) == ({"plain_signature": False}, {"secret_key": TEST})
    with pytest.raises(SchemaErrors) as caught:
        CONFIG.clean({"encryption_key": "x"})
    assert set(caught.value.errors) == {"secret_key", "encryption_key"}, "card numbers never enter the hub, nor their key"


def test_what_must_never_reach_a_log() -> None:
    assert {"Authorization", "verif-hash", "flutterwave-signature"} <= PROVIDER.masked_keys
    assert CONFIG.secret_names == {"secret_key", "secret_hash"}
