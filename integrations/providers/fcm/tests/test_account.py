from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.schema import SchemaErrors
from integrations.providers.fcm.account import problem_of, read_account
from integrations.providers.fcm.adapter import FcmPush
from integrations.providers.fcm.provider import CONFIG, PROVIDER, check_environment
from integrations.providers.fcm.tests.support import EMAIL, key_file, pem, private_key


def test_a_key_file_is_read_without_its_token_uri() -> None:
    account = read_account(key_file(token_uri="https://evil.example/token"))
    assert (account.project_id, account.email) == ("shop-prod", EMAIL)
    assert account.key_id == "3f9c0a7be1d24586a0f1b2c3d4e5f60718293a4b"
    assert account.load_key().private_numbers() == private_key().private_numbers()
    assert "evil" not in repr(account)
    assert "PRIVATE" not in repr(account)


def test_real_line_breaks_in_the_key_do_no_harm() -> None:
    assert read_account(key_file().replace("\\n", "\n")) == read_account(key_file())


@pytest.mark.parametrize("project", ["shop-prod", "example.com:shop", "a2b"])
def test_project_ids(project: str) -> None:
    assert problem_of(key_file(project_id=project)) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not the JSON text"),
        ("wrong" + "{}", "is not the JSON text"),
        ("[" * 100_000, "is not the JSON text"),
        ("[]", "is not the JSON text"),
        (None, "is not the JSON text"),
        (json.dumps({"project_info": {"project_id": "shop-prod"}, "client": []}), "is google-services.json"),
        (key_file(type="authorized_user"), "its type is another"),
        (key_file(type=None), "its type is another"),
        (key_file(universe_domain="evil.example"), "another cloud"),
        (key_file(project_id=None), "its project_id"),
        (key_file(project_id="../../v2"), "its project_id"),
        (key_file(project_id="shop/messages"), "its project_id"),
        (key_file(private_key_id=None), "its private_key_id"),
        (key_file(client_email="me@example.com"), "its client_email"),
        (key_file(client_email=7), "its client_email"),
        (key_file(private_key=None), "its private_key is missing"),
        (key_file(private_key="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "private_key can't be read"),
        (key_file(private_key=pem(private_key(1024))), "no RSA key of at least 2048 bits"),
        (key_file(private_key=pem(ec.generate_private_key(ec.SECP256R1()))), "no RSA key"),
    ],
)
def test_what_is_no_usable_key_file_is_refused_by_field(text: Any, said: str) -> None:
    problem = problem_of(text)
    assert said in problem
    assert "AAAA" not in problem
    if text:
        for environment in Environment:
            assert check_environment({"service_account": text}, environment) == {"service_account": problem}


def test_a_whole_key_file_is_taken_everywhere() -> None:
    for environment in Environment:
        assert check_environment({"service_account": key_file()}, environment) == {}
        assert check_environment({}, environment) == {}


def test_the_universe_may_be_left_out() -> None:
    assert problem_of(key_file(universe_domain=None)) == ""


def test_declaration() -> None:
    assert PROVIDER.adapter_class(Capability.PUSH) is FcmPush
    assert CONFIG.secret_names == {"service_account"}
    assert dict(PROVIDER.base_urls) == {
        Environment.PRODUCTION: "https://fcm.googleapis.com",
        Environment.SANDBOX: "https://fcm.googleapis.com",
    }
    with pytest.raises(SchemaErrors) as caught:
        CONFIG.clean({"android_channel": "two words"})
    assert set(caught.value.errors) == {"service_account", "android_channel"}
