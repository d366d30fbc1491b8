"""A Redis carries the tasks instead of the database: the workers work, and they get over its loss."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django_q.models import OrmQ

from integrations.contracts import clock
from integrations.models import Heartbeat
from integrations_site.embedded.address import REPOSITORY
from integrations_site.supervisor.group import ProcessGroup
from integrations_site.supervisor.parts import manage
from tests.bench import backlog, sides
from tests.bench.installing import REDIS, install_redis
from tests.bench.receiver import ReceiverProcess, mark_of
from tests.bench.redis_server import Redis
from tests.bench.results import wait_until
from webhooks.outbound.publishing.publish import publish

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def redis() -> Iterator[Redis]:
    if reason := install_redis():
        pytest.skip(f"NO REDIS: {reason}")
    with Redis() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hub-broker-") as name:
        yield Path(name)


@pytest.fixture
def worker(redis: Redis, folder: Path, django_db_setup: None) -> Iterator[ProcessGroup]:
    """`manage.py worker` with short shifts, which hand over to each other by way of the broker."""
    environment = {
        **sides.environment(),
        "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
        "HUB_BROKER_URL": redis.url,
        "HUB_SHIFT_SECONDS": "2",
        "PYTHONPATH": str(REDIS),
        "VAR_DIR": str(folder),
    }
    with ExitStack() as stack:
        log = stack.enter_context((folder / "worker.log").open("wb"))
        group = ProcessGroup(manage("worker"), environment=environment, folder=REPOSITORY, output=log)
        stack.callback(group.kill)
        yield group


@pytest.fixture
def delivered(worker: ProcessGroup) -> Iterator[Callable[[], None]]:
    """Publish a few, and wait until they have arrived."""
    with ReceiverProcess() as receiver:
        tenant = sides.make_tenant()
        sides.make_endpoint(tenant, f"{receiver.url}/fast")

        def deliver() -> None:
            run = backlog.new_run()
            for number in range(10):
                mark = mark_of(run, number)
                publish(tenant_id=tenant.pk, type=backlog.TYPE, object=backlog.object_of(mark), key=mark)
            wait_until(lambda: receiver.count(run) == 10, "the events to arrive", 90, every=0.1)

        yield deliver


def shifts() -> set[str]:
    """Names of the shifts that are alive, each of them new after a hand-over."""
    beating = Heartbeat.objects.filter(kind="shift:delivery", beat_at__gt=clock.now() - timedelta(seconds=4))
    return set(beating.values_list("name", flat=True))


def test_redis_carries_the_tasks(worker: ProcessGroup, redis: Redis, delivered: Callable[[], None]) -> None:
    delivered()
    before = shifts()
    wait_until(lambda: bool(shifts() - before), "a shift to hand over to the next", 30, every=0.1)
    delivered()
    assert redis.calls("rpush") >= 2, "the first shift, and the one after it"
    assert OrmQ.objects.count() == 0, "nothing went by way of the database"
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.ended() is not None, "the workers to end in order", 60, every=0.1)
    assert worker.ended() == 0


def test_workers_get_over_the_loss_of_redis(redis: Redis, delivered: Callable[[], None]) -> None:
    """It comes back empty, as it keeps nothing here: every task that waited is gone, and nothing that was to be done is."""
    delivered()
    redis.restart(pause=3.0)
    delivered()
