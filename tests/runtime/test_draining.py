"""The queue's shift at work: real threads, real connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from integrations.contracts import clock as hub_clock
from integrations.models import QueueItem, Tenant
from integrations.runtime import draining
from integrations.runtime.draining import Drain
from integrations.runtime.queue import enqueue
from tests.factories import make_tenant
from tests.runtime.service import Service
from tests.runtime.support import SampleJob, SampleLocalJob, fresh, told
from tests.runtime.test_claims import look_at

pytestmark = pytest.mark.django_db(transaction=True)
Add = Callable[..., QueueItem]

PATIENCE = 30.0


def wait_until(true: Callable[[], bool]) -> None:
    """Look again and again, for as long as a busy machine may need."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.02)


def ended(*items: QueueItem) -> bool:
    return all(fresh(item).state in ("completed", "failed") for item in items)


@contextmanager
def shift(**sizes: int) -> Iterator[Drain]:
    """A shift that works in the background until the block ends; leaving it waits until the shift has ended."""
    drain = Drain(**{"threads": 4, "ahead": 4, **sizes})
    stop = threading.Event()

    def work() -> None:
        try:
            drain.run(stop.is_set, time.monotonic() + 600)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield drain
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


class Gate:
    """Holds up those items of the local job whose payload says `hang`."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.running: set[int] = set()
        self.beside: dict[int, int] = {}
        self._lock = threading.Lock()

    def __call__(self, item: QueueItem) -> None:
        with self._lock:
            self.beside[item.pk] = len(self.running)
            self.running.add(item.pk)
        if item.payload.get("hang"):
            assert self.open.wait(PATIENCE)
        with self._lock:
            self.running.discard(item.pk)


@pytest.fixture
def gate(local_job: SampleLocalJob) -> Iterator[Gate]:
    found = Gate()
    local_job.act = found
    yield found
    found.open.set()


@pytest.fixture
def local(tenant: Tenant, local_job: SampleLocalJob) -> Callable[..., QueueItem]:
    """`local(tenant=None, hang=False, **fields)`: an item of the local job."""

    def make(owner: Tenant | None = None, *, hang: bool = False, **fields: Any) -> QueueItem:
        payload = {"hang": hang}
        return enqueue(tenant_id=(owner or tenant).pk, kind="sample.local", payload=payload, **fields)

    return make


def test_two_shifts_side_by_side_run_each_item_once(local: Add, tenant: Tenant) -> None:
    items = [local() for _ in range(60)]

    with shift(), shift():
        wait_until(lambda: ended(*items))

    assert told(tenant.pk) == [("told:ran", "")] * 60
    assert {fresh(item).fence for item in items} == {1}


def test_calls_are_made_and_settled_by_a_shift(add: Add, service: Service, tenant: Tenant) -> None:
    items = [add() for _ in range(12)]
    with shift():
        wait_until(lambda: ended(*items))
    assert len(service.received) == 12
    assert told(tenant.pk) == [("told:succeeded", "v")] * 12


def test_new_work_is_heard_of_without_a_look(local: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "POLL", 600.0)
    first = local()
    with shift() as drain:
        wait_until(lambda: ended(first))
        item = local()
        wait_until(lambda: ended(item))
        drain._hear()  # for the stop: nothing else would wake it


def test_a_shift_wakes_up_when_the_next_item_is_due(local: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "POLL", 600.0)
    item = local(due_at=hub_clock.now() + timedelta(seconds=1))
    with shift() as drain:
        wait_until(lambda: ended(item))
        drain._hear()


def test_at_the_end_what_runs_is_finished_and_what_has_not_begun_is_given_back(local: Add, gate: Gate) -> None:
    items = [local(hang=True) for _ in range(5)]
    with shift(threads=1, ahead=3) as drain:
        wait_until(lambda: len(gate.running) == 1)
        wait_until(lambda: len(drain._ready) == 2)
        opener = threading.Timer(0.5, gate.open.set)
        opener.start()
    opener.join()

    rows = [fresh(item) for item in items]
    assert sorted(row.state for row in rows) == ["completed"] + ["pending"] * 4
    assert {(row.attempts, row.crashes, row.lease, row.worker) for row in rows if row.state == "pending"} == {(0, 0, None, "")}
    assert sorted(row.fence for row in rows) == [0, 0, 1, 1, 1]


def test_what_stands_behind_a_long_run_is_given_back(local: Add, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "STALE", 0.05)
    items = [local(hang=True) for _ in range(4)]
    with shift(threads=1, ahead=3):
        wait_until(lambda: len(gate.running) == 1)
        wait_until(lambda: sorted(fresh(item).state for item in items) == ["pending"] * 3 + ["processing"])
        assert sorted(fresh(item).fence for item in items)[-2] == 1  # it had been claimed
        gate.open.set()
        wait_until(lambda: ended(*items))


def test_a_tenant_whose_work_hangs_leaves_a_thread_for_another(local: Add, gate: Gate, other_tenant: Tenant) -> None:
    for _ in range(20):
        local(hang=True)
    with shift(threads=4, ahead=4):
        wait_until(lambda: len(gate.running) == 3)
        other = local(other_tenant)
        wait_until(lambda: ended(other))
        assert len(gate.running) == 3
        gate.open.set()


def test_bulk_that_hangs_leaves_a_thread_for_what_is_urgent(local: Add, gate: Gate, other_tenant: Tenant) -> None:
    for _ in range(20):
        local(hang=True, priority=8)
        local(other_tenant, hang=True, priority=8)
    with shift(threads=8, ahead=0):
        wait_until(lambda: len(gate.running) == 6)
        newcomer = make_tenant("a-newcomer")
        for _ in range(5):
            local(newcomer, hang=True, priority=8)
        wait_until(lambda: len(gate.running) == 7)
        urgent = local(priority=1)
        wait_until(lambda: ended(urgent))
        assert len(gate.running) == 7
        gate.open.set()


def test_a_suspect_runs_with_nothing_beside_it(local: Add, gate: Gate) -> None:
    items = [local(priority=1) for _ in range(30)]
    suspects = [local() for _ in range(3)]
    QueueItem.unscoped.filter(pk__in=[item.pk for item in suspects]).update(crashes=1)

    with shift():
        wait_until(lambda: ended(*items, *suspects))

    assert {gate.beside[item.pk] for item in suspects} == {0}
    assert list(gate.beside)[:3] == [item.pk for item in suspects]
    assert {fresh(item).crashes for item in suspects} == {0}


def test_no_two_suspects_run_at_the_same_time_anywhere(local: Add) -> None:
    suspect = local()
    QueueItem.unscoped.filter(pk=suspect.pk).update(crashes=1)
    elsewhere = connection.copy()
    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [draining.SUSPECTS_LOCK])
    other = local()
    with shift():
        wait_until(lambda: ended(other))
    assert not ended(suspect)

    with elsewhere.cursor() as cursor:  # by hand: that its session has ended is noticed by the server a moment after us
        cursor.execute("SELECT pg_advisory_unlock(%s)", [draining.SUSPECTS_LOCK])
    elsewhere.close()
    Drain(threads=1, ahead=0)._run_suspects(lambda: False, time.monotonic() + PATIENCE)

    assert ended(suspect)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


def test_a_suspect_is_found_behind_more_tenants_than_one_claim_looks_at(
    local: Add, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at(2, monkeypatch)
    for number in range(6):
        owner = make_tenant(f"tenant-{number}")
        local(owner, due_at=hub_clock.now() + timedelta(hours=1))
    suspect = local(owner)
    QueueItem.unscoped.filter(pk=suspect.pk).update(crashes=1)

    Drain(threads=1, ahead=0)._run_suspects(lambda: False, time.monotonic() + PATIENCE)

    assert ended(suspect)


def test_what_is_due_does_not_wait_for_a_look_at_each_part_of_the_ring(local: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at(2, monkeypatch)
    monkeypatch.setattr(draining, "POLL", 600.0)
    owners = [make_tenant(f"tenant-{number}") for number in range(16)]
    for each in owners[:-1]:
        local(each, due_at=hub_clock.now() + timedelta(hours=1))
    item = local(owners[-1], priority=8)
    with shift() as drain:
        wait_until(lambda: ended(item))
        drain._hear()


def test_there_is_claiming_though_recovering_fails_each_time(local: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise OperationalError("no")

    monkeypatch.setattr(draining, "recover_lapsed", fails)
    item = local()
    with shift():
        wait_until(lambda: ended(item))


def test_the_lease_of_a_call_that_takes_long_is_prolonged(
    add: Add, service: Service, job: SampleJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "RENEW_EVERY", 0.05)
    service.gate = threading.Event()
    item = add()
    with shift():
        wait_until(lambda: len(service.received) == 1)
        first = fresh(item).lease_until
        wait_until(lambda: fresh(item).lease_until > first)
        service.gate.set()
        wait_until(lambda: ended(item))
    assert len(service.received) == 1


def test_a_run_that_hangs_beyond_what_its_kind_may_take_is_not_kept(add: Add, local: Add, job: SampleJob) -> None:
    now = time.monotonic()
    call, local_item = add(), local()
    spans = {5.5: True, job.longest_seconds - 1: True, job.longest_seconds + 1: False, 1.0: False}
    assert {span: draining._may_go_on(draining._Run(call, now - span)) for span in spans} == spans
    # A local job holds its row's lock as long as it lives: nobody can recover it meanwhile.
    assert not draining._may_go_on(draining._Run(local_item, now - 30))


def test_a_connection_that_the_server_has_ended_costs_no_attempt(local: Add) -> None:
    first = local()
    with shift(threads=1, ahead=0):
        wait_until(lambda: ended(first))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        item = local()
        wait_until(lambda: ended(item))
    row = fresh(item)
    assert (row.state, row.attempts, row.errors) == ("completed", 0, [])
