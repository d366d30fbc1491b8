"""Items over which workers die, again and again: they are given up before they take the whole hub with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.models import Alert, QueueItem, QueueState, Tenant
from integrations.runtime import worker
from integrations.runtime.settling import MOST_CRASHES
from integrations.runtime.worker import claim_and_run, claim_one, recover_lapsed
from tests.factories import MovableClock
from tests.runtime.service import Service
from tests.runtime.support import SampleJob, SampleLocalJob, fresh, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]


@pytest.fixture(autouse=True)
def _attempts_enough(job: SampleJob, local_job: SampleLocalJob, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (job, local_job):
        monkeypatch.setattr(each, "max_attempts", 20)


@pytest.fixture
def dies(clock: MovableClock) -> Callable[..., None]:
    """`dies(item, sending=False)`: a worker takes the item and dies over it; it is recovered."""

    def die(item: QueueItem, *, sending: bool = False) -> None:
        claimed = claim_one(item.pk)
        assert claimed is not None
        if sending:
            worker._mark_sending(claimed, "act")
        clock.advance(300)
        assert recover_lapsed() == 1

    return die


@pytest.mark.parametrize("kind", ["sample.call", "sample.local"])
def test_after_three_deaths_in_a_row_it_is_given_up_with_an_alert(add: Add, tenant: Tenant, dies: Any, kind: str) -> None:
    item = add(kind=kind)
    for count in range(1, MOST_CRASHES):
        dies(item)
        assert (fresh(item).state, fresh(item).crashes) == ("pending", count)

    dies(item)

    assert (fresh(item).state, fresh(item).crashes) == ("failed", MOST_CRASHES)
    assert told(tenant.pk)[-1] == ("told:failed", "_Interrupted")
    (alert,) = Alert.objects.filter(tenant=tenant, kind="queue_item_failed")
    assert "3 workers in a row died over it" in alert.message


def test_a_death_over_something_sent_is_an_unknown_outcome_at_once(add: Add, tenant: Tenant, dies: Any) -> None:
    item = add()
    dies(item, sending=True)
    assert (fresh(item).state, fresh(item).crashes) == ("unknown", 1)
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]


def test_deaths_with_a_run_between_them_do_not_add_up(add: Add, service: Service, dies: Any, clock: MovableClock) -> None:
    item = add("ask")
    service.will_answer(503)
    dies(item)
    dies(item)
    assert claim_and_run(item).state == QueueState.PENDING
    assert fresh(item).crashes == 0
    dies(item)
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert fresh(item).crashes == 0


@pytest.mark.parametrize(("kind", "operation"), [("sample.local", "act"), ("sample.call", "act"), ("sample.call", "nothing")])
def test_a_suspect_that_succeeds_is_none_any_more(add: Add, service: Service, dies: Any, kind: str, operation: str) -> None:
    item = add(operation, kind=kind)
    dies(item)
    assert claim_and_run(item).state == QueueState.COMPLETED
    assert fresh(item).crashes == 0
