"""The call log and the queue through the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.management.samples import SampleJob
from integrations.models import Attempt, AttemptState, CallLog, QueueItem, QueueState, Role, Tenant
from integrations.runtime import jobs
from tests.factories import MovableClock, make_item, make_log

pytestmark = pytest.mark.django_db
LOGS = "/api/v1/integrations/logs"
QUEUE = "/api/v1/integrations/queue"


@pytest.fixture(autouse=True)
def sample_job() -> None:
    jobs.register(SampleJob())


def ids(client: APIClient, url: str) -> list[int]:
    answer = client.get(url)
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["results"]]


def test_log_filters(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    one = make_log(tenant, provider="alpha", operation="send", reference_type="payment", reference_id="pay_1", ip="192.0.2.1")
    two = make_log(
        tenant, provider="beta", direction="inbound", status="failed", external_reference="ext-9", error="Limit %_reached"
    )
    CallLog.unscoped.filter(pk=one.pk).update(created=clock.moment - timedelta(days=2))
    CallLog.unscoped.filter(pk=two.pk).update(created=clock.moment)
    assert ids(admin_api, LOGS) == [two.pk, one.pk]
    assert ids(admin_api, f"{LOGS}?ordering=id") == [one.pk, two.pk]
    for query, expected in [
        ("provider=alpha", [one.pk]),
        ("direction=inbound", [two.pk]),
        ("operation=send&provider=beta", [two.pk]),
        ("status=failed", [two.pk]),
        ("reference=pay_1&reference_type=payment", [one.pk]),
        ("external_reference=ext-9", [two.pk]),
        ("created_after=2026-11-20T00:00:00Z", [two.pk]),
        ("created_before=2026-11-20T00:00:00Z", [one.pk]),
        ("q=limit+%25_REACH", [two.pk]),
        ("q=nowhere", []),
    ]:
        assert ids(admin_api, f"{LOGS}?{query}") == expected, query


@pytest.mark.parametrize("query", ["status=odd", "direction=up", "created_after=yesterday", "config=x", "q=%00"])
def test_a_bad_log_filter_is_400(admin_api: APIClient, query: str) -> None:
    answer = admin_api.get(f"{LOGS}?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == query.partition("=")[0]


def test_log_pages(admin_api: APIClient, tenant: Tenant) -> None:
    rows = [make_log(tenant).pk for _ in range(5)]
    first = admin_api.get(f"{LOGS}?page_size=2").json()
    assert [each["id"] for each in first["results"]] == [rows[4], rows[3]]
    second = admin_api.get(first["next"]).json()
    assert [each["id"] for each in second["results"]] == [rows[2], rows[1]]


def test_log_detail(admin_api: APIClient, tenant: Tenant) -> None:
    row = make_log(tenant, request_body='{"a":1}', response_body="ok", request_headers={"A": "b"}, status_code=201)
    shown = admin_api.get(f"{LOGS}/{row.pk}").json()
    assert (shown["request_body"], shown["response_body"], shown["status_code"]) == ('{"a":1}', "ok", 201)
    assert (shown["request_headers"], shown["reference"]) == ({"A": "b"}, None)
    assert "request_body" not in admin_api.get(LOGS).json()["results"][0]
    assert admin_api.get(f"{LOGS}/{10**30}").status_code == 404


def test_queue_list_and_detail(admin_api: APIClient, tenant: Tenant) -> None:
    error = {"at": "2026-11-20T09:00:00+00:00", "attempt": 1, "error": "ProviderUnavailable", "detail": "away"}
    failed = make_item(tenant, state="failed", errors=[error], reference_type="payment", reference_id="pay_1")
    waiting = make_item(tenant)
    assert ids(admin_api, QUEUE) == [waiting.pk, failed.pk]
    assert ids(admin_api, f"{QUEUE}?state=failed") == [failed.pk]
    assert ids(admin_api, f"{QUEUE}?state=failed&state=pending&kind=sample") == [waiting.pk, failed.pk]
    assert ids(admin_api, f"{QUEUE}?reference=pay_1") == [failed.pk]
    assert admin_api.get(f"{QUEUE}?state=odd").status_code == 400
    shown = admin_api.get(f"{QUEUE}/{failed.pk}").json()
    assert shown["errors"][0]["error"] == "ProviderUnavailable"
    assert shown["reference"] == {"type": "payment", "id": "pay_1"}


def test_cancel(admin_api: APIClient, tenant: Tenant) -> None:
    item = make_item(tenant)
    answer = admin_api.delete(f"{QUEUE}/{item.pk}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert "cancelled by key test admin" in answer.json()["last_error"]
    again = admin_api.delete(f"{QUEUE}/{item.pk}")
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "provider_conflict")


def test_retry(admin_api: APIClient, tenant: Tenant, work_off: Callable[..., Any]) -> None:
    item = make_item(tenant, state="failed", attempts=3)
    answer = admin_api.post(f"{QUEUE}/{item.pk}/retry")
    assert (answer.status_code, answer.json()["state"], answer.json()["attempts"]) == (200, "pending", 0)
    done = make_item(tenant, state="completed")
    assert admin_api.post(f"{QUEUE}/{done.pk}/retry").status_code == 409
    assert QueueItem.unscoped.get(pk=done.pk).state == QueueState.COMPLETED


def test_a_call_that_may_have_been_made_is_not_repeated(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    item = make_item(tenant, state="failed", fence=1)
    Attempt.unscoped.create(
        tenant=tenant, item=item, fence=1, operation="send", state=AttemptState.UNKNOWN, started_at=clock.moment
    )
    assert admin_api.post(f"{QUEUE}/{item.pk}/retry").status_code == 409
    answer = admin_api.post(f"{QUEUE}/retry", {"kind": "sample"})
    assert answer.status_code == 200
    assert answer.json()["retried"] == []
    assert [each["id"] for each in answer.json()["refused"]] == [item.pk]
    assert QueueItem.unscoped.get(pk=item.pk).state == QueueState.FAILED


def test_bulk_retry(admin_api: APIClient, tenant: Tenant, other_tenant: Tenant) -> None:
    mine = [make_item(tenant, state="failed") for _ in range(3)]
    other_kind, foreign = make_item(tenant, state="failed", kind="other"), make_item(other_tenant, state="failed")
    named = admin_api.post(f"{QUEUE}/retry", {"ids": [mine[0].pk, foreign.pk]})
    assert named.json() == {"retried": [mine[0].pk], "refused": [], "more": False}
    rest = admin_api.post(f"{QUEUE}/retry", {"kind": "sample"})
    assert rest.json()["retried"] == [mine[1].pk, mine[2].pk]
    states = dict(QueueItem.unscoped.values_list("pk", "state"))
    assert (states[other_kind.pk], states[foreign.pk]) == ("failed", "failed")


@pytest.mark.parametrize(
    ("body", "attr"),
    [({}, "all"), ({"state": "pending", "all": True}, "state"), ({"kinds": "x"}, "kinds"), ({"ids": ["x"]}, "ids.0")],
)
def test_a_bad_bulk_retry_changes_nothing(admin_api: APIClient, tenant: Tenant, body: dict[str, Any], attr: str) -> None:
    item = make_item(tenant, state="failed")
    answer = admin_api.post(f"{QUEUE}/retry", body)
    assert answer.status_code == 400
    assert attr in {each["attr"] for each in answer.json()["errors"]}
    assert QueueItem.unscoped.get(pk=item.pk).state == QueueState.FAILED


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("get", LOGS, "logs"),
        ("get", f"{LOGS}/1", "logs"),
        ("get", QUEUE, "queue"),
        ("get", f"{QUEUE}/1", "queue"),
        ("delete", f"{QUEUE}/1", "queue"),
        ("post", f"{QUEUE}/1/retry", "queue"),
        ("post", f"{QUEUE}/retry", "queue"),
    ],
)
def test_who_may(api: Callable[..., APIClient], tenant: Tenant, method: str, path: str, scope: str) -> None:
    def status(client: APIClient) -> int:
        return int(getattr(client, method)(path).status_code)

    assert status(APIClient()) == 401
    assert status(api(tenant, Role.STAFF)) == 403
    assert status(api(tenant, scopes=["payments"])) == 403
    assert status(api(tenant, scopes=[scope])) not in (401, 403)
    assert (status(api(tenant, Role.AUDITOR)) != 403) is (method == "get")
