"""The database goes away while a call is in flight: the provider's answer is still applied, counted and logged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection

from integrations.models import Attempt, BreakerState, CallLog, QueueItem, Tenant
from integrations.runtime.worker import Outcome, claim_one, run
from tests.runtime.service import Service
from tests.runtime.support import told

pytestmark = pytest.mark.django_db(transaction=True)


def run_and_lose_the_connection(item: QueueItem, service: Service) -> Outcome:
    """Run the item in a thread whose database connection is cut while the provider thinks."""
    service.gate = threading.Event()
    backend: list[int] = []
    outcome: list[Outcome] = []

    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            backend.append(cursor.fetchone()[0])
        claimed = claim_one(item.pk)
        assert claimed is not None
        outcome.append(run(claimed))
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while not service.received:
        assert time.monotonic() < deadline, "the call was never made"
        time.sleep(0.01)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", backend)
        assert cursor.fetchone() == (True,)
    service.gate.set()
    thread.join(60)
    return outcome[0]


def test_an_answer_is_applied_although_the_connection_died_meanwhile(
    add: Callable[..., QueueItem], service: Service, tenant: Tenant
) -> None:
    item = add()

    assert run_and_lose_the_connection(item, service).state == "completed"

    assert told(tenant.pk) == [("told:succeeded", "v")]
    assert [attempt.state for attempt in Attempt.unscoped.filter(item=item)] == ["succeeded"]
    assert list(CallLog.unscoped.filter(item_id=item.pk).values_list("status", "status_code")) == [("success", 200)]
    assert service.paths == [service.paths[0]]


def test_a_failure_is_counted_and_keeps_its_meaning(add: Callable[..., QueueItem], service: Service, tenant: Tenant) -> None:
    service.will_answer(503)
    item = add()

    outcome = run_and_lose_the_connection(item, service)

    assert (outcome.state, type(outcome.error).__name__) == ("pending", "ProviderUnavailable")
    assert told(tenant.pk) == [("told:waiting", "ProviderUnavailable")]
    assert BreakerState.objects.get().failures == 1
    assert list(CallLog.unscoped.filter(item_id=item.pk).values_list("status", "status_code")) == [("failed", 503)]
