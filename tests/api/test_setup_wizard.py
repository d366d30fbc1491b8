"""The set-up wizard as endpoints, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.configs.wizard import STEPS
from integrations.contracts.adapter import Registration
from integrations.models import CallLog, Config, ExternalReference, IdempotencyRecord, PrimaryConfig, Role, Tenant
from integrations.simulators import running_simulators
from tests.configs.sample_fixtures import gateway, sample_config
from tests.configs.sample_gateway import LIVE_KEY, PROVIDER, SIGNING, SLUG, TEST_KEY, SampleGateway
from tests.factories import make_config

__all__ = ["gateway"]
pytestmark = pytest.mark.django_db
URL = f"/api/v1/integrations/setup/{SLUG}"
SMS_URL = "/api/v1/integrations/setup/africastalking"
FIELDS = {"step", "ok", "status", "detail", "duration_ms", "config", "missing", "next", "request"}


def states(client: APIClient, url: str = URL) -> dict[str, str]:
    return {each["step"]: each["state"] for each in client.get(url).json()["progress"]}


def problems(answer: Any) -> list[tuple[str, str | None]]:
    return [(each["code"], each["attr"]) for each in answer.json()["errors"]]


def credentials(client: APIClient, **changes: Any) -> Any:
    given = {"environment": "sandbox", "values": {"secret_key": TEST_KEY}, **changes}
    return client.post(f"{URL}/credentials", {name: value for name, value in given.items() if value is not None})


def snapshot() -> list[Any]:
    return [list(model.unscoped.order_by("pk").values()) for model in (Config, PrimaryConfig, ExternalReference)]


# --- reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("gateway")
def test_before_there_is_a_config(admin_api: APIClient) -> None:
    shown = admin_api.get(URL).json()
    assert (shown["provider"]["slug"], shown["provider"]["name"]) == (SLUG, "Sample Pay")
    assert shown["provider"]["docs_url"] == "https://pay.example/docs"
    assert shown["provider"]["requirements"] == ["An account at Sample Pay."]
    assert shown["provider"]["environments"] == ["production", "sandbox"]
    assert [each["name"] for each in shown["provider"]["config_schema"]] == [field.name for field in PROVIDER.config]
    assert (shown["config"], shown["urls"], shown["next"]) == (None, {}, "credentials")
    assert shown["steps"] == list(STEPS)
    assert states(admin_api) == {
        "credentials": "todo",
        "activate": "blocked",
        "test": "blocked",
        "webhooks": "blocked",
        "primary": "blocked",
        "test-transaction": "blocked",
    }
    assert shown["webhooks"] == {
        "method": "api",
        "purposes": [{"purpose": "events", "what": "Everything that happens to a payment", "url": None}],
        "note": "The URLs exist once the config is saved: the step `credentials` does that.",
    }
    assert shown["features"]["operations"]["multiple_capture"] is True


@pytest.mark.usefixtures("gateway")
def test_of_a_config(admin_api: APIClient, tenant: Tenant, settings: Any) -> None:
    first, second = sample_config(tenant), sample_config(tenant, label="second")
    url = f"{settings.PUBLIC_BASE_URL}/hooks/{second.hook_token}/events"
    shown = admin_api.get(f"{URL}?config={second.pk}").json()
    assert shown["config"] == second.pk
    assert shown["urls"] == {"events": {"url": url, "what": "Everything that happens to a payment"}}
    assert [each["url"] for each in shown["webhooks"]["purposes"]] == [url]
    assert shown["webhooks"]["note"] == "The step `webhooks` registers these at the provider."
    assert shown["features"]["operations"]["multiple_capture"] is False
    assert admin_api.get(URL).json()["config"] == first.pk
    assert states(admin_api, f"{URL}?config={second.pk}") == {
        "credentials": "done",
        "activate": "done",
        "test": "todo",
        "webhooks": "todo",
        "primary": "todo",
        "test-transaction": "blocked",
    }


def test_a_provider_whose_urls_are_pasted(admin_api: APIClient, tenant: Tenant) -> None:
    make_config(tenant, "africastalking")
    shown = admin_api.get(SMS_URL).json()
    assert (shown["webhooks"]["method"], shown["features"]) == ("manual", None)
    assert shown["webhooks"]["note"] == "Paste these into the provider's dashboard."
    assert states(admin_api, SMS_URL) == {
        "credentials": "done",
        "activate": "done",
        "test": "todo",
        "webhooks": "by_hand",
        "primary": "done",
        "test-transaction": "not_needed",
    }


@pytest.mark.usefixtures("gateway")
def test_reading_changes_nothing(admin_api: APIClient, tenant: Tenant) -> None:
    sample_config(tenant)
    before = snapshot()
    assert admin_api.get(URL).status_code == 200
    assert snapshot() == before
    assert not CallLog.unscoped.exists()


@pytest.mark.usefixtures("gateway")
def test_secrets_that_cannot_be_read_any_more(admin_api: APIClient, tenant: Tenant) -> None:
    config = sample_config(tenant)
    Config.unscoped.filter(pk=config.pk).update(sealed="v1.gone.x")
    shown = admin_api.get(URL).json()
    assert shown["next"] == "credentials"
    assert "enter them again" in shown["progress"][0]["detail"]
    assert credentials(admin_api, config=config.pk).json()["next"] == "test"
    assert Config.unscoped.get(pk=config.pk).secrets() == {"secret_key": TEST_KEY}


# --- the whole way --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_whole_way(admin_api: APIClient, tenant: Tenant, gateway: type[SampleGateway]) -> None:
    other = make_config(tenant, "mpesa")
    gateway.answer = Registration("Endpoint we_1 listens.", {"endpoint_id": "we_1"}, {"webhook_secret": SIGNING})
    answers = [credentials(admin_api, label="Cards")]
    config = Config.unscoped.get(provider_id=SLUG)
    for step in ("test", "webhooks", "primary", "test-transaction"):
        assert answers[-1].json()["next"] == step
        answers.append(admin_api.post(f"{URL}/{step}", {"config": config.pk}))
    assert [each.status_code for each in answers] == [201, 200, 200, 200, 200]
    told = [each.json() for each in answers]
    assert all(set(each) == FIELDS for each in told)
    assert [(each["step"], each["ok"], each["status"]) for each in told] == [
        ("credentials", True, "stored"),
        ("test", True, "ok"),
        ("webhooks", True, "registered"),
        ("primary", True, "primary"),
        ("test-transaction", True, "ready"),
    ]
    assert {each["config"] for each in told} == {config.pk}
    assert told[2]["detail"] == "Endpoint we_1 listens."
    assert told[-1]["next"] is None
    assert SIGNING not in str(told)
    assert TEST_KEY not in str(told)
    config.refresh_from_db()
    assert (config.label, config.is_active, config.status) == ("Cards", True, "ok")
    assert config.secrets() == {"secret_key": TEST_KEY, "webhook_secret": SIGNING}
    assert PrimaryConfig.unscoped.get(tenant=tenant, category="payment").config_id == config.pk
    assert Config.unscoped.get(pk=other.pk).is_active, "what is under way there stays there"
    assert states(admin_api) == {
        "credentials": "done",
        "activate": "done",
        "test": "done",
        "webhooks": "done",
        "primary": "done",
        "test-transaction": "by_hand",
    }


# --- credentials ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("gateway")
def test_an_incomplete_config_stays_off_until_it_is_complete(admin_api: APIClient, tenant: Tenant) -> None:
    first = credentials(admin_api, values={"statement": "FEES"})
    assert first.status_code == 201
    told = first.json()
    assert (told["ok"], told["status"], told["next"]) == (False, "incomplete", "credentials")
    assert told["missing"] == {"secret_key": "is required"}
    assert told["detail"] == "Stored; secret_key: is required."
    config = Config.unscoped.get()
    assert (config.pk, config.is_active, config.tenant) == (told["config"], False, tenant)
    assert not PrimaryConfig.unscoped.exists()
    refused = admin_api.post(f"{URL}/activate", {"config": config.pk})
    assert (refused.status_code, problems(refused)) == (400, [("invalid", "values.secret_key")])
    for step in ("test", "webhooks", "primary"):
        assert admin_api.post(f"{URL}/{step}", {"config": config.pk}).status_code == 409
    done = credentials(admin_api, config=config.pk, environment=None)
    assert (done.status_code, done.json()["ok"], done.json()["next"]) == (200, True, "test")
    config.refresh_from_db()
    assert (config.is_active, config.values) == (True, {"statement": "FEES", "multicapture": False})
    assert Config.unscoped.count() == 1


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"values": {"secret_key": LIVE_KEY}}, "values.secret_key"),
        ({"values": {"secret_key": TEST_KEY, "shoe_size": 1}}, "values.shoe_size"),
        ({"environment": "moon"}, "environment"),
        ({"environment": "simulator"}, "environment"),
        ({"environment": None}, "environment"),
        ({"values": None}, "values"),
        ({"values": []}, "values"),
        ({"label": "a\0b"}, "label"),
        ({"colour": "red"}, "colour"),
        ({"config": 0}, "config"),
        ({"config": 10**30}, "config"),
        ({"config": "abc"}, "config"),
    ],
)
def test_bad_credentials_are_400_and_store_nothing(admin_api: APIClient, changes: dict[str, Any], attr: str) -> None:
    answer = credentials(admin_api, **changes)
    assert answer.status_code == 400
    assert [found for _code, found in problems(answer)] == [attr]
    assert LIVE_KEY not in answer.content.decode()
    assert not Config.unscoped.exists()


@pytest.mark.usefixtures("gateway")
def test_an_active_config_stays_complete(admin_api: APIClient, tenant: Tenant) -> None:
    config = sample_config(tenant)
    before = snapshot()
    refused = credentials(admin_api, config=config.pk, values={"secret_key": None})
    assert (refused.status_code, problems(refused)) == (400, [("invalid", "values.secret_key")])
    assert credentials(admin_api, config=config.pk, values={"secret_key": LIVE_KEY}).status_code == 400
    assert snapshot() == before


@pytest.mark.usefixtures("gateway")
def test_the_same_key_creates_once(admin_api: APIClient) -> None:
    given = {"environment": "sandbox", "values": {"secret_key": TEST_KEY}}
    first = admin_api.post(f"{URL}/credentials", given, HTTP_IDEMPOTENCY_KEY="k1")
    again = admin_api.post(f"{URL}/credentials", given, HTTP_IDEMPOTENCY_KEY="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    # The first request died after it had stored the config and before it could answer.
    IdempotencyRecord.unscoped.update(status_code=None, sealed_response="", lease=None)
    third = admin_api.post(f"{URL}/credentials", given, HTTP_IDEMPOTENCY_KEY="k1")
    assert (third.status_code, third.json()) == (201, first.json())
    assert Config.unscoped.count() == 1


# --- the other steps ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_refused_key_sends_back_to_the_credentials(
    admin_api: APIClient, tenant: Tenant, gateway: type[SampleGateway]
) -> None:
    config = sample_config(tenant, values={"secret_key": "sk_test_refused_0123456789"})
    told = admin_api.post(f"{URL}/test", {"config": config.pk})
    assert told.status_code == 200
    shown = told.json()
    assert (shown["ok"], shown["status"], shown["next"]) == (False, "provider_authentication_failed", "credentials")
    assert states(admin_api)["test"] == "failed"
    mended = credentials(admin_api, config=config.pk, environment=None).json()
    assert (mended["ok"], mended["next"]) == (True, "test")
    assert admin_api.post(f"{URL}/test", {"config": config.pk}).json()["ok"] is True


@pytest.mark.usefixtures("gateway")
def test_activate_switches_on(admin_api: APIClient, tenant: Tenant) -> None:
    config = sample_config(tenant, is_active=False)
    assert states(admin_api, f"{URL}?config={config.pk}")["activate"] == "todo"
    told = admin_api.post(f"{URL}/activate", {"config": config.pk}).json()
    assert (told["ok"], told["status"], told["next"]) == (True, "active", "test")
    assert Config.unscoped.get(pk=config.pk).is_active


@pytest.mark.usefixtures("gateway")
def test_a_test_transaction_is_a_request_to_make_and_none_is_made(admin_api: APIClient, tenant: Tenant, settings: Any) -> None:
    config = sample_config(tenant)
    before = snapshot()
    asked = admin_api.post(f"{URL}/test-transaction", {"config": config.pk}).json()["request"]
    assert (asked["method"], asked["path"], asked["fill_in"]) == ("POST", "/api/v1/payments/authorize", {})
    assert asked["body"] == {
        "provider": SLUG,
        "amount": 5_000,
        "currency": "JPY",
        "capture": "automatic",
        "method": {"type": "redirect"},
        "reference": {"type": "setup", "id": f"TEST-{config.pk}"},
        "description": "Test of the set-up",
        "return_url": f"{settings.PUBLIC_BASE_URL}/",
    }
    Tenant.objects.filter(pk=tenant.pk).update(currency="USD")
    asked = admin_api.post(f"{URL}/test-transaction", {"config": config.pk}).json()["request"]
    assert (asked["body"]["amount"], asked["body"]["currency"]) == (1_000, "USD")
    assert snapshot() == before
    assert not CallLog.unscoped.exists()


@pytest.mark.usefixtures("gateway")
def test_where_there_is_no_test_transaction(admin_api: APIClient, tenant: Tenant) -> None:
    live = sample_config(tenant, environment="production", values={"secret_key": LIVE_KEY})
    second = sample_config(tenant)
    off = sample_config(tenant, is_active=False)
    sms = make_config(tenant, "africastalking")

    def refused(url: str, config: Config) -> tuple[int, str]:
        answer = admin_api.post(f"{url}/test-transaction", {"config": config.pk})
        return answer.status_code, problems(answer)[0][0]

    assert refused(URL, live) == (422, "unsupported_operation")
    assert refused(URL, second) == (409, "provider_conflict"), "payments with this provider go to the other one"
    assert refused(URL, off) == (409, "provider_conflict")
    assert refused(SMS_URL, sms) == (422, "unsupported_operation")
    assert states(admin_api, f"{URL}?config={live.pk}")["test-transaction"] == "not_needed"


@pytest.mark.django_db(transaction=True)
def test_the_request_of_a_test_transaction_is_taken(
    admin_api: APIClient, tenant: Tenant, simulators: running_simulators
) -> None:
    config = make_config(tenant, "mpesa")
    told = admin_api.post("/api/v1/integrations/setup/mpesa/test-transaction", {"config": config.pk}).json()
    assert told["request"]["fill_in"] == {"method.phone": "A number that the gateway has for tests."}
    paid = admin_api.post(told["request"]["path"], told["request"]["body"])
    assert (paid.status_code, paid.json()["provider"], paid.json()["currency"]) == (201, "mpesa", "KES")
    assert (paid.json()["amount"], paid.json()["status"]) == (1_000, "processing")


@pytest.mark.usefixtures("gateway")
def test_unknown_steps_and_providers(admin_api: APIClient, tenant: Tenant) -> None:
    config = sample_config(tenant)
    assert admin_api.post(f"{URL}/dance", {"config": config.pk}).status_code == 404
    assert admin_api.post("/api/v1/integrations/setup/nobody/credentials", {}).status_code == 404
    assert admin_api.post("/api/v1/integrations/setup/nobody/test", {"config": config.pk}).status_code == 404
    for given, attr in (({}, "config"), ({"config": config.pk, "x": 1}, "x"), ([], "non_field_errors")):
        answer = admin_api.post(f"{URL}/test", given)
        assert (answer.status_code, [found for _code, found in problems(answer)]) == (400, [attr])


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("step", list(STEPS))
def test_who_may(api: Callable[..., APIClient], tenant: Tenant, step: str) -> None:
    given = {"environment": "sandbox", "values": {"secret_key": TEST_KEY}} if step == "credentials" else {"config": 1}
    for client, status in (
        (APIClient(), 401),
        (api(tenant, Role.STAFF), 403),
        (api(tenant, Role.AUDITOR), 403),
        (api(tenant, scopes=["payments"]), 403),
        (api(tenant, scopes=["integrations:read"]), 403),
    ):
        assert client.post(f"{URL}/{step}", given).status_code == status
    assert not Config.unscoped.exists()
    assert api(tenant, scopes=["integrations"]).post(f"{URL}/{step}", given).status_code in (201, 400)
