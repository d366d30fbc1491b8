"""`/api/integrations`, the registry in its plain form, and `/api/hooks/notify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.messaging.models import Message
from integrations.models import CallLog, Config, Role, Tenant
from tests.factories import make_config

pytestmark = pytest.mark.django_db
URL = "/api/integrations"
NOTIFY = "/api/hooks/notify"
KEY = "atsk_0123456789abcdef"


def body(**changes: Any) -> dict[str, Any]:
    return {"provider": "africastalking", "type": "notification", "api_key": KEY, **changes}


def test_a_key_alone_makes_an_inactive_integration_that_says_what_is_missing(admin_api: APIClient, tenant: Tenant) -> None:
    answer = admin_api.post(URL, body())
    assert answer.status_code == 201
    shown = answer.json()
    assert KEY not in answer.content.decode()
    assert (shown["type"], shown["status"], shown["missing"]) == ("notification", "inactive", ["username"])
    assert (shown["api_key_set"], shown["api_key_masked"], shown["environment"]) == (True, "••••cdef", "simulator")
    config = Config.unscoped.get(pk=shown["id"])
    assert (config.tenant, config.is_active, config.secrets()) == (tenant, False, {"api_key": KEY})


def test_asking_for_active_with_fields_missing_is_400_and_names_them(admin_api: APIClient) -> None:
    answer = admin_api.post(URL, body(status="active"))
    assert answer.status_code == 400
    assert [each["attr"] for each in answer.json()["errors"]] == ["settings.username"]
    assert not Config.unscoped.exists()


def test_complete_is_active_and_lives_through_the_whole_cycle(admin_api: APIClient) -> None:
    created = admin_api.post(URL, body(settings={"username": "springfield"}))
    assert (created.status_code, created.json()["status"]) == (201, "active")
    url = f"{URL}/{created.json()['id']}"
    assert admin_api.get(url).json() == created.json()
    assert admin_api.get(URL).json()["results"] == [created.json()]
    off = admin_api.patch(url, {"status": "inactive"})
    assert (off.status_code, off.json()["status"]) == (200, "inactive")
    put = admin_api.put(url, {"provider": "africastalking", "type": "sms", "status": "active"})
    assert (put.status_code, put.json()["status"], put.json()["type"]) == (200, "active", "sms")
    assert put.json()["settings"]["username"] == "springfield"
    assert Config.unscoped.get().secrets() == {"api_key": KEY}
    new_key = admin_api.patch(url, {"api_key": "atsk_new_key_9999"})
    assert new_key.json()["api_key_masked"] == "••••9999"
    assert admin_api.delete(url).status_code == 204
    assert admin_api.get(url).status_code == 404


def test_billing_is_payment_and_its_main_secret(admin_api: APIClient) -> None:
    answer = admin_api.post(URL, {"provider": "mpesa", "type": "billing", "api_key": "consumer-key-12345"})
    assert answer.status_code == 201
    assert Config.unscoped.get().secrets() == {"consumer_key": "consumer-key-12345"}
    assert answer.json()["missing"] == ["consumer_secret", "passkey", "shortcode"]


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        (body(provider="nobody"), "provider"),
        (body(type="billing"), "type"),
        (body(type="astrology"), "type"),
        (body(status="on"), "status"),
        (body(colour="red"), "colour"),
        (body(settings={"shoe_size": 4}), "settings.shoe_size"),
        (body(settings={"username": "has space"}), "settings.username"),
        (body(api_key="••••cdef"), "api_key"),
        ({"type": "sms"}, "provider"),
    ],
)
def test_a_bad_body_is_400_and_names_the_field(admin_api: APIClient, given: dict[str, Any], attr: str) -> None:
    answer = admin_api.post(URL, given)
    assert answer.status_code == 400
    assert attr in {each["attr"] for each in answer.json()["errors"]}
    assert not Config.unscoped.exists()


def test_the_provider_of_an_integration_stays(admin_api: APIClient, tenant: Tenant) -> None:
    config = make_config(tenant, "africastalking")
    answer = admin_api.patch(f"{URL}/{config.pk}", {"provider": "mpesa"})
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "provider")
    assert Config.unscoped.get(pk=config.pk).provider_id == "africastalking"


def test_filters(admin_api: APIClient, tenant: Tenant) -> None:
    sms, payment = make_config(tenant, "africastalking"), make_config(tenant, "mpesa", is_active=False)

    def found(query: str) -> list[int]:
        return [each["id"] for each in admin_api.get(f"{URL}?{query}").json()["results"]]

    assert found("type=notification") == [sms.pk]
    assert found("type=billing") == [payment.pk]
    assert found("status=inactive") == [payment.pk]
    assert admin_api.get(f"{URL}?type=astrology").status_code == 400


def test_the_same_key_creates_once_on_both_paths(admin_api: APIClient) -> None:
    first = admin_api.post(URL, body(), HTTP_IDEMPOTENCY_KEY="same")
    again = admin_api.post("/api/v1/integrations", body(), HTTP_IDEMPOTENCY_KEY="same")
    assert again.json() == first.json()
    other = admin_api.post(URL, body(type="sms"), HTTP_IDEMPOTENCY_KEY="same")
    assert other.status_code == 422
    assert Config.unscoped.count() == 1


@pytest.mark.parametrize(
    ("given", "to"),
    [
        ({"channel": "sms", "to": "0712345678"}, "+254712345678"),
        ({"channel": "whatsapp", "to": "+254712345678"}, "+254712345678"),
        ({"channel": "email", "to": "jane@example.org", "subject": "Fees"}, "jane@example.org"),
        ({"channel": "webhook", "to": "http://127.0.0.1:8080/x"}, "http://127.0.0.1:8080/x"),
        ({"channel": "push", "to": "device-token"}, "device-token"),
    ],
)
def test_notify_is_simulated_by_default_and_logged(
    staff_api: APIClient, tenant: Tenant, given: dict[str, str], to: str
) -> None:
    answer = staff_api.post(NOTIFY, {**given, "message": "Term starts"})
    assert answer.status_code == 200
    row = CallLog.unscoped.get()
    assert answer.json() == {
        "id": row.pk,
        "log_id": row.pk,
        "status": "simulated",
        "channel": given["channel"],
        "to": to,
        "simulated": True,
        "message_id": None,
    }
    assert (row.tenant, row.direction, row.operation, row.status) == (tenant, "outbound", "notify.simulated", "success")
    assert json.loads(row.request_body)["message"] == "Term starts"
    assert not Message.unscoped.exists()


def test_notify_for_real_queues_an_sms(staff_api: APIClient, tenant: Tenant) -> None:
    make_config(tenant, "africastalking")
    given = {"channel": "sms", "to": "0712345678", "message": "Term starts", "simulate": False}
    answer = staff_api.post(NOTIFY, given, HTTP_IDEMPOTENCY_KEY="n1")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    message = Message.unscoped.get()
    assert answer.json()["message_id"] == message.pk
    assert CallLog.unscoped.get(operation="notify.queued").reference_id == message.pk
    again = staff_api.post(NOTIFY, given, HTTP_IDEMPOTENCY_KEY="n1")
    assert again.json() == answer.json()
    assert Message.unscoped.count() == 1


def test_notify_for_real_where_the_hub_cannot(staff_api: APIClient) -> None:
    answer = staff_api.post(NOTIFY, {"channel": "push", "to": "x", "message": "hi", "simulate": False})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unsupported_operation")
    assert not CallLog.unscoped.exists()


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        ({"channel": "pigeon", "to": "x", "message": "hi"}, "channel"),
        ({"channel": "sms", "to": "12", "message": "hi"}, "to"),
        ({"channel": "email", "to": "jane", "message": "hi"}, "to"),
        ({"channel": "webhook", "to": "ftp://example.org/x", "message": "hi"}, "to"),
        ({"channel": "push", "to": "x"}, "message"),
        ({"channel": "push", "to": "x", "message": "hi", "colour": "red"}, "colour"),
        ({"channel": "push", "to": "x\0", "message": "hi"}, "to"),
    ],
)
def test_a_bad_notification_is_400_and_logs_nothing(staff_api: APIClient, given: dict[str, Any], attr: str) -> None:
    answer = staff_api.post(NOTIFY, given)
    assert answer.status_code == 400
    assert attr in {each["attr"] for each in answer.json()["errors"]}
    assert not CallLog.unscoped.exists()


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "post"])
def test_who_may_touch_the_registry(api: Callable[..., APIClient], tenant: Tenant, method: str) -> None:
    path = URL if method == "post" else f"{URL}/1"
    assert getattr(APIClient(), method)(path).status_code == 401
    assert getattr(api(tenant, Role.STAFF), method)(path).status_code == 403
    assert getattr(api(tenant, scopes=["payments"]), method)(path).status_code == 403


def test_who_may_notify(api: Callable[..., APIClient], tenant: Tenant) -> None:
    given = {"channel": "push", "to": "x", "message": "hi"}
    assert APIClient().post(NOTIFY, given).status_code == 401
    assert api(tenant, Role.AUDITOR).post(NOTIFY, given).status_code == 403
    assert api(tenant, scopes=["payments"]).post(NOTIFY, given).status_code == 403
    assert not CallLog.unscoped.exists()
