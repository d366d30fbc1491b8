"""How many statements an item costs: what the machine does not change, and what a careless edit would raise unseen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from integrations.models import QueueItem
from integrations.runtime.queue import nudge
from integrations.runtime.worker import claim, run
from tests.runtime.service import Service
from tests.runtime.support import SampleLocalJob, fresh

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]


def test_a_local_job_costs_its_lock_and_its_settling(
    add: Add, local_job: SampleLocalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SampleLocalJob, "run", lambda _self, _item: None)
    item = add(kind="sample.local")
    (claimed,) = claim(1)

    with CaptureQueriesContext(connection) as queries:
        run(claimed)

    assert [each["sql"].split()[0] for each in queries] == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert fresh(item).state == "completed"


def test_a_call_is_announced_by_one_statement_and_settled_in_one_transaction(
    add: Add, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_send(_call: object, *, before_effect: Callable[[], None], **_more: object) -> str:
        before_effect()
        return "v"

    monkeypatch.setattr("integrations.runtime.worker.execute", only_send)
    monkeypatch.setattr("tests.runtime.support.SampleJob.succeeded", lambda *_arguments: None)
    add()
    (claimed,) = claim(1)

    with CaptureQueriesContext(connection) as queries:
        run(claimed)

    # Announced, then: the item's lock, the attempt's end, the item's end.
    assert [each["sql"].split()[0] for each in queries] == ["INSERT", "BEGIN", "SELECT", "UPDATE", "UPDATE", "COMMIT"]


def test_a_transaction_wakes_the_workers_once_and_after_it(add: Add) -> None:
    def add_some() -> None:
        with transaction.atomic():
            for _ in range(3):
                add()

    with CaptureQueriesContext(connection) as queries:
        add_some()
    assert [each["sql"] for each in queries][-2:] == ["COMMIT", "NOTIFY hub_queue"]
    assert len([each for each in queries if each["sql"].startswith("NOTIFY")]) == 1


def test_outside_of_a_transaction_the_workers_are_woken_at_once() -> None:
    with CaptureQueriesContext(connection) as queries:
        nudge()
    assert [each["sql"] for each in queries] == ["NOTIFY hub_queue"]
