"""A database that restarts while an answer is in hand: nothing is lost, nothing is applied twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from integrations.models import QueueItem, QueueState, Tenant
from integrations.runtime import worker
from integrations.runtime.worker import claim_and_run
from tests.factories import MovableClock
from tests.runtime.service import Service
from tests.runtime.support import told

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

    with pytest.raises(OperationalError):
        worker.patiently(away)
    assert worker.DATABASE_PATIENCE <= now[0] <= worker.DATABASE_PATIENCE + 2.1
