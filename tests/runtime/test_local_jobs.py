"""Jobs without the network: their writes and the settling of their item are one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from integrations.models import Alert, QueueItem, QueueState, Tenant
from integrations.runtime.jobs import RetryLater
from integrations.runtime.worker import claim_and_run
from tests.factories import MovableClock
from tests.runtime.support import SampleLocalJob, fresh, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]


def test_local_job_and_its_item_commit_together(add: Add, tenant: Tenant) -> None:
    item = add(kind="sample.local", payload={"value": "x"})
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert told(tenant.pk) == [("told:ran", "x")]
    assert fresh(item).finished_at is not None


def test_local_job_that_breaks_leaves_nothing_of_its_writes(
    add: Add, tenant: Tenant, local_job: SampleLocalJob, clock: MovableClock
) -> None:
    def break_down(_item: QueueItem) -> None:
        raise RuntimeError("bug")

    local_job.act = break_down
    item = add(kind="sample.local")

    assert claim_and_run(item).state == QueueState.PENDING
    assert told(tenant.pk) == []
    assert 5.0 <= (fresh(item).due_at - clock.moment).total_seconds() <= 6.25
    clock.moment = fresh(item).due_at
    assert claim_and_run(item).state == QueueState.FAILED
    assert told(tenant.pk) == [("told:failed", "RuntimeError")]
    assert Alert.objects.filter(tenant=tenant, kind="queue_item_failed").count() == 1


@pytest.mark.parametrize(
    ("code", "counted"),
    [("53100", 0), ("57P03", 0), ("08006", 0), ("57014", 1), ("23505", 1), ("XX000", 1), ("53200", 1), ("53400", 1)],
)
def test_an_outage_of_the_database_uses_up_no_attempt(
    add: Add, tenant: Tenant, local_job: SampleLocalJob, clock: MovableClock, code: str, counted: int
) -> None:
    def full_disk(_item: QueueItem) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")

    local_job.act = full_disk
    item = add(kind="sample.local")
    assert claim_and_run(item).state == QueueState.PENDING
    assert fresh(item).attempts == counted
    if not counted:
        assert fresh(item).due_at == clock.moment + timedelta(seconds=15)
        for _ in range(5):
            clock.moment = fresh(item).due_at
            assert claim_and_run(item).state == QueueState.PENDING
        assert told(tenant.pk) == []


def test_local_job_may_ask_for_later(add: Add, tenant: Tenant, local_job: SampleLocalJob, clock: MovableClock) -> None:
    def later(_item: QueueItem) -> None:
        raise RetryLater(33, "not yet")

    local_job.act = later
    item = add(kind="sample.local")

    assert claim_and_run(item).state == QueueState.PENDING
    row = fresh(item)
    assert (row.due_at, row.last_error) == (clock.moment + timedelta(seconds=33), "not yet")
    assert told(tenant.pk) == []
