"""Those who deliver: the hub as it really runs, and the bare loop. The third one is in `peer.py`.

Each has the same three runs: `drain` works off a backlog, `live` is published to while it delivers, `paced` gets so many a
second. All of them send to the same receiver, from processes of their own, over the same PostgreSQL.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import psycopg
from django.db import connections
from django_scopes import scope
from psycopg.conninfo import make_conninfo

from integrations.contracts.ids import new_token
from integrations.models import Tenant
from tests.bench import backlog, bare_loop
from tests.bench.companion import Companion
from tests.bench.receiver import ReceiverProcess, mark_of
from tests.bench.results import LONGEST, wait_until
from webhooks.outbound.delivery.engine import Limits
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.models.endpoints import MAX_IN_FLIGHT
from webhooks.outbound.publishing.publish import publish


class Side(Protocol):
    """Whoever delivers. Rates are deliveries a second."""

    def drain(self, count: int, path: str) -> float: ...
    def live(self, count: int) -> float: ...
    def paced(self, seconds: float, per_second: int) -> list[float]: ...


class Hub:
    """The hub with some delivery shifts, each in a process of its own."""

    def __init__(self, receiver: ReceiverProcess, engines: list[Companion], limits: dict[str, Any] | None = None) -> None:
        self._receiver, self._engines, self._limits = receiver, engines, limits or {}

    def drain(self, count: int, path: str, endpoints: int = 8) -> float:
        """From the start of the shifts until all is settled. Several endpoints, for one gets no more than 64 at once."""
        backlog.clear()
        tenant, run = make_tenant(), backlog.new_run()
        made = [make_endpoint(tenant, f"{self._receiver.url}{path}/{number}") for number in range(endpoints)]
        backlog.deliveries(tenant, made, count, run)
        began = time.monotonic()
        self._start()
        try:
            self._arrived(run, count)
            settled(tenant)
            return count / (time.monotonic() - began)
        finally:
            self._stop()

    def live(self, count: int, say: Callable[[Tenant, str], None] | None = None) -> float:
        """From the first call of the API until the last event has arrived. One endpoint, one event after the other."""

        def one_after_the_other(tenant: Tenant, run: str) -> None:
            for number in range(count):
                _say(tenant, mark_of(run, number))

        backlog.clear()
        tenant, run = make_tenant(), backlog.new_run()
        make_endpoint(tenant, f"{self._receiver.url}/live")
        self._start()
        try:
            warm_up(self._receiver, lambda mark: _say(tenant, mark))
            began = time.monotonic()
            (say or one_after_the_other)(tenant, run)
            self._arrived(run, count)
            return count / (max(self._receiver.times(run).values()) - began)
        finally:
            self._stop()

    def paced(self, seconds: float, per_second: int) -> list[float]:
        backlog.clear()
        tenant = make_tenant()
        make_endpoint(tenant, f"{self._receiver.url}/paced")
        self._start()
        try:
            warm_up(self._receiver, lambda mark: _say(tenant, mark))
            return paced(self._receiver, lambda mark: _say(tenant, mark), seconds, per_second)
        finally:
            self._stop()

    def _start(self) -> None:
        for engine in self._engines:
            engine.ask("start", kind="delivery", limits=self._limits)

    def _stop(self) -> None:
        for engine in self._engines:
            engine.ask("stop")

    def _arrived(self, run: str, count: int) -> None:
        wait_until(lambda: self._receiver.count(run) >= count, f"{count} deliveries to arrive", every=0.02)


class Bare:
    """The bare loop, in a process of its own."""

    def __init__(self, receiver: ReceiverProcess, loop: Companion) -> None:
        self._receiver, self._loop = receiver, loop
        self._database = psycopg.connect(conninfo(), autocommit=True)
        self._database.execute(bare_loop.SCHEMA)

    def drain(self, count: int, path: str) -> float:
        run = self._clear()
        mark = mark_of(run, 0)[:-7]
        text = _wrapped("msg_0000000", mark_of(run, 0)).replace(mark_of(run, 0), "%s").replace("msg_0000000", "%s")
        before, between, after = text.split("%s")
        self._database.execute(
            "INSERT INTO bench_bare (message, url, body) SELECT 'msg_' || n, %s || (n %% 8), "
            "%s || 'msg_' || n || %s || %s || lpad(n::text, 7, '0') || %s FROM generate_series(0, %s) n",
            [f"{self._receiver.url}{path}/", before, between, mark, after, count - 1],
        )
        self._database.execute("ANALYZE bench_bare")
        began = time.monotonic()
        self._loop.ask("start", in_flight=Limits().in_flight)
        try:
            self._arrived(run, count)
            wait_until(self._settled, "the bare loop to settle everything", every=0.005)
            return count / (time.monotonic() - began)
        finally:
            self._loop.ask("stop")

    def live(self, count: int) -> float:
        run = self._clear()
        self._loop.ask("start", in_flight=MAX_IN_FLIGHT)
        try:
            warm_up(self._receiver, self._say)
            began = time.monotonic()
            for number in range(count):
                self._say(mark_of(run, number))
            self._arrived(run, count)
            return count / (max(self._receiver.times(run).values()) - began)
        finally:
            self._loop.ask("stop")

    def paced(self, seconds: float, per_second: int) -> list[float]:
        self._clear()
        self._loop.ask("start", in_flight=MAX_IN_FLIGHT)
        try:
            warm_up(self._receiver, self._say)
            return paced(self._receiver, self._say, seconds, per_second)
        finally:
            self._loop.ask("stop")

    def close(self) -> None:
        self._database.close()

    def _clear(self) -> str:
        self._database.execute("TRUNCATE bench_bare CASCADE")
        return backlog.new_run()

    def _say(self, mark: str) -> None:
        message = "msg_" + mark[5:]
        self._database.execute(
            f"WITH added AS ({bare_loop.INSERT} RETURNING 1) SELECT pg_notify('{bare_loop.CHANNEL}', '') FROM added",
            [message, f"{self._receiver.url}/live", _wrapped(message, mark)],
        )

    def _arrived(self, run: str, count: int) -> None:
        wait_until(lambda: self._receiver.count(run) >= count, f"{count} of the bare loop to arrive", every=0.02)

    def _settled(self) -> bool:
        return self._database.execute("SELECT 1 FROM bench_bare WHERE state = 'pending' LIMIT 1").fetchone() is None


# --- what they share ----------------------------------------------------------------------------------------------------


def engine() -> Companion:
    """Start a process that works shifts of the hub when it is told to."""
    return Companion([sys.executable, "-m", "tests.bench.engine_process"], environment={**environment(), "HUB_GROUP": "bench"})


def bare() -> Companion:
    return Companion([sys.executable, "-m", "tests.bench.bare_loop", conninfo()])


def environment() -> dict[str, str]:
    """Return the environment of the hub's other processes: ours, with the database that we really use (a test's is another
    one than the settings' own)."""
    given = connections["default"].get_connection_params()
    address = "{user}:{password}@{host}:{port}/{dbname}".format(
        **{name: quote(str(given.get(name, "")), safe="") for name in ("user", "password", "host", "port", "dbname")}
    )
    return {**os.environ, "DATABASE_URL": f"postgres://{address}"}


def conninfo() -> str:
    """Return how to reach the hub's database without Django."""
    given = connections["default"].get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    return make_conninfo("", **{name: given[name] for name in names if given.get(name) is not None})


def make_tenant() -> Tenant:
    return Tenant.objects.create(slug=f"bench-{new_token()[:12].lower()}", name="Bench")


def make_endpoint(tenant: Tenant, url: str, **fields: Any) -> Endpoint:
    with scope(tenant=tenant):
        return services.create_endpoint(tenant=tenant, url=url, events=["*"], **{"max_in_flight": MAX_IN_FLIGHT, **fields})[0]


def settled(tenant: Tenant) -> None:
    """Wait until nothing is owed to the tenant's endpoints any more."""
    owed = Delivery.unscoped.filter(tenant=tenant).exclude(state=DeliveryState.DELIVERED)
    wait_until(lambda: not owed.exists(), "everything to be settled", every=0.005)


def warm_up(receiver: ReceiverProcess, say: Callable[[str], None], count: int = 5) -> None:
    """Have a few arrive first: connections stand, statements are known, whoever listens does."""
    run = backlog.new_run()
    for number in range(count):
        say(mark_of(run, number))
    wait_until(lambda: receiver.count(run) >= count, "the first ones to arrive", LONGEST / 2, every=0.02)


def paced(receiver: ReceiverProcess, say: Callable[[str], None], seconds: float, per_second: int) -> list[float]:
    """Say so many a second, whatever came of those before; return for each how long after its commit it arrived (seconds)."""
    run, count = backlog.new_run(), int(seconds * per_second)
    began, committed = time.monotonic(), []
    for number in range(count):
        time.sleep(max(0.0, began + number / per_second - time.monotonic()))
        say(mark_of(run, number))
        committed.append(time.monotonic())
    wait_until(lambda: receiver.count(run) >= count, "those that were paced to arrive", every=0.02)
    times = receiver.times(run)
    return [max(0.0, times[number] - moment) for number, moment in enumerate(committed)]


def _say(tenant: Tenant, mark: str) -> None:
    publish(tenant_id=tenant.pk, type=backlog.TYPE, object=backlog.object_of(mark), key=mark)


def _wrapped(message: str, mark: str) -> str:
    from webhooks.outbound.publishing.formats import dump

    wrapped = {"id": message, "type": backlog.TYPE, "created": "2026-01-01T00:00:00Z"}
    return dump({**wrapped, "data": {"object": backlog.object_of(mark)}})
