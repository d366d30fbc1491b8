"""How long is kept, by API and console; and what one exchange said, erased at a person's request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.errors import Conflict
from integrations.contracts.ids import new_token
from integrations.models import AuditEntry, CallLog, LogRetention, Role, Tenant
from tests.factories import make_log, make_user
from webhooks.inbound.erasing import erase_receipt, is_erased
from webhooks.inbound.models import Receipt
from webhooks.inbound.services import reprocess

pytestmark = pytest.mark.django_db
RETENTION = "/api/v1/integrations/retention"
LOGS = "/api/v1/integrations/logs"
NOTHING = dict.fromkeys(
    ("call_log_days", "failed_call_log_days", "queue_days", "failed_queue_days", "receipt_days", "message_days")
)


def make_receipt(tenant: Tenant | None, **fields: object) -> Receipt:
    values = {"provider": "mpesa", "purpose": "stk", "trust": "token", "dedupe_key": new_token(), "method": "POST",
              "query": {"a": "b"}, "headers": {"x": "y"}, "body": b'{"phone": 254712345678}', "status": "processed",
              "received_at": timezone.now(), **fields}  # fmt: skip
    return Receipt.unscoped.create(tenant=tenant, **values)


def test_the_installation_settings_hold_until_the_tenant_says_otherwise(admin_api: APIClient) -> None:
    effective = {"call_log_days": 90, "failed_call_log_days": 180, "queue_days": 30, "failed_queue_days": 180,
                 "receipt_days": 90, "message_days": 0}  # fmt: skip
    assert admin_api.get(RETENTION).json() == {**NOTHING, "effective": effective}
    answer = admin_api.put(RETENTION, {"call_log_days": 400, "message_days": 40})
    assert answer.status_code == 200
    assert answer.json() == {
        **NOTHING,
        "call_log_days": 400,
        "message_days": 40,
        "effective": {**effective, "call_log_days": 400, "failed_call_log_days": 400, "message_days": 40},
    }
    assert admin_api.get(RETENTION).json() == answer.json()
    assert admin_api.put(RETENTION, {}).json() == {**NOTHING, "effective": effective}, "PUT says all of it"
    assert LogRetention.unscoped.count() == 1


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"call_log_days": 0}, "call_log_days"),
        ({"queue_days": 3651}, "queue_days"),
        ({"queue_days": 6}, "queue_days"),
        ({"message_days": 31}, "message_days"),
        ({"message_days": -1}, "message_days"),
        ({"receipt_days": "soon"}, "receipt_days"),
        ({"failed_queue_days": 29}, "failed_queue_days"),
        ({"payload_days": 5}, "payload_days"),
    ],
)
def test_a_bad_policy_is_400_and_nothing_is_stored(admin_api: APIClient, body: dict[str, object], attr: str) -> None:
    answer = admin_api.put(RETENTION, body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == attr
    assert LogRetention.unscoped.count() == 0
    assert not AuditEntry.unscoped.filter(object_type="log_retention").exists()


def test_a_key_needs_the_scope(tenant: Tenant, api: Callable[..., APIClient]) -> None:
    reads = api(tenant, scopes=["retention:read"])
    assert reads.get(RETENTION).status_code == 200
    assert reads.put(RETENTION, {}).status_code == 403
    assert api(tenant, scopes=["logs"]).get(RETENTION).status_code == 403
    assert api(tenant, Role.AUDITOR).put(RETENTION, {}).status_code == 403


def test_the_console_shows_and_stores_the_policy(tenant: Tenant, client: Client) -> None:
    client.force_login(make_user("boss", tenant=tenant, role=Role.ADMIN))
    add = "/admin/integrations/logretention/add/"
    refused = client.post(add, {"call_log_days": "30", "failed_call_log_days": "20"})
    assert refused.status_code == 200
    assert "shorter" in refused.content.decode()
    assert LogRetention.unscoped.count() == 0
    assert client.post(add, {"call_log_days": "30", "failed_call_log_days": "40"}).status_code == 302
    stored = LogRetention.unscoped.get()
    assert (stored.tenant_id, stored.call_log_days, stored.queue_days) == (tenant.pk, 30, None)
    assert "already" in client.post(add, {"call_log_days": "5"}).content.decode()
    page = f"/admin/integrations/logretention/{stored.pk}/"
    assert client.post(f"{page}change/", {"queue_days": "7"}).status_code == 302
    assert client.post(f"{page}delete/", {"post": "yes"}).status_code == 302
    assert LogRetention.unscoped.count() == 0
    actions = list(AuditEntry.unscoped.filter(object_type="log_retention").order_by("pk").values_list("action", flat=True))
    assert actions == ["log_retention.updated", "log_retention.updated", "log_retention.deleted"]


# --- erasing


def test_one_exchange_is_erased_once_and_audited(admin_api: APIClient, tenant: Tenant) -> None:
    row = make_log(
        tenant, url="https://api.example/send?to=254712345678", request_body="secret words", response_body="more",
        request_headers={"A": "b"}, response_headers={"C": "d"}, status_code=200, duration_ms=12,
    )  # fmt: skip
    for _ in range(2):
        answer = admin_api.post(f"{LOGS}/{row.pk}/erase", HTTP_IDEMPOTENCY_KEY="once")
        assert answer.status_code == 200, answer.content
        shown = answer.json()
        assert (shown["request_body"], shown["response_body"], shown["request_headers"], shown["response_headers"]) == (
            "",
            "",
            {},
            {},
        )
        assert shown["url"] == "https://api.example/send"
        assert shown["erased_at"]
        assert (shown["status_code"], shown["duration_ms"], shown["operation"]) == (200, 12, "send")
    assert AuditEntry.unscoped.filter(action="log.erased", object_id=str(row.pk)).count() == 1
    assert admin_api.post(f"{LOGS}/{10**30}/erase").status_code == 404


def test_an_exchange_that_goes_on_is_not_erased(admin_api: APIClient, tenant: Tenant) -> None:
    row = make_log(tenant, status="pending", request_body="words")
    assert admin_api.post(f"{LOGS}/{row.pk}/erase").status_code == 409
    assert CallLog.unscoped.get().request_body == "words"
    CallLog.unscoped.update(created=timezone.now() - timedelta(minutes=6))
    assert admin_api.post(f"{LOGS}/{row.pk}/erase").status_code == 200


def test_only_an_admin_erases(tenant: Tenant, api: Callable[..., APIClient]) -> None:
    row = make_log(tenant, request_body="words")
    for client in (api(tenant, Role.STAFF), api(tenant, Role.AUDITOR), api(tenant, scopes=["logs:read"])):
        assert client.post(f"{LOGS}/{row.pk}/erase").status_code == 403
    assert CallLog.unscoped.get().request_body == "words"


def test_the_stored_request_goes_with_its_log(admin_api: APIClient, tenant: Tenant, other_tenant: Tenant) -> None:
    receipt, strange = make_receipt(tenant), make_receipt(other_tenant)
    row = make_log(
        tenant,
        direction="inbound",
        provider="mpesa",
        operation="webhook.stk",
        external_reference=str(receipt.pk),
        request_body="x",
    )
    # Somebody may put any number there.
    notify = make_log(
        tenant,
        direction="inbound",
        provider="mpesa",
        operation="webhook.stk",
        external_reference=str(strange.pk),
        request_body="x",
    )
    for each in (row, notify):
        assert admin_api.post(f"{LOGS}/{each.pk}/erase").status_code == 200
    receipt.refresh_from_db()
    strange.refresh_from_db()
    assert (bytes(receipt.body), receipt.headers, receipt.query, receipt.status) == (b"", {}, {}, "processed")
    assert bytes(strange.body)
    assert AuditEntry.unscoped.filter(action="receipt.erased").count() == 1
    with pytest.raises(Conflict):
        reprocess(receipt=receipt)


def test_what_waits_to_be_processed_is_not_erased(admin_api: APIClient, tenant: Tenant) -> None:
    receipt = make_receipt(tenant, status="received")
    row = make_log(
        tenant,
        direction="inbound",
        provider="mpesa",
        operation="webhook.stk",
        external_reference=str(receipt.pk),
        request_body="x",
    )
    assert admin_api.post(f"{LOGS}/{row.pk}/erase").status_code == 409
    assert CallLog.unscoped.get().request_body == "x", "neither of the two"
    assert bytes(Receipt.unscoped.get().body)


def test_a_stored_request_is_erased_with_its_log(tenant: Tenant) -> None:
    receipt = make_receipt(tenant)
    log = make_log(
        tenant,
        direction="inbound",
        provider="mpesa",
        operation="webhook.stk",
        external_reference=str(receipt.pk),
        request_body="x",
    )
    other = make_log(tenant, provider="mpesa", external_reference=str(receipt.pk), request_body="x")
    with scope(tenant=tenant):
        assert is_erased(erase_receipt(receipt=receipt))
    assert CallLog.unscoped.get(pk=log.pk).erased_at is not None
    assert CallLog.unscoped.get(pk=other.pk).request_body == "x"


def test_the_console_has_buttons(tenant: Tenant, client: Client) -> None:
    client.force_login(make_user("boss", tenant=tenant, role=Role.ADMIN))
    log, receipt = make_log(tenant, request_body="words"), make_receipt(tenant)
    for page in (f"/admin/integrations/calllog/{log.pk}/", f"/admin/webhooks_inbound/receipt/{receipt.pk}/"):
        assert "Erase what it says" in client.get(f"{page}change/").content.decode()
        assert client.post(f"{page}press/erase/").status_code == 302
        shown = client.get(f"{page}change/").content.decode()
        assert "Erase what it says" not in shown
        assert "Process again" not in shown
    assert CallLog.unscoped.get().request_body == ""
    assert bytes(Receipt.unscoped.get().body) == b""
    client.force_login(make_user("eyes", tenant=tenant, role=Role.AUDITOR))
    log = make_log(tenant, request_body="words")
    assert client.post(f"/admin/integrations/calllog/{log.pk}/press/erase/").status_code == 403
