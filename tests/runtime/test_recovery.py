"""Workers that die or hang in the middle: what they held is taken care of, and what they sent is never sent again."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from integrations.contracts.errors import OutcomeUnknown
from integrations.models import Alert, Attempt, AttemptState, QueueItem, QueueState, Tenant
from integrations.runtime import jobs, worker
from integrations.runtime.queue import release_dead, retry_item
from integrations.runtime.worker import LeaseLost, claim, claim_one, recover_lapsed, run
from tests.factories import MovableClock
from tests.runtime.service import Service
from tests.runtime.support import SampleJob, fresh, together, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
Add = Callable[..., QueueItem]


def taken(item: QueueItem, *, sending: bool) -> QueueItem:
    """Claim the item as a worker that then dies: before, or after, it has announced that it sends."""
    claimed = claim_one(item.pk)
    assert claimed is not None
    if sending:
        worker._mark_sending(claimed, "act")
    return claimed


def break_over(poison: QueueItem, job: SampleJob, monkeypatch: pytest.MonkeyPatch, code: str) -> Callable[[], None]:
    """Make the database refuse the job's writes about this item with an SQLSTATE, until what is returned is called."""
    real, broken = job.unknown, [poison.pk]

    def breaks(item: QueueItem, error: OutcomeUnknown) -> QueueState:
        if item.pk in broken:
            with connection.cursor() as cursor:
                cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
        return real(item, error)

    monkeypatch.setattr(job, "unknown", breaks)
    return broken.clear


def test_a_lease_is_respected_until_it_lapses(add: Add, clock: MovableClock, job: SampleJob) -> None:
    item = taken(add(), sending=False)
    clock.advance(job.lease_seconds)
    assert recover_lapsed() == 0
    assert fresh(item).state == "processing"
    assert claim(10) == []


def test_a_lapsed_lease_over_nothing_sent_is_due_again(
    add: Add, service: Service, tenant: Tenant, clock: MovableClock, job: SampleJob
) -> None:
    item = taken(add(), sending=False)
    clock.advance(job.lease_seconds + 1)

    assert recover_lapsed() == 1

    row = fresh(item)
    assert (row.state, row.attempts, row.due_at, row.lease) == ("pending", 1, clock.moment, None)
    assert [run(again).state for again in claim(10)] == [QueueState.COMPLETED]
    assert len(service.received) == 1
    assert told(tenant.pk) == [("told:waiting", "_Interrupted"), ("told:succeeded", "v")]


def test_a_lapsed_lease_over_something_sent_is_unknown_once_and_never_run_again(
    add: Add, service: Service, tenant: Tenant, clock: MovableClock, job: SampleJob
) -> None:
    item = taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)

    assert [recover_lapsed(), recover_lapsed()] == [1, 0]

    clock.advance(days=3)
    assert claim(10) == []
    assert fresh(item).state == "unknown"
    assert Attempt.unscoped.get(item=item).state == AttemptState.UNKNOWN
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]
    assert service.received == []


@pytest.mark.django_db(transaction=True)
def test_many_who_recover_at_once_tell_the_job_once(add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob) -> None:
    for _ in range(5):
        taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)

    counts = together(6, lambda _n: recover_lapsed())

    assert sum(counts) == 5
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")] * 5


def test_dying_again_and_again_uses_up_the_attempts(add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob) -> None:
    item = add()
    for _ in range(job.max_attempts):
        taken(item, sending=False)
        clock.advance(job.lease_seconds + 1)
        assert recover_lapsed() == 1

    assert fresh(item).state == "failed"
    assert told(tenant.pk)[-1] == ("told:failed", "_Interrupted")
    assert Alert.objects.filter(tenant=tenant, kind="queue_item_failed").count() == 1


def test_a_local_job_whose_worker_died_is_due_again(add: Add, tenant: Tenant, clock: MovableClock) -> None:
    item = taken(add(kind="sample.local"), sending=False)
    clock.advance(61)
    assert recover_lapsed() == 1
    assert (fresh(item).state, fresh(item).due_at) == ("pending", clock.moment)
    assert told(tenant.pk) == []


@pytest.mark.parametrize("settle", ["failure", "unknown", "success_of_a_question", "local"])
def test_a_late_worker_that_lost_its_lease_changes_nothing(
    add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob, local_job: Any, settle: str
) -> None:
    late = taken(add(kind="sample.local" if settle == "local" else "sample.call"), sending=False)
    clock.advance(200)
    assert recover_lapsed() == 1
    second = taken(fresh(late), sending=False)
    before = QueueItem.unscoped.filter(pk=late.pk).values().get()
    said = told(tenant.pk)

    settling: dict[str, Callable[[], Any]] = {
        "failure": lambda: worker._settle_failure(late, job, worker._Interrupted("late")),
        "unknown": lambda: worker._settle_failure(late, job, OutcomeUnknown("late")),
        "success_of_a_question": lambda: worker._settle_success(late, job, "late"),
        "local": lambda: worker._run_local(late, local_job),
    }
    with pytest.raises(LeaseLost):
        settling[settle]()

    assert QueueItem.unscoped.filter(pk=late.pk).values().get() == before
    assert told(tenant.pk) == said
    assert second.fence == late.fence + 1


def test_a_worker_that_lost_its_lease_may_not_start_sending(
    add: Add, service: Service, clock: MovableClock, job: SampleJob
) -> None:
    late = taken(add(), sending=False)
    clock.advance(job.lease_seconds + 1)
    recover_lapsed()

    outcome = run(late)

    assert outcome.state == QueueState.PENDING
    assert service.received == []
    assert Attempt.unscoped.count() == 0


def test_the_late_answer_to_what_was_sent_is_the_truth(add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob) -> None:
    late = taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)
    recover_lapsed()
    assert fresh(late).state == "unknown"

    outcome = worker._settle_success(late, job, "it worked")

    assert outcome.state == QueueState.COMPLETED
    assert fresh(late).state == "completed"
    assert Attempt.unscoped.get(item=late).state == AttemptState.SUCCEEDED
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown"), ("told:succeeded", "it worked")]


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_hangs_beyond_its_lease_sends_once_and_its_answer_counts(
    add: Add, service: Service, tenant: Tenant, clock: MovableClock, job: SampleJob
) -> None:
    service.gate = threading.Event()
    claimed = claim_one(add().pk)
    outcomes: list[Any] = []

    def slow() -> None:
        try:
            outcomes.append(run(claimed))
        finally:
            connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    while not service.received:
        thread.join(0.01)
    clock.advance(job.lease_seconds + 1)
    assert recover_lapsed() == 1
    assert claim(10) == []
    service.gate.set()
    thread.join(60)

    assert [outcome.state for outcome in outcomes] == [QueueState.COMPLETED]
    assert len(service.received) == 1
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown"), ("told:succeeded", "v")]


def test_one_item_that_breaks_its_own_recovery_does_not_hold_up_the_others(
    add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob
) -> None:
    poison = taken(add(payload={"break_on": "unknown"}), sending=True)
    clock.advance(1)
    good = taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)

    recover_lapsed()

    assert fresh(good).state == "unknown"
    assert fresh(poison).state == "processing"
    assert told(tenant.pk) == [("told:unknown", "OutcomeUnknown")]


@pytest.mark.parametrize("code", ["55P03", "40P01", "57014", "53200"])
@pytest.mark.django_db(transaction=True)
def test_an_item_whose_rows_cannot_be_had_is_set_aside_and_the_others_stay_recovered(
    add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    before = taken(add(), sending=True)
    clock.advance(1)
    poison = taken(add(), sending=True)
    clock.advance(1)
    after = taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)
    mend = break_over(poison, job, monkeypatch, code)

    assert recover_lapsed() == 2

    assert [fresh(item).state for item in (before, poison, after)] == ["unknown", "processing", "unknown"]
    assert recover_lapsed() == 0
    clock.advance(61)
    mend()
    assert recover_lapsed() == 1
    assert fresh(poison).state == "unknown"


@pytest.mark.django_db(transaction=True)
def test_an_item_whose_recovery_takes_the_database_with_it_is_not_tried_at_once(
    add: Add, clock: MovableClock, job: SampleJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = taken(add(), sending=True)
    clock.advance(1)
    good = taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)
    break_over(poison, job, monkeypatch, "57P02")

    with pytest.raises(OperationalError):
        recover_lapsed()

    assert recover_lapsed() == 1
    assert [fresh(item).state for item in (poison, good)] == ["processing", "unknown"]


def test_an_item_of_a_feature_that_has_gone_does_not_hold_up_the_others(
    add: Add, clock: MovableClock, job: SampleJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = taken(add(kind="sample.local"), sending=False)
    clock.advance(1)
    good = taken(add(), sending=False)
    clock.advance(job.lease_seconds + 1)
    monkeypatch.delitem(jobs._jobs, "sample.local")

    recover_lapsed()

    assert fresh(good).state == "pending"
    assert fresh(gone).state == "processing"


def test_only_what_dead_processes_of_this_machine_held_is_let_go(add: Add, clock: MovableClock, job: SampleJob) -> None:
    host = socket.gethostname()[:60]
    names = {
        "dead": f"{host}:4001:g1",
        "alive": f"{host}:4002:g1",
        "other machine": f"{host}x:4001:g1",
        "lookalike": f"z{host}:4001:g1",
    }
    items = {}
    for label, name in names.items():
        items[label] = taken(add(), sending=False)
        QueueItem.unscoped.filter(pk=items[label].pk).update(worker=name)
    settled = add()
    QueueItem.unscoped.filter(pk=settled.pk).update(worker=names["dead"])

    assert release_dead(host, lambda pid: pid != 4001) == 1
    assert recover_lapsed() == 1

    states = {label: fresh(item).state for label, item in items.items()}
    assert states == {"dead": "pending", "alive": "processing", "other machine": "processing", "lookalike": "processing"}
    assert fresh(settled).state == "pending"


def test_what_ran_beside_a_worker_that_died_is_not_blamed(add: Add, clock: MovableClock, job: SampleJob) -> None:
    host = socket.gethostname()[:60]
    names = {"culprit": f"{host}:4001:g1", "beside": f"{host}:4002:g1", "another group": f"{host}:4002:g2"}
    items = {label: taken(add(), sending=False) for label in names}
    for label, name in names.items():
        QueueItem.unscoped.filter(pk=items[label].pk).update(worker=name, crashes=1)

    assert release_dead(host, lambda _pid: False, lambda pid, group: (pid, group) == (4002, "g1")) == 3
    assert recover_lapsed() == 3

    counted = {label: (fresh(item).state, fresh(item).crashes) for label, item in items.items()}
    assert counted == {"culprit": ("pending", 2), "beside": ("pending", 1), "another group": ("pending", 2)}
    assert fresh(items["beside"]).attempts == 1, "so that even what takes the machine with it ends"


def test_a_recovery_that_breaks_has_its_pause_though_its_worker_is_known_to_be_dead(
    add: Add, clock: MovableClock, job: SampleJob
) -> None:
    poison = taken(add(payload={"break_on": "unknown"}), sending=True)
    assert release_dead(socket.gethostname(), lambda _pid: False) == 1
    assert recover_lapsed() == 0
    assert release_dead(socket.gethostname(), lambda _pid: False) == 0
    assert fresh(poison).lease_until > clock.moment


def test_the_worker_names_host_and_process(add: Add) -> None:
    assert taken(add(), sending=False).worker.split(":")[:2] == [socket.gethostname()[:60], str(os.getpid())]


def test_what_was_sent_by_a_dead_worker_is_not_repeated_by_a_click(
    add: Add, tenant: Tenant, clock: MovableClock, job: SampleJob
) -> None:
    from integrations.contracts.errors import Conflict

    item = taken(add(), sending=True)
    clock.advance(job.lease_seconds + 1)
    recover_lapsed()

    with pytest.raises(Conflict):
        retry_item(item.pk, tenant_id=tenant.pk, by="jane")
    assert fresh(item).state == "unknown"
