"""A database that restarts while an answer is in hand: nothing is lost, nothing is applied twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime import worker
from integrations.runtime.worker import claim_and_run
from tests.factories import MovableClock
from tests.runtime.service import Service
from tests.runtime.support import SampleJob, SampleLocalJob, told

pytestmark = pytest.mark.django_db(transaction=True)
Add = Callable[..., QueueItem]


@pytest.fixture(autouse=True)
def _standing(clock: MovableClock) -> None:
    """Everything here happens at a time that the test sets."""


def fresh(item: QueueItem) -> QueueItem:
    found: QueueItem = QueueItem.unscoped.get(pk=item.pk)
    return found


@pytest.mark.parametrize("times", [1, 4])
def test_an_answer_in_hand_survives_a_database_that_restarts(
    add: Add, service: Service, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    real, left = worker._settle_success, [times]
    waits: list[float] = []

    def failing(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OperationalError("the database system is shutting down")
        return real(*args)

    monkeypatch.setattr(worker, "_settle_success", failing)
    monkeypatch.setattr(worker.time, "sleep", waits.append)
    item = add()

    assert claim_and_run(item).state == QueueState.COMPLETED

    assert waits == [0.1, 0.2, 0.4, 0.8][:times]
    assert len(service.received) == 1
    assert told(tenant.pk) == [("told:succeeded", "v")]
    assert fresh(item).attempts == 1


def test_a_commit_whose_confirmation_was_lost_is_not_applied_twice(
    add: Add, service: Service, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = worker._settle_success, []

    def committed_but_unconfirmed(*args: Any) -> Any:
        calls.append(1)
        outcome = real(*args)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return outcome

    monkeypatch.setattr(worker, "_settle_success", committed_but_unconfirmed)
    monkeypatch.setattr(worker.time, "sleep", lambda _seconds: None)
    item = add()

    assert claim_and_run(item).state == QueueState.COMPLETED
    assert told(tenant.pk) == [("told:succeeded", "v")]
    assert fresh(item).attempts == 1


def test_a_database_that_stays_away_is_waited_for_a_minute_only(
    add: Add, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])

    def away() -> None:
        raise OperationalError("connection refused")

    with monkeypatch.context() as cut:
        cut.setattr(connections["default"], "ensure_connection", away)
        with pytest.raises(OperationalError) as raised:
            worker.patiently(lambda: None)
    assert not isinstance(raised.value, worker.ConnectionsBroke)
    assert worker.DATABASE_PATIENCE <= now[0] <= worker.DATABASE_PATIENCE + 2.1


def end_my_connection(_item: QueueItem | None = None) -> None:
    """Do to the server what a statement does that crashes it: as far as this connection can tell."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        cursor.execute("SELECT 1")


def test_a_local_job_over_which_the_database_goes_each_time_is_given_up(
    add: Add, tenant: Tenant, local_job: SampleLocalJob, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.time, "sleep", lambda _seconds: None)
    runs: list[int] = []

    def poison(_item: QueueItem) -> None:
        runs.append(1)
        end_my_connection()

    local_job.act = poison
    item = add(kind="sample.local")
    seen = []
    while fresh(item).state == "pending":
        claim_and_run(item)
        seen.append((len(runs), fresh(item).crashes, fresh(item).attempts))
        clock.advance(15)

    assert seen == [(2, 1, 0), (3, 2, 0), (4, 3, 0)]
    assert fresh(item).state == "failed"
    assert told(tenant.pk) == [("told:failed", "ConnectionsBroke")]


def test_a_local_job_that_loses_its_connection_once_is_run_again_and_is_no_suspect(
    add: Add, tenant: Tenant, local_job: SampleLocalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.time, "sleep", lambda _seconds: None)
    ends = [end_my_connection]
    local_job.act = lambda item: ends.pop()(item) if ends else None
    item = add(kind="sample.local")
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert (fresh(item).attempts, fresh(item).crashes) == (0, 0)
    assert told(tenant.pk) == [("told:ran", "")]


def test_an_answer_whose_settling_takes_the_database_with_it_is_not_settled_for_a_minute(
    add: Add, service: Service, job: SampleJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(worker.time, "sleep", waits.append)
    monkeypatch.setattr(job, "succeeded", lambda item, _result: end_my_connection(item))
    item = add()
    with pytest.raises(worker.ConnectionsBroke):
        claim_and_run(item)
    assert len(waits) == worker.MOST_BREAKS - 1
    assert len(service.received) == 1
    assert fresh(item).state == "processing", "its lease lapses, and its outcome is looked for"
