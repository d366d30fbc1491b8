"""Who gets in, as whom, and what a role or a key's scopes allow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from rest_framework.test import APIClient

from integrations.models import ApiKey, Membership, Role, Tenant
from integrations.tenancy.authentication import create_api_key, hash_key
from tests.factories import PASSWORD, MovableClock, make_client, make_config, make_tenant, make_user

pytestmark = pytest.mark.django_db
PAYMENTS = "/api/v1/payments"
REFUND = "/api/v1/payments/refund"


def bearer(key: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client


def codes(answer: Any) -> list[str]:
    return [error["code"] for error in answer.json()["errors"]]


# --- keys


def test_a_key_is_shown_once_and_kept_as_a_hash(tenant: Tenant) -> None:
    row, key = create_api_key(tenant=tenant, name="sis")
    assert key.startswith("hub_")
    assert len(key) == 44
    stored = ApiKey.unscoped.values().get(pk=row.pk)
    assert key not in str(stored)
    assert (stored["key_hash"], stored["prefix"]) == (hash_key(key), key[:12])


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_opens_its_tenant_by_either_header(tenant: Tenant, header: str) -> None:
    _row, key = create_api_key(tenant=tenant, name="sis")
    value = f"Bearer {key}" if header == "Authorization" else key
    assert APIClient().get(PAYMENTS, headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer hub_" + "0" * 40},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic aHViOmh1Yg=="},
        {"X-API-Key": "x" * 5000},
    ],
)
def test_without_a_valid_key_there_is_a_challenge_and_nothing_else(tenant: Tenant, headers: dict[str, str]) -> None:
    answer = APIClient().get(PAYMENTS, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "results" not in answer.json()


def test_revoked_expired_or_of_a_closed_tenant(tenant: Tenant, clock: MovableClock) -> None:
    row, key = create_api_key(tenant=tenant, name="sis", expires_at=clock.moment + timedelta(hours=1))
    client = bearer(key)
    assert client.get(PAYMENTS).status_code == 200
    clock.advance(hours=1)
    assert client.get(PAYMENTS).status_code == 401
    ApiKey.unscoped.filter(pk=row.pk).update(expires_at=None)
    assert client.get(PAYMENTS).status_code == 200
    Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    assert client.get(PAYMENTS).status_code == 401
    Tenant.objects.filter(pk=tenant.pk).update(is_active=True)
    ApiKey.unscoped.filter(pk=row.pk).update(revoked_at=clock.moment)
    assert client.get(PAYMENTS).status_code == 401


def test_use_is_noted_once_a_minute(tenant: Tenant, clock: MovableClock) -> None:
    row, key = create_api_key(tenant=tenant, name="sis")

    def noted() -> Any:
        bearer(key).get(PAYMENTS)
        return ApiKey.unscoped.get(pk=row.pk).last_used_at

    first = noted()
    assert first == clock.moment
    clock.advance(59)
    assert noted() == first
    clock.advance(2)
    assert noted() == clock.moment


def test_a_key_can_not_pick_another_tenant(tenant: Tenant, other_tenant: Tenant) -> None:
    make_config(other_tenant, "mpesa")
    client = make_client(tenant)
    client.credentials(HTTP_AUTHORIZATION=client._credentials["HTTP_AUTHORIZATION"], HTTP_X_TENANT=other_tenant.slug)
    assert client.get("/api/v1/integrations/configs").json()["results"] == []


# --- roles and scopes


@pytest.mark.parametrize(
    ("role", "reads", "writes"), [(Role.ADMIN, 200, 404), (Role.AUDITOR, 200, 403), (Role.STAFF, 403, 403)]
)
def test_what_a_role_may_with_payments(tenant: Tenant, role: str, reads: int, writes: int) -> None:
    client = make_client(tenant, role)
    assert client.get(PAYMENTS).status_code == reads
    assert client.post(REFUND, {"payment": "pay_" + "0" * 26}, format="json").status_code == writes


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [
        ([], 200, 404),
        (["*"], 200, 404),
        (["payments"], 200, 404),
        (["payments:read"], 200, 403),
        (["payments:write"], 403, 404),
        (["messages"], 403, 403),
        (["payments:readx", "pay", "payment"], 403, 403),
    ],
)
def test_what_a_keys_scopes_allow(tenant: Tenant, scopes: list[str], reads: int, writes: int) -> None:
    client = make_client(tenant, Role.ADMIN, scopes)
    assert client.get(PAYMENTS).status_code == reads
    answer = client.post(REFUND, {"payment": "pay_" + "0" * 26}, format="json")
    assert answer.status_code == writes
    if writes == 403:
        assert "payments:write" in answer.json()["errors"][0]["detail"]


def test_scopes_never_widen_a_role(tenant: Tenant) -> None:
    client = make_client(tenant, Role.AUDITOR, ["*"])
    assert client.post(REFUND, {"payment": "pay_" + "0" * 26}, format="json").status_code == 403


# --- people


@pytest.fixture
def logged_in() -> Callable[..., APIClient]:
    def make(user: Any, slug: str = "", csrf: bool = False) -> APIClient:
        client = APIClient(enforce_csrf_checks=csrf)
        assert client.login(username=user.username, password=PASSWORD)
        if slug:
            client.credentials(HTTP_X_TENANT=slug)
        return client

    return make


def test_a_member_works_in_her_tenant(tenant: Tenant, other_tenant: Tenant, logged_in: Callable[..., APIClient]) -> None:
    jane = make_user("jane", tenant=tenant, role=Role.ADMIN)
    assert logged_in(jane).get(PAYMENTS).status_code == 200
    assert logged_in(jane, tenant.slug).get(PAYMENTS).status_code == 200
    assert logged_in(jane, other_tenant.slug).get(PAYMENTS).status_code == 403
    assert logged_in(jane, "no-such").get(PAYMENTS).status_code == 403


def test_a_member_of_two_must_say_which(tenant: Tenant, other_tenant: Tenant, logged_in: Callable[..., APIClient]) -> None:
    jane = make_user("jane", tenant=tenant, role=Role.ADMIN)
    Membership.unscoped.create(tenant=other_tenant, user=jane, role=Role.STAFF)
    answer = logged_in(jane).get(PAYMENTS)
    assert answer.status_code == 403
    assert "X-Tenant" in answer.json()["errors"][0]["detail"]
    assert logged_in(jane, tenant.slug).get(PAYMENTS).status_code == 200
    assert logged_in(jane, other_tenant.slug).get(PAYMENTS).status_code == 403, "she is staff there"


@pytest.mark.parametrize("closed", ["membership", "tenant", "user"])
def test_who_was_let_go_is_out_at_once(tenant: Tenant, logged_in: Callable[..., APIClient], closed: str) -> None:
    jane = make_user("jane", tenant=tenant, role=Role.ADMIN)
    client = logged_in(jane)
    assert client.get(PAYMENTS).status_code == 200
    if closed == "membership":
        Membership.unscoped.update(is_active=False)
    elif closed == "tenant":
        Tenant.objects.update(is_active=False)
    else:
        type(jane).objects.filter(pk=jane.pk).update(is_active=False)
    assert client.get(PAYMENTS).status_code in (401, 403)


def test_an_operator_names_a_tenant_where_there_are_several(tenant: Tenant, logged_in: Callable[..., APIClient]) -> None:
    root = make_user("root", is_superuser=True)
    assert logged_in(root).get(PAYMENTS).status_code == 200
    make_tenant("second")
    assert logged_in(root).get(PAYMENTS).status_code == 403
    assert logged_in(root, "second").get(PAYMENTS).status_code == 200


def test_a_session_needs_its_csrf_token_to_write(tenant: Tenant, logged_in: Callable[..., APIClient]) -> None:
    jane = make_user("jane", tenant=tenant, role=Role.ADMIN)
    client = logged_in(jane, csrf=True)
    assert client.get(PAYMENTS).status_code == 200
    answer = client.post(REFUND, {"payment": "pay_" + "0" * 26}, format="json")
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["errors"][0]["detail"]


# --- limits and errors


def test_the_limit_is_counted_per_key_and_told(tenant: Tenant, clock: MovableClock) -> None:
    with override_settings(API_RATE_PER_MINUTE=3):
        client, other = make_client(tenant), make_client(tenant)
        left = []
        for _ in range(3):
            answer = client.get(PAYMENTS)
            assert answer.status_code == 200
            assert answer.headers["RateLimit-Limit"] == "3"
            left.append(answer.headers["RateLimit-Remaining"])
        refused = client.get(PAYMENTS)
        assert left == ["2", "1", "0"]
        assert (refused.status_code, codes(refused)) == (429, ["throttled"])
        assert refused.headers["Retry-After"] == "20"
        assert other.get(PAYMENTS).status_code == 200
        clock.advance(20)
        assert client.get(PAYMENTS).status_code == 200
        assert client.get(PAYMENTS).status_code == 429


def test_errors_have_one_shape(admin_api: APIClient) -> None:
    invalid = admin_api.post(REFUND, {"amount": "x"}, format="json").json()
    assert invalid["type"] == "validation_error"
    assert {error["attr"] for error in invalid["errors"]} >= {"payment", "amount"}
    missing = admin_api.get(f"{PAYMENTS}/pay_{'0' * 26}").json()
    assert (missing["type"], missing["errors"][0]["code"]) == ("client_error", "not_found")
    broken = admin_api.generic("POST", REFUND, b"{", content_type="application/json")
    assert (broken.status_code, codes(broken)) == (400, ["parse_error"])


def test_a_provider_failure_says_who_and_whether_it_can_be_tried_again(admin_api: APIClient) -> None:
    body = {"amount": 1000, "currency": "KES", "method": {"type": "mobile_money", "phone": "0712345678"}}
    answer = admin_api.post("/api/v1/payments/authorize", body, format="json")
    assert answer.status_code == 422
    assert answer.json() == {
        "type": "client_error",
        "errors": [{"code": "not_configured", "detail": "No active config serves payments.", "attr": "provider"}],
        "provider": "",
        "provider_code": "",
        "retryable": False,
    }
