"""Providers, configs and set-up through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import CallLog, Config, PrimaryConfig, QueueItem, Role, Tenant
from integrations.simulators import running_simulators
from tests.factories import demo_values, make_config

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations"
SMS = "africastalking"
SECRET = "atsk_0123456789abcdef"


def body(**changes: Any) -> dict[str, Any]:
    values = {"username": "springfield", "api_key": SECRET}
    return {"provider": SMS, "environment": "sandbox", "values": values, **changes}


def problems(answer: Any) -> set[tuple[str, str | None]]:
    return {(each["code"], each["attr"]) for each in answer.json()["errors"]}


def test_providers_are_described(admin_api: APIClient, tenant: Tenant) -> None:
    make_config(tenant, SMS)
    results = admin_api.get(f"{BASE}/providers").json()["results"]
    by_slug = {each["slug"]: each for each in results}
    assert {"mpesa", SMS} <= set(by_slug)
    shown = by_slug[SMS]
    assert shown["categories"] == ["sms"]
    assert shown["capabilities"] == [{"category": "sms", "operations": ["balance", "send", "test_connection"]}]
    assert shown["configs"] == 1
    assert shown["granted"] is False
    assert {"production", "sandbox", "simulator"} == set(shown["environments"])
    key = next(field for field in shown["config_schema"] if field["name"] == "api_key")
    assert (key["secret"], key["required"], key["default"]) == (True, True, None)


def test_providers_of_a_category(admin_api: APIClient) -> None:
    slugs = [each["slug"] for each in admin_api.get(f"{BASE}/providers/payment").json()["results"]]
    assert "mpesa" in slugs
    assert SMS not in slugs
    assert admin_api.get(f"{BASE}/providers/lms").json()["results"] == []
    assert admin_api.get(f"{BASE}/providers/astrology").status_code == 404


def test_create_answers_the_config_without_its_secret(admin_api: APIClient, tenant: Tenant) -> None:
    answer = admin_api.post(f"{BASE}/configs", body(label="Main"))
    assert answer.status_code == 201
    shown = answer.json()
    assert SECRET not in answer.content.decode()
    assert shown["secrets"] == {"api_key": "••••cdef"}
    assert shown["values"] == {"username": "springfield", "path": "classic", "batch_size": 100}
    assert (shown["primary"], shown["missing"], shown["status"]) == (["sms"], {}, "untested")
    config = Config.unscoped.get(pk=shown["id"])
    assert config.tenant == tenant
    assert shown["urls"]["dlr"].endswith(f"/hooks/{config.hook_token}/dlr")
    assert admin_api.get(f"{BASE}/configs/{config.pk}").json() == shown
    assert admin_api.get("/api/integrations/configs").json()["results"] == [shown]


def test_addresses_are_for_those_who_may_change_them(api: Callable[..., APIClient], tenant: Tenant) -> None:
    config = make_config(tenant, SMS)
    paths = (f"{BASE}/configs", f"{BASE}/configs/{config.pk}", f"{BASE}/setup/{SMS}")
    for client in (api(tenant), api(tenant, scopes=["integrations"]), api(tenant, scopes=["integrations:read", "*"])):
        assert all(config.hook_token in client.get(path).content.decode() for path in paths)
    for client in (api(tenant, Role.AUDITOR), api(tenant, scopes=["integrations:read", "payments:write"])):
        shown = [client.get(path) for path in paths]
        assert [each.status_code for each in shown] == [200, 200, 200]
        assert not any(config.hook_token in each.content.decode() for each in shown)
        assert shown[1].json()["urls"]["dlr"].endswith("/hooks/••••/dlr")
        assert shown[2].json()["urls"]["dlr"]["url"].endswith("/hooks/••••/dlr")
        assert "/hooks/••••/" in shown[2].json()["webhooks"]["purposes"][0]["url"]


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        (body(provider="nobody"), "provider"),
        ({"environment": "sandbox", "values": {}}, "provider"),
        (body(environment="moon"), "environment"),
        (body(values={"username": "springfield"}), "values.api_key"),
        (body(values={"username": "has space", "api_key": SECRET}), "values.username"),
        (body(values={"username": 5, "api_key": SECRET}), "values.username"),
        (body(values={"username": {"a": 1}, "api_key": SECRET}), "values.username"),
        (body(values={"username": "a\0b", "api_key": SECRET}), "values.username"),
        (body(values={"username": "x", "api_key": SECRET, "shoe_size": 1}), "values.shoe_size"),
        (body(values=[]), "values"),
        (body(colour="red"), "colour"),
        (body(label="a\0b"), "label"),
        ([], "non_field_errors"),
    ],
)
def test_a_bad_body_is_400_and_names_the_field(admin_api: APIClient, given: Any, attr: str) -> None:
    answer = admin_api.post(f"{BASE}/configs", given)
    assert answer.status_code == 400
    assert attr in {each["attr"] for each in answer.json()["errors"]}
    assert SECRET not in answer.content.decode()
    assert not Config.unscoped.exists()


def test_the_same_key_creates_once(admin_api: APIClient) -> None:
    first = admin_api.post(f"{BASE}/configs", body(), HTTP_IDEMPOTENCY_KEY="k1")
    again = admin_api.post(f"{BASE}/configs", body(), HTTP_IDEMPOTENCY_KEY="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert Config.unscoped.count() == 1


def test_put_replaces_and_patch_merges(admin_api: APIClient, tenant: Tenant) -> None:
    url = f"{BASE}/configs/{make_config(tenant, SMS).pk}"
    changed = admin_api.patch(url, {"values": {"batch_size": 7}})
    assert changed.status_code == 200
    assert (changed.json()["values"]["batch_size"], changed.json()["values"]["username"]) == (7, "demoschool")
    replaced = admin_api.put(url, {"environment": "simulator", "values": {"username": "other"}})
    assert replaced.json()["values"] == {"username": "other", "path": "classic", "batch_size": 100}
    assert replaced.json()["secrets"]["api_key"].startswith("••••")
    refused = admin_api.put(url, {"environment": "simulator", "values": {}})
    assert (refused.status_code, problems(refused)) == (400, {("invalid", "values.username")})
    assert admin_api.get(url).json()["values"]["username"] == "other"
    assert problems(admin_api.patch(url, {"provider": "mpesa"})) == {("unknown", "provider")}


def test_delete(admin_api: APIClient, tenant: Tenant) -> None:
    unused, used = make_config(tenant, SMS), make_config(tenant, "mpesa")
    QueueItem.unscoped.create(tenant=tenant, kind="sample", config=used)
    assert admin_api.delete(f"{BASE}/configs/{unused.pk}").status_code == 204
    kept = admin_api.delete(f"{BASE}/configs/{used.pk}")
    assert (kept.status_code, kept.json()["is_active"]) == (200, False)
    assert admin_api.get(f"{BASE}/configs/{unused.pk}").status_code == 404


def test_filters(admin_api: APIClient, tenant: Tenant) -> None:
    sms, payment = make_config(tenant, SMS), make_config(tenant, "mpesa", is_active=False)

    def found(query: str) -> list[int]:
        return [each["id"] for each in admin_api.get(f"{BASE}/configs?{query}").json()["results"]]

    assert found("") == [sms.pk, payment.pk]
    assert found("category=sms") == [sms.pk]
    assert found("provider=mpesa") == [payment.pk]
    assert found("is_active=false") == [payment.pk]
    assert admin_api.get(f"{BASE}/configs?category=astrology").status_code == 400


def test_primary(admin_api: APIClient, tenant: Tenant) -> None:
    make_config(tenant, SMS)
    second = make_config(tenant, SMS)
    answer = admin_api.post(f"{BASE}/configs/{second.pk}/primary", {"category": "sms"})
    assert (answer.status_code, answer.json()["primary"]) == (200, ["sms"])
    assert PrimaryConfig.unscoped.get(tenant=tenant).config_id == second.pk
    refused = admin_api.post(f"{BASE}/configs/{second.pk}/primary", {"category": "lms"})
    assert (refused.status_code, problems(refused)) == (400, {("invalid_request", "category")})


@pytest.mark.django_db(transaction=True)
def test_test_calls_the_provider(admin_api: APIClient, tenant: Tenant, simulators: running_simulators) -> None:
    config = make_config(tenant, SMS)
    answer = admin_api.post(f"{BASE}/configs/{config.pk}/test")
    assert answer.status_code == 200
    assert set(answer.json()) == {"ok", "status", "detail", "duration_ms"}
    assert (answer.json()["ok"], answer.json()["status"]) == (True, "ok")
    assert CallLog.unscoped.filter(config=config).exists()
    off = make_config(tenant, SMS, is_active=False)
    refused = admin_api.post(f"{BASE}/configs/{off.pk}/test")
    assert (refused.status_code, problems(refused)) == (409, {("provider_conflict", None)})


def test_setup_shows_requirements_fields_and_urls(admin_api: APIClient, tenant: Tenant) -> None:
    before = admin_api.get(f"{BASE}/setup/mpesa").json()
    assert (before["config"], before["urls"]) == (None, {})
    assert {"test", "webhooks"} <= set(before["steps"])
    assert before["provider"]["requirements"]
    fixed = {each["url"].partition("/webhooks/")[2] for each in before["fixed_urls"]}
    assert fixed == {f"mpesa/{each}" for each in ("callback", "validation", "confirmation", "result", "timeout")}
    config = make_config(tenant, SMS)
    after = admin_api.get(f"{BASE}/setup/{SMS}").json()
    assert after["config"] == config.pk
    assert after["urls"]["dlr"]["url"].endswith(f"/hooks/{config.hook_token}/dlr")
    assert after["urls"]["dlr"]["what"]
    assert admin_api.get(f"{BASE}/setup/{SMS}?config={config.pk}").json() == after


@pytest.mark.parametrize("config", ["abc", "0", "9" * 30, "²"])
def test_setup_of_a_config_that_is_not_ours(admin_api: APIClient, config: str) -> None:
    answer = admin_api.get(f"{BASE}/setup/{SMS}?config={config}")
    assert (answer.status_code, problems(answer)) == (400, {("invalid_request", "config")})


@pytest.mark.django_db(transaction=True)
def test_setup_steps(admin_api: APIClient, tenant: Tenant, simulators: running_simulators) -> None:
    payment, sms = make_config(tenant, "mpesa"), make_config(tenant, SMS)
    done = admin_api.post(f"{BASE}/setup/mpesa/webhooks", {"config": payment.pk})
    assert (done.status_code, done.json()["ok"]) == (200, True)
    by_hand = admin_api.post(f"{BASE}/setup/{SMS}/webhooks", {"config": sms.pk})
    assert (by_hand.status_code, problems(by_hand)) == (422, {("unsupported_operation", None)})
    assert by_hand.json()["provider"] == SMS
    assert admin_api.post(f"{BASE}/setup/{SMS}/test", {"config": sms.pk}).json()["ok"] is True
    wrong = admin_api.post(f"{BASE}/setup/{SMS}/test", {"config": payment.pk})
    assert (wrong.status_code, problems(wrong)) == (400, {("invalid_request", "config")})
    assert admin_api.post(f"{BASE}/setup/{SMS}/dance", {"config": sms.pk}).status_code == 404
    assert admin_api.get(f"{BASE}/setup/nobody").status_code == 404


ROUTES = [
    ("get", "/providers"),
    ("get", "/providers/sms"),
    ("get", "/configs"),
    ("post", "/configs"),
    ("get", "/configs/1"),
    ("put", "/configs/1"),
    ("patch", "/configs/1"),
    ("delete", "/configs/1"),
    ("post", "/configs/1/test"),
    ("post", "/configs/1/primary"),
    ("get", "/setup/mpesa"),
    ("post", "/setup/mpesa/test"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_who_may(api: Callable[..., APIClient], tenant: Tenant, method: str, path: str) -> None:
    def status(client: APIClient) -> int:
        answer: Any = getattr(client, method)(BASE + path, {} if method != "get" else None)
        return int(answer.status_code)

    reading = method == "get"
    assert status(APIClient()) == 401
    assert status(api(tenant, Role.STAFF)) == 403
    assert (status(api(tenant, Role.AUDITOR)) != 403) is reading
    assert status(api(tenant, scopes=["payments"])) == 403
    assert (status(api(tenant, scopes=["integrations:read"])) != 403) is reading
    assert status(api(tenant, scopes=["integrations"])) != 403
    assert not Config.unscoped.exists()


def test_demo_values_are_what_the_simulator_takes() -> None:
    assert demo_values(SMS, "studio")["username"] == "demostudio"
