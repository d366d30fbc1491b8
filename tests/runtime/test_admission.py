"""A tenant whose queue is full is told so, and when to come again; what is urgent gets in all the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from integrations.contracts import clock as hub_clock
from integrations.messaging.models import Message
from integrations.models import QueueItem, Tenant
from integrations.runtime import admission
from integrations.runtime.admission import QueueFull, admit
from tests.factories import make_client, make_config, make_item

pytestmark = pytest.mark.django_db

SMS = "/api/v1/integrations/sms/send"


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    admission.forget()
    yield
    admission.forget()


def full(tenant: Tenant, bound: int = 3) -> None:
    """Fill the tenant's queue up to its bound."""
    tenant.max_queued = bound
    tenant.save()
    for _ in range(bound):
        make_item(tenant)


def body(**fields: Any) -> dict[str, Any]:
    return {"to": ["+254712345678"], "message": "Term starts on Monday", **fields}


@pytest.fixture
def sender(tenant: Tenant, settings: Any, tmp_path: Any) -> Tenant:
    make_config(tenant, "africastalking")
    return tenant


def test_bulk_work_of_a_full_tenant_is_refused_with_the_wait_and_nothing_is_written(
    sender: Tenant, admin_api: APIClient
) -> None:
    full(sender)

    answer = admin_api.post(SMS, body(), headers={"Idempotency-Key": "k1"})

    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert answer.json()["errors"][0]["code"] == "queue_full"
    assert Message.unscoped.count() == 0
    assert QueueItem.unscoped.count() == 3
    QueueItem.unscoped.all().delete()
    admission.forget()
    assert admin_api.post(SMS, body(), headers={"Idempotency-Key": "k1"}).status_code == 202


def test_one_time_codes_get_in_all_the_same(sender: Tenant, admin_api: APIClient) -> None:
    full(sender)
    assert admin_api.post(SMS, body(category="otp")).status_code == 202
    assert admin_api.post(SMS, body(category=["otp"])).status_code == 429
    assert admin_api.post(SMS, ["otp"]).status_code == 429


def test_another_tenant_is_not_concerned(sender: Tenant, other_tenant: Tenant) -> None:
    full(sender)
    make_config(other_tenant, "africastalking")
    assert make_client(other_tenant).post(SMS, body()).status_code == 202


def test_a_retry_of_many_is_refused_too(tenant: Tenant, admin_api: APIClient) -> None:
    failed = make_item(tenant, state="failed")
    full(tenant)
    answer = admin_api.post("/api/v1/integrations/queue/retry", {"all": True})
    assert answer.status_code == 429
    assert QueueItem.unscoped.get(pk=failed.pk).state == "failed"


def test_money_and_codes_are_retried_all_the_same(tenant: Tenant, admin_api: APIClient) -> None:
    bulk, money = (make_item(tenant, state="failed", priority=priority) for priority in (5, 2))
    full(tenant)

    answer = admin_api.post("/api/v1/integrations/queue/retry", {"all": True}).json()

    assert answer == {"retried": [money.pk], "refused": [], "more": True}
    states = {each.pk: each.state for each in QueueItem.unscoped.filter(pk__in=[bulk.pk, money.pk])}
    assert states == {bulk.pk: "failed", money.pk: "pending"}
    assert admin_api.post("/api/v1/integrations/queue/retry", {"ids": [money.pk]}).json()["more"] is False


@pytest.mark.parametrize(
    ("waiting", "bound", "is_full"), [(2, 3, False), (3, 3, True), (4, 3, True), (0, 0, True), (0, 1, False)]
)
def test_the_bound_itself(tenant: Tenant, settings: Any, waiting: int, bound: int, is_full: bool) -> None:
    settings.HUB_MAX_QUEUED = bound
    for _ in range(waiting):
        make_item(tenant)
    make_item(tenant, state="completed")
    make_item(tenant, state="processing")
    try:
        admit(tenant)
    except QueueFull:
        assert is_full
    else:
        assert not is_full


def test_the_tenants_own_bound_goes_before_the_installations(tenant: Tenant, settings: Any) -> None:
    settings.HUB_MAX_QUEUED = 1
    make_item(tenant)
    with pytest.raises(QueueFull):
        admit(tenant)
    tenant.max_queued = 2
    admit(tenant)


@pytest.mark.parametrize(("ended", "wait"), [(0, 60.0), (1, 10.0), (5, 2.0), (40, 1.0)])
def test_the_wait_goes_by_what_ended_lately(tenant: Tenant, clock: Any, ended: int, wait: float) -> None:
    full(tenant)
    now = hub_clock.now()
    for number in range(ended):
        make_item(tenant, state="completed", finished_at=now - timedelta(milliseconds=10 * number))
    make_item(tenant, state="completed", finished_at=now - timedelta(seconds=11))
    with pytest.raises(QueueFull) as raised:
        admit(tenant)
    assert raised.value.retry_after == wait


def test_an_answer_is_good_for_a_moment(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])
    full(tenant)
    for _ in range(3):
        with pytest.raises(QueueFull):
            admit(tenant)
    with CaptureQueriesContext(connection) as queries, pytest.raises(QueueFull):
        admit(tenant)
    assert len(queries) == 0
    QueueItem.unscoped.all().delete()
    now[0] += admission.SECONDS
    admit(tenant)


def test_asking_walks_the_tenants_own_line_only(tenant: Tenant, other_tenant: Tenant) -> None:
    # Other tests leave the planner statistics of rows that are gone: it needs its own.
    for each, count in ((tenant, 3_000), (other_tenant, 3_000)):
        QueueItem.unscoped.bulk_create(
            [QueueItem(tenant=each, kind="sample.local", due_at=hub_clock.now()) for _ in range(count)]
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE integrations_queueitem")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {admission._FULL}", {"tenant": tenant.pk, "before": 100})
        found = cursor.fetchone()[0]
    plan = json.dumps(json.loads(found) if isinstance(found, str) else found)
    assert "queue_due_of_tenant" in plan
    assert "Sort" not in plan
    assert max(int(rows) for rows in re.findall(r'"Actual Rows": (\d+)', plan)) == 101


def test_what_the_workers_do_themselves_is_never_refused(tenant: Tenant, add: Callable[..., QueueItem]) -> None:
    full(tenant)
    assert add().state == "pending"
