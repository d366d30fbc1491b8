"""Putting work into the queue, and what people may do to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django_scopes import scope

from integrations.contracts.errors import Conflict
from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime import jobs
from integrations.runtime.queue import cancel_item, enqueue, note, retry_item
from integrations.runtime.worker import claim_and_run, claim_one, recover_lapsed
from tests.factories import MovableClock
from tests.runtime.service import Service
from tests.runtime.support import SampleJob, together, told

pytestmark = pytest.mark.django_db
Add = Callable[..., QueueItem]


@pytest.fixture(autouse=True)
def _standing(clock: MovableClock, tenant: Tenant) -> Any:
    """A time that the test sets, and the scope that a request or a worker would be in."""
    with scope(tenant=tenant):
        yield


def fresh(item: QueueItem) -> QueueItem:
    found: QueueItem = QueueItem.unscoped.get(pk=item.pk)
    return found


@pytest.mark.django_db(transaction=True)
def test_twenty_who_enqueue_one_key_at_once_get_one_item(add: Add) -> None:
    found = together(20, lambda _n: add(key="same").pk)

    assert len(set(found)) == 1
    assert [item.pk for item in QueueItem.unscoped.filter(key="same")] == [found[0]]


def test_a_key_is_free_again_once_its_item_has_ended(add: Add) -> None:
    first = add(key="k")
    assert add(key="k").pk == first.pk
    claimed = claim_one(first.pk)
    assert claimed is not None
    assert add(key="k").pk == first.pk
    QueueItem.unscoped.filter(pk=first.pk).update(state="completed")
    assert add(key="k").pk != first.pk


def test_a_key_counts_per_kind_and_tenant(add: Add, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        foreign = enqueue(tenant_id=other_tenant.pk, kind="sample.call", key="k")
    assert len({add(key="k").pk, add(kind="sample.local", key="k").pk, foreign.pk}) == 3


def test_without_a_key_each_is_its_own(add: Add) -> None:
    assert add().pk != add().pk


def test_what_rolls_back_was_never_queued(add: Add) -> None:
    def broken() -> None:
        with transaction.atomic():
            add()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert QueueItem.unscoped.count() == 0


def test_an_unknown_kind_is_refused_at_once(add: Add, tenant: Tenant) -> None:
    with pytest.raises(KeyError):
        enqueue(tenant_id=tenant.pk, kind="no.such")
    assert QueueItem.unscoped.count() == 0


def test_two_jobs_of_one_kind_are_refused(job: SampleJob) -> None:
    class Other(SampleJob):
        pass

    with pytest.raises(ValueError, match="two jobs have the kind"):
        jobs.register(Other())
    jobs.register(SampleJob())  # the same class again: an app that is set up twice
    assert jobs.get("sample.call").kind == "sample.call"


def test_cancel_tells_the_job_and_ends_the_item(add: Add, service: Service, tenant: Tenant) -> None:
    item = add()

    assert cancel_item(item.pk, tenant_id=tenant.pk, by="jane").state == QueueState.CANCELLED

    row = fresh(item)
    assert (row.state, row.last_error) == ("cancelled", "cancelled by jane")
    assert told(tenant.pk) == [("told:failed", "Conflict")]
    assert claim_and_run(item).state == QueueState.CANCELLED
    assert service.received == []


@pytest.mark.parametrize("state", ["processing", "completed", "failed", "cancelled", "unknown", "needs_review"])
def test_only_what_waits_can_be_cancelled(add: Add, tenant: Tenant, state: str) -> None:
    item = add()
    QueueItem.unscoped.filter(pk=item.pk).update(state=state)
    before = QueueItem.unscoped.filter(pk=item.pk).values().get()

    with pytest.raises(Conflict):
        cancel_item(item.pk, tenant_id=tenant.pk, by="jane")

    assert QueueItem.unscoped.filter(pk=item.pk).values().get() == before
    assert told(tenant.pk) == []


@pytest.mark.parametrize("state", ["processing", "completed", "unknown", "needs_review"])
def test_what_runs_is_done_or_unknown_can_not_be_retried(add: Add, tenant: Tenant, state: str) -> None:
    item = add()
    QueueItem.unscoped.filter(pk=item.pk).update(state=state)
    before = QueueItem.unscoped.filter(pk=item.pk).values().get()

    with pytest.raises(Conflict):
        retry_item(item.pk, tenant_id=tenant.pk, by="jane")

    assert QueueItem.unscoped.filter(pk=item.pk).values().get() == before


def test_retry_gives_a_failed_item_fresh_attempts(add: Add, service: Service, tenant: Tenant) -> None:
    service.will_answer(422)
    item = add()
    claim_and_run(item)
    assert fresh(item).state == "failed"

    retry_item(item.pk, tenant_id=tenant.pk, by="jane")

    row = fresh(item)
    assert (row.state, row.attempts, row.finished_at) == ("pending", 0, None)
    assert [entry["error"] for entry in row.errors] == ["InvalidRequest", "Retried"]
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert len(service.received) == 2


def test_retry_makes_a_waiting_item_due_now(add: Add, tenant: Tenant, clock: MovableClock) -> None:
    item = add(due_at=clock.moment + timedelta(hours=1))
    retry_item(item.pk, tenant_id=tenant.pk, by="jane")
    assert fresh(item).due_at == clock.moment


def test_retry_does_not_revive_what_is_too_late(add: Add, tenant: Tenant, clock: MovableClock) -> None:
    item = add(not_after=clock.moment + timedelta(seconds=5))
    cancel_item(item.pk, tenant_id=tenant.pk, by="jane")
    clock.advance(6)
    with pytest.raises(Conflict):
        retry_item(item.pk, tenant_id=tenant.pk, by="jane")
    assert fresh(item).state == "cancelled"


def test_retry_does_not_double_work_that_is_queued_anew(add: Add, tenant: Tenant) -> None:
    item = add(key="k")
    cancel_item(item.pk, tenant_id=tenant.pk, by="jane")
    twin = add(key="k")
    with pytest.raises(Conflict):
        retry_item(item.pk, tenant_id=tenant.pk, by="jane")
    assert [fresh(item).state, fresh(twin).state] == ["cancelled", "pending"]


def test_a_call_that_may_have_happened_is_never_repeated_even_if_its_item_says_failed(
    add: Add, service: Service, tenant: Tenant
) -> None:
    service.will_answer(500)
    item = add()
    claim_and_run(item)
    QueueItem.unscoped.filter(pk=item.pk).update(state="failed")

    with pytest.raises(Conflict):
        retry_item(item.pk, tenant_id=tenant.pk, by="jane")
    assert fresh(item).state == "failed"


@pytest.mark.parametrize("act", [cancel_item, retry_item])
def test_another_tenants_item_does_not_exist(add: Add, other_tenant: Tenant, act: Any) -> None:
    item = add()
    with pytest.raises(QueueItem.DoesNotExist):
        act(item.pk, tenant_id=other_tenant.pk, by="mallory")
    assert fresh(item).state == "pending"


def test_the_history_keeps_the_last_fifty(add: Add) -> None:
    item = add()
    for number in range(60):
        note(item, "E", f"n{number}")
    assert [entry["detail"] for entry in item.errors] == [f"n{number}" for number in range(10, 60)]
    assert item.last_error == "n59"


def test_recovery_finds_nothing_in_an_empty_queue() -> None:
    assert recover_lapsed() == 0
