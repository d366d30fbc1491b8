"""What is kept for a time only: each tenant's own word, failures longer, in batches that walk on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django_scopes import scope

from integrations.contracts.errors import InvalidRequest
from integrations.models import Attempt, AuditEntry, CallLog, LogRetention, QueueItem, Tenant
from integrations.runtime import keeping, retention
from tests.factories import MovableClock, make_item, make_log

pytestmark = pytest.mark.django_db


def aged(tenant: Tenant, clock: MovableClock, days: int, **fields: Any) -> int:
    row = make_log(tenant, **fields)
    CallLog.unscoped.filter(pk=row.pk).update(created=clock.moment - timedelta(days=days))
    return row.pk


def ended(tenant: Tenant, clock: MovableClock, days: int, state: str, **fields: Any) -> int:
    return make_item(tenant, state=state, finished_at=clock.moment - timedelta(days=days), **fields).pk


def left(rows: QuerySet[Any]) -> set[Any]:
    return set(rows.values_list("pk", flat=True))


def test_failed_calls_are_kept_longer(tenant: Tenant, clock: MovableClock) -> None:
    aged(tenant, clock, 91)
    aged(tenant, clock, 181, status="failed")
    aged(tenant, clock, 181, status="timeout")
    aged(tenant, clock, 181, status="pending")
    kept = {
        aged(tenant, clock, 89),
        aged(tenant, clock, 179, status="failed"),
        aged(tenant, clock, 179, status="timeout"),
        aged(tenant, clock, 179, status="pending"),
    }
    assert retention.purge()["call_logs"] == 4
    assert left(CallLog.unscoped.all()) == kept


def test_each_tenant_has_its_own_word(tenant: Tenant, other_tenant: Tenant, clock: MovableClock) -> None:
    LogRetention.unscoped.create(tenant=tenant, call_log_days=7, failed_call_log_days=14, queue_days=8, failed_queue_days=9)
    LogRetention.unscoped.create(tenant=other_tenant, call_log_days=400)
    for days in (8, 13):
        aged(tenant, clock, days)
    kept = {aged(tenant, clock, 6), aged(tenant, clock, 13, status="failed"), aged(other_tenant, clock, 399)}
    kept.add(aged(other_tenant, clock, 399, status="failed"))  # what failed never goes before what did not
    aged(tenant, clock, 15, status="failed")
    aged(other_tenant, clock, 401)
    ended(tenant, clock, 9, "completed")
    items = {ended(tenant, clock, 8, "failed"), ended(other_tenant, clock, 29, "completed")}
    counts = retention.purge()
    assert (counts["call_logs"], counts["queue_items"]) == (4, 1)
    assert left(CallLog.unscoped.all()) == kept
    assert left(QueueItem.unscoped.all()) == items


def test_items_that_wait_or_need_a_person_are_never_deleted(tenant: Tenant, clock: MovableClock) -> None:
    states = ("pending", "processing", "unknown", "needs_review")
    kept = {ended(tenant, clock, 5000, state) for state in states}
    kept |= {ended(tenant, clock, 29, "completed"), ended(tenant, clock, 29, "cancelled"), ended(tenant, clock, 179, "failed")}
    for days, state in ((31, "completed"), (31, "cancelled"), (181, "failed")):
        ended(tenant, clock, days, state)
    assert retention.purge()["queue_items"] == 3
    assert left(QueueItem.unscoped.all()) == kept


def test_tries_go_with_their_item_and_its_calls_stay(tenant: Tenant, clock: MovableClock) -> None:
    gone = ended(tenant, clock, 31, "completed")
    Attempt.unscoped.create(tenant=tenant, item_id=gone, fence=1, operation="send", started_at=clock.moment)
    call = aged(tenant, clock, 31, item_id=gone)
    assert retention.purge()["queue_items"] == 2
    assert CallLog.unscoped.get(pk=call).item_id is None
    assert Attempt.unscoped.count() == 0


@pytest.mark.django_db(transaction=True)
def test_what_somebody_holds_is_passed_over(tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item that is retried between being looked up and being deleted stays."""
    first, second = (ended(tenant, clock, 200, "failed") for _ in range(2))
    batches = retention.batches

    def meddled(*args: Any, **kwargs: Any) -> Any:
        for keys in batches(*args, **kwargs):
            QueueItem.unscoped.filter(pk=first).update(state="pending", finished_at=None)
            yield keys

    monkeypatch.setattr(retention, "batches", meddled)
    rows = retention.old_items(tenant.pk, keeping.kept_by(None))
    assert retention.in_batches(rows, lambda keys: rows.model.unscoped.filter(pk__in=keys).delete()[0], by="finished_at") == 1
    assert left(QueueItem.unscoped.all()) == {first}
    assert second != first


def test_a_batch_begins_where_the_one_before_ended(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for days in (100, 100, 100, 101, 102):
        aged(tenant, clock, days)
    rows = retention.old_logs(tenant.pk, keeping.kept_by(None))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert [len(keys) for keys in retention.batches(rows, by="created")] == [2, 2, 1]
    later = [each["sql"] for each in queries.captured_queries][1:]
    assert all('"created" >=' in sql for sql in later), "the index is entered where the last batch ended"
    assert retention.delete_in_batches(rows, by="created") == 5


def test_a_run_ends_in_time_and_the_next_one_goes_on(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        aged(tenant, clock, 100)
    rows = retention.old_logs(tenant.pk, keeping.kept_by(None))
    assert retention.delete_in_batches(rows, by="created", span=retention.Span(0)) == 2
    assert retention.delete_in_batches(rows, by="created") == 3


def test_a_policy_is_checked_stored_and_audited(tenant: Tenant) -> None:
    with scope(tenant=tenant):
        keeping.save_policy(tenant=tenant, values={"call_log_days": 10, "failed_call_log_days": 20})
        policy = keeping.save_policy(tenant=tenant, values={"call_log_days": 11, "failed_call_log_days": 20})
        for values, attr in (
            ({"call_log_days": 30, "failed_call_log_days": 29}, "failed_call_log_days"),
            ({"failed_queue_days": 29}, "failed_queue_days"),
            ({"call_log_days": 0}, "call_log_days"),
            ({"message_days": 31}, "message_days"),
            ({"queue_days": 6}, "queue_days"),
            ({"receipt_days": 3651}, "receipt_days"),
        ):
            with pytest.raises(InvalidRequest) as refused, transaction.atomic():
                keeping.save_policy(tenant=tenant, values=values)
            assert refused.value.attr == attr
    stored = LogRetention.unscoped.get()
    assert (stored.pk, stored.call_log_days, stored.failed_call_log_days, stored.queue_days) == (policy.pk, 11, 20, None)
    last = AuditEntry.unscoped.filter(tenant=tenant, action="log_retention.updated").order_by("-pk").first()
    assert last is not None
    assert last.changes == {"call_log_days": [10, 11]}
    keeping.delete_policy(stored)
    assert AuditEntry.unscoped.filter(action="log_retention.deleted").count() == 1
