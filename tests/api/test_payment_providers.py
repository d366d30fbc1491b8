"""`/api/integrations/payment-providers`: the configs of category payment, with what each can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import CallLog, Config, PrimaryConfig, QueueItem, Role, Tenant
from integrations.simulators import running_simulators
from tests.configs.sample_fixtures import gateway, sample_config
from tests.configs.sample_gateway import LIVE_KEY, SLUG, TEST_KEY
from tests.factories import make_config

__all__ = ["gateway"]
pytestmark = pytest.mark.django_db
URL = "/api/v1/integrations/payment-providers"
SMS = "africastalking"


def body(**changes: Any) -> dict[str, Any]:
    return {"provider": SLUG, "environment": "sandbox", "values": {"secret_key": TEST_KEY}, **changes}


def problems(answer: Any) -> list[tuple[str, str | None]]:
    return [(each["code"], each["attr"]) for each in answer.json()["errors"]]


def all_rows() -> list[dict[str, Any]]:
    return list(Config.unscoped.order_by("pk").values())


@pytest.mark.usefixtures("gateway")
def test_an_account_shows_mode_primary_urls_and_what_it_can_do(admin_api: APIClient, tenant: Tenant, settings: Any) -> None:
    answer = admin_api.post(URL, body(label="Main"))
    assert answer.status_code == 201
    assert TEST_KEY not in answer.content.decode()
    shown = answer.json()
    config = Config.unscoped.get()
    assert (config.tenant, shown["id"], shown["provider"], shown["label"]) == (tenant, config.pk, SLUG, "Main")
    assert (shown["mode"], shown["environment"], shown["primary"], shown["missing"]) == ("test", "sandbox", True, {})
    assert shown["urls"] == {"events": f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token}/events"}
    features = shown["features"]
    assert {name for name, able in features["operations"].items() if able} == {"authorize", "capture", "refund", "sync"}
    assert features["operations"]["void"] is False
    assert features["methods"] == ["card", "redirect"]
    assert features["currencies"]["USD"] == {"minimum": 50, "maximum": 99_999_999, "decimals": 2, "step": 1}
    assert admin_api.get(f"{URL}/{config.pk}").json() == shown
    assert admin_api.get("/api/integrations/payment-providers").json()["results"] == [shown]


@pytest.mark.usefixtures("gateway")
def test_the_matrix_is_that_of_the_account(admin_api: APIClient, tenant: Tenant) -> None:
    config = sample_config(tenant)
    changed = admin_api.patch(f"{URL}/{config.pk}", {"values": {"multicapture": True}})
    assert changed.status_code == 200
    assert changed.json()["features"]["operations"]["multiple_capture"] is True
    config.refresh_from_db()
    Config.unscoped.filter(pk=config.pk).update(sealed="v1.gone.x")
    unreadable = admin_api.get(f"{URL}/{config.pk}").json()
    assert unreadable["missing"] == {"secrets": "unreadable: enter it again"}
    assert unreadable["features"]["operations"]["multiple_capture"] is True


@pytest.mark.usefixtures("gateway")
def test_live_mode(admin_api: APIClient) -> None:
    shown = admin_api.post(URL, body(environment="production", values={"secret_key": LIVE_KEY})).json()
    assert (shown["mode"], shown["environment"]) == ("live", "production")
    before = all_rows()
    refused = admin_api.patch(f"{URL}/{shown['id']}", {"environment": "sandbox"})
    assert (refused.status_code, problems(refused)) == (400, [("invalid", "values.secret_key")])
    assert all_rows() == before


@pytest.mark.parametrize("provider", [SMS, "nobody", "a\0b", 5])
def test_only_payment_providers_are_taken(admin_api: APIClient, provider: Any) -> None:
    answer = admin_api.post(URL, body(provider=provider, values={"username": "x", "api_key": "atsk_0123456789"}))
    assert answer.status_code == 400
    assert {attr for _code, attr in problems(answer)} == {"provider"}
    assert not Config.unscoped.exists()


def test_configs_of_other_categories_are_not_there(admin_api: APIClient, tenant: Tenant) -> None:
    payment, sms = make_config(tenant, "mpesa"), make_config(tenant, SMS)
    assert [each["id"] for each in admin_api.get(URL).json()["results"]] == [payment.pk]
    before = all_rows()
    one = f"{URL}/{sms.pk}"
    answers = [
        admin_api.get(one),
        admin_api.put(one, {"environment": "simulator", "values": {"username": "taken-over"}}),
        admin_api.patch(one, {"label": "taken over"}),
        admin_api.delete(one),
        admin_api.post(f"{one}/test"),
        admin_api.post(f"{one}/primary"),
    ]
    assert [each.status_code for each in answers] == [404] * 6
    assert all_rows() == before


@pytest.mark.usefixtures("gateway")
def test_put_delete_and_filters(admin_api: APIClient, tenant: Tenant) -> None:
    unused, used = sample_config(tenant), make_config(tenant, "mpesa")
    QueueItem.unscoped.create(tenant=tenant, kind="sample", config=used)
    replaced = admin_api.put(f"{URL}/{unused.pk}", {"environment": "sandbox", "values": {"statement": "FEES"}})
    assert (replaced.status_code, replaced.json()["values"]) == (200, {"statement": "FEES", "multicapture": False})
    assert Config.unscoped.get(pk=unused.pk).secrets() == {"secret_key": TEST_KEY}
    assert [each["id"] for each in admin_api.get(f"{URL}?provider={SLUG}").json()["results"]] == [unused.pk]
    assert [each["id"] for each in admin_api.get(f"{URL}?environment=simulator").json()["results"]] == [used.pk]
    assert [each["id"] for each in admin_api.get(f"{URL}?ordering=-id").json()["results"]] == [used.pk, unused.pk]
    assert admin_api.get(f"{URL}?environment=moon").status_code == 400
    assert admin_api.delete(f"{URL}/{unused.pk}").status_code == 204
    kept = admin_api.delete(f"{URL}/{used.pk}")
    assert (kept.status_code, kept.json()["is_active"], kept.json()["mode"]) == (200, False, "test")


@pytest.mark.usefixtures("gateway")
def test_the_same_key_creates_once(admin_api: APIClient) -> None:
    first = admin_api.post(URL, body(), HTTP_IDEMPOTENCY_KEY="k1")
    again = admin_api.post("/api/integrations/payment-providers", body(), HTTP_IDEMPOTENCY_KEY="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    assert Config.unscoped.count() == 1
    assert admin_api.post(URL, body(label="x"), HTTP_IDEMPOTENCY_KEY="k1").status_code == 422


@pytest.mark.usefixtures("gateway")
def test_primary_switches_payments_alone(admin_api: APIClient, tenant: Tenant) -> None:
    first, second, sms = make_config(tenant, "mpesa"), sample_config(tenant), make_config(tenant, SMS)
    before = all_rows()
    answer = admin_api.post(f"{URL}/{second.pk}/primary")
    assert (answer.status_code, answer.json()["primary"]) == (200, True)
    assert admin_api.get(f"{URL}/{first.pk}").json()["primary"] is False
    rows = dict(PrimaryConfig.unscoped.values_list("category", "config_id"))
    assert rows == {"payment": second.pk, "sms": sms.pk}
    assert all_rows() == before
    off = sample_config(tenant, is_active=False)
    refused = admin_api.post(f"{URL}/{off.pk}/primary")
    assert (refused.status_code, problems(refused)) == (409, [("provider_conflict", None)])
    assert dict(PrimaryConfig.unscoped.values_list("category", "config_id")) == rows


@pytest.mark.django_db(transaction=True)
def test_test_calls_the_gateway(admin_api: APIClient, tenant: Tenant, simulators: running_simulators) -> None:
    good, bad = make_config(tenant, "mpesa"), make_config(tenant, "mpesa", {"consumer_secret": "wrong-secret-canary"})
    answer = admin_api.post(f"{URL}/{good.pk}/test")
    assert answer.status_code == 200
    assert (set(answer.json()), answer.json()["ok"]) == ({"ok", "status", "detail", "duration_ms"}, True)
    assert CallLog.unscoped.filter(config=good).exists()
    refused = admin_api.post(f"{URL}/{bad.pk}/test").json()
    assert (refused["ok"], refused["status"]) == (False, "provider_authentication_failed")
    assert admin_api.get(f"{URL}/{bad.pk}").json()["status"] == "needs_attention"


@pytest.mark.usefixtures("gateway")
def test_the_list_of_providers_shows_the_matrix_of_gateways_alone(admin_api: APIClient) -> None:
    shown = {each["slug"]: each for each in admin_api.get("/api/v1/integrations/providers").json()["results"]}
    assert shown[SMS]["features"] is None
    assert shown[SLUG]["features"]["operations"]["multiple_capture"] is True
    assert shown["mpesa"]["features"]["methods"] == ["mobile_money"]
    payment = admin_api.get("/api/v1/integrations/providers/payment").json()["results"]
    assert [each["features"] for each in payment if each["slug"] == SLUG] == [shown[SLUG]["features"]]
    assert all(each["features"]["operations"]["authorize"] for each in payment)


ROUTES = [
    ("get", ""),
    ("post", ""),
    ("get", "/1"),
    ("put", "/1"),
    ("patch", "/1"),
    ("delete", "/1"),
    ("post", "/1/test"),
    ("post", "/1/primary"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_who_may(api: Callable[..., APIClient], tenant: Tenant, method: str, path: str) -> None:
    def status(client: APIClient) -> int:
        answer: Any = getattr(client, method)(URL + path, {} if method != "get" else None)
        return int(answer.status_code)

    reading = method == "get"
    assert status(APIClient()) == 401
    assert status(api(tenant, Role.STAFF)) == 403
    assert (status(api(tenant, Role.AUDITOR)) != 403) is reading
    assert status(api(tenant, scopes=["payments"])) == 403
    assert (status(api(tenant, scopes=["integrations:read"])) != 403) is reading
    assert status(api(tenant, scopes=["integrations"])) != 403
    assert not Config.unscoped.exists()
