"""The declaration: keys of the right mode, masking, the codes table, the page's template."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.template import Context, Engine

from integrations.contracts.capabilities import Environment
from integrations.contracts.failures import VOCABULARY
from integrations.contracts.schema import SchemaErrors
from integrations.http.masking import MASK, Mask
from integrations.providers.stripe.codes import DECLINES, ERRORS, REFUND_FAILURES, failure_of, refund_failure
from integrations.providers.stripe.provider import CONFIG, PROVIDER, check_environment

SANDBOX, LIVE, SIMULATED = Environment.SANDBOX, Environment.PRODUCTION, Environment.SIMULATOR


@pytest.mark.parametrize(
    ("values", "environment", "fields"),
    [
        ({"secret_key": "sk_test_1", "publishable_key": "pk_test_1"}, SANDBOX, set()),
        ({"secret_key": "rk_test_1"}, SIMULATED, set()),
        ({"secret_key": "sk_live_1", "publishable_key": "pk_live_1"}, LIVE, set()),
        ({"secret_key": "rk_live_1"}, LIVE, set()),
        ({"secret_key": "sk_live_1"}, SANDBOX, {"secret_key"}),
        ({"secret_key": "rk_live_1"}, SIMULATED, {"secret_key"}),
        ({"secret_key": "sk_test_1", "publishable_key": "pk_live_1"}, SIMULATED, {"publishable_key"}),
        ({"secret_key": "sk_test_1", "publishable_key": "pk_test_1"}, LIVE, {"secret_key", "publishable_key"}),
        ({"secret_key": "pk_test_1"}, SANDBOX, {"secret_key"}),
        ({"secret_key": "whatever"}, SANDBOX, {"secret_key"}),
    ],
)
def test_keys_fit_their_environment(values: dict[str, str], environment: Environment, fields: set[str]) -> None:
    found = check_environment(values, environment)
    assert set(found) == fields
    assert not any(value in problem for value in values.values() for problem in found.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [("publishable_key", "sk_test_123"), ("connected_account", "123"), ("ugx_decimals", "3"), ("api_version", "latest"),
     ("statement_suffix", "12345"), ("statement_suffix", "A<b"), ("webhook_endpoint_id", "x"), ("multicapture", "yes")],
)  # fmt: skip
def test_fields_are_checked(field: str, value: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        CONFIG.clean({"secret_key": "sk_test_1", field: value})
    assert set(caught.value.errors) == {field}


def test_defaults() -> None:
    plain, secrets = CONFIG.clean({"secret_key": "sk_test_1"})
    assert (plain, secrets) == ({"api_version": "2023-10-16", "multicapture": False}, {"secret_key": "sk_test_1"})


def test_client_secrets_are_masked_wherever_they_travel() -> None:
    mask = Mask(keys=PROVIDER.masked_keys)
    assert mask.body('{"client_secret": "pi_1_secret_2", "secret": "whsec_3"}', "application/json").count(MASK) == 2
    assert "secret_2" not in mask.url("https://hub.example/back?payment_intent=pi_1&payment_intent_client_secret=pi_1_secret_2")
    assert "secret_2" not in mask.url("https://hub.example/back?setup_intent_client_secret=seti_1_secret_2")
    assert mask.headers({"Authorization": "Bearer sk_test_1"}) == {"Authorization": MASK}


def test_the_codes_are_of_the_vocabulary() -> None:
    assert {*DECLINES.values(), *ERRORS.values(), *REFUND_FAILURES.values()} <= set(VOCABULARY)


def test_unknown_codes_are_kept_raw() -> None:
    found = failure_of({"type": "invalid_request_error", "code": "x" * 300, "message": "internal"})
    assert (found.code, found.provider_code, found.message) == (
        "gateway_refused", "x" * 100, VOCABULARY["gateway_refused"][2],
    )  # fmt: skip
    assert failure_of({"type": None, "code": 5, "decline_code": [], "message": {}}).code == "gateway_refused"
    assert refund_failure("a new reason").code == "refund_failed_later"


def test_the_template_is_safe_and_runs_only_with_the_nonce() -> None:
    folder = Path(__file__).resolve().parents[1] / "templates"
    template = Engine(dirs=[str(folder)]).get_template("stripe/pay.html")
    hostile = "</script><script>alert(1)</script>"
    data = {"publishable_key": "pk_test_1", "client_secret": "pi_1_secret_2", "account": "", "kind": "payment"}
    given = {
        "script_url": "https://js.stripe.com/v3/", "stripe": data, "return_url": hostile, "nonce": "n0nce",
    }  # fmt: skip
    html = template.render(Context(given))
    assert hostile not in html
    assert html.count("<script") == 4
    assert '<script nonce="n0nce">' in html
    assert '<script src="https://js.stripe.com/v3/"></script>' in html
    assert ">Pay</button>" in html
    assert ">Save card</button>" in template.render(Context({**given, "stripe": {**data, "kind": "setup"}}))
