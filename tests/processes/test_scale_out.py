"""Workers on several machines against one PostgreSQL: they share the work, and nobody does any of it twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connections

from integrations.models import QueueItem, QueueState
from tests.bench import backlog, jobs, sides
from tests.bench.companion import Companion
from tests.bench.receiver import ReceiverProcess
from tests.bench.results import wait_until
from tests.processes.machines import HERE, NETWORK, Machine, forwarded, why_not
from webhooks.outbound.delivery.claims import LEASE
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    if reason := why_not():
        pytest.skip(f"NO MACHINES OF THEIR OWN FOR THE WORKERS: {reason}")
    with ExitStack() as stack:
        yield [stack.enter_context(Machine(number)) for number in range(2)]


@pytest.fixture
def receiver(machines: list[Machine]) -> Iterator[ReceiverProcess]:
    with ReceiverProcess(HERE) as running:
        yield running


@pytest.fixture
def workers(machines: list[Machine], settings: Any) -> Iterator[list[Companion]]:
    """A worker's process on each machine. The database's own port can't be reached from there, one that leads to it can."""
    settings.OUTBOUND_ALLOWED_NETWORKS = [*settings.OUTBOUND_ALLOWED_NETWORKS, NETWORK]
    given: dict[str, Any] = connections["default"].get_connection_params()
    with ExitStack() as stack:
        port = stack.enter_context(forwarded(given["host"], int(given["port"])))
        ours = sides.environment()
        environment = {
            **ours,
            "DATABASE_URL": ours["DATABASE_URL"].replace(f"@{given['host']}:{given['port']}/", f"@{HERE}:{port}/"),
            "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "BENCH_NETWORKS": NETWORK,
        }
        command = (sys.executable, "-m", "tests.bench.engine_process")
        yield [stack.enter_context(Companion(each.command(*command), environment=environment)) for each in machines]


def shared(receiver: ReceiverProcess, run: str, count: int, machines: list[Machine]) -> None:
    """Each number of the run came in once, and both machines sent a fair part."""
    assert receiver.count(run) == count
    assert receiver.repeated(run) == 0
    senders = receiver.senders(run)
    assert set(senders) == {each.address for each in machines}
    assert min(senders.values()) > count / 10, senders


def test_deliveries_are_shared(machines: list[Machine], receiver: ReceiverProcess, workers: list[Companion]) -> None:
    count, tenant, run = 3_000, sides.make_tenant(), backlog.new_run()
    endpoints = [sides.make_endpoint(tenant, f"{receiver.url}/delay/20/{number}") for number in range(8)]
    backlog.deliveries(tenant, endpoints, count, run)
    for each in workers:
        each.ask("start", kind="delivery")
    wait_until(lambda: receiver.count(run) >= count, "everything to arrive")
    sides.settled(tenant)
    for each in workers:
        each.ask("stop")
    shared(receiver, run, count, machines)
    rows = Delivery.unscoped.filter(tenant=tenant)
    assert set(rows.values_list("state", "attempts", "fence")) == {(DeliveryState.DELIVERED, 1, 1)}
    assert DeliveryAttempt.unscoped.filter(tenant=tenant).count() == count


def test_queue_items_are_shared(machines: list[Machine], receiver: ReceiverProcess, workers: list[Companion]) -> None:
    count, tenant, run = 400, sides.make_tenant(), backlog.new_run()
    backlog.items(tenant, count, url=f"{receiver.url}/delay/20", run=run)
    for each in workers:
        each.ask("start", kind="queue")
    left = QueueItem.unscoped.filter(kind=jobs.EXCHANGE).exclude(state=QueueState.COMPLETED)
    wait_until(lambda: not left.exists(), "the items to be done", every=0.1)
    for each in workers:
        each.ask("stop")
    shared(receiver, run, count, machines)
    assert set(QueueItem.unscoped.filter(kind=jobs.EXCHANGE).values_list("attempts", "fence")) == {(1, 1)}


def test_a_machine_that_is_cut_off_loses_nothing(
    machines: list[Machine], receiver: ReceiverProcess, workers: list[Companion]
) -> None:
    """Its cable is pulled in the middle: the other takes over what it held once the leases lapse, and when it is back what it
    has to say of them counts no more."""
    count, tenant, run = 2_000, sides.make_tenant(), backlog.new_run()
    # More places than one of them may hold: with fewer endpoints the first one keeps them all busy by itself.
    endpoints = [sides.make_endpoint(tenant, f"{receiver.url}/delay/400/{number}") for number in range(8)]
    backlog.deliveries(tenant, endpoints, count, run)
    for each in workers:
        each.ask("start", kind="delivery")
    wait_until(lambda: len(receiver.senders(run)) == 2 and receiver.count(run) > count / 4, "both to be at work")
    machines[0].unplug()
    held = Delivery.unscoped.filter(tenant=tenant, state=DeliveryState.PENDING)
    wait_until(lambda: not held.exists(), "the other to have done it all", LEASE.total_seconds() + 60, every=0.2)
    machines[0].plug_in()
    for each in workers:
        each.ask("stop")
    assert receiver.count(run) == count, "nothing lost"
    rows = Delivery.unscoped.filter(tenant=tenant)
    assert set(rows.values_list("state", flat=True)) == {DeliveryState.DELIVERED}
    twice = rows.filter(attempts__gt=1)
    assert twice.exists(), "something was in the air when the cable was pulled"
    # Whatever came in twice was tried twice, and the first try stands on record as lost.
    assert receiver.repeated(run) <= twice.count()
    lost = DeliveryAttempt.unscoped.filter(tenant=tenant, error_class="lost")
    assert lost.count() == sum(twice.values_list("attempts", flat=True)) - twice.count()
