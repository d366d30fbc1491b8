"""What a backlog costs those who work it off, and those who stand behind somebody else's."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from django_scopes import scope

from integrations.models import QueueItem, QueueState
from integrations.runtime.queue import nudge
from integrations.runtime.worker import claim, run
from tests.bench import backlog, jobs
from tests.bench.companion import Companion
from tests.bench.receiver import ReceiverProcess, mark_of
from tests.bench.results import Goal, Result, in_turns, medians, wait_until
from tests.bench.sides import make_endpoint, make_tenant
from webhooks.outbound.delivery import claims
from webhooks.outbound.publishing.publish import publish

BATCH = 50


def cost_of_depth(depths: tuple[int, ...] = (1_000, 10_000, 100_000), *, measured: int = 500) -> list[Result]:
    """Milliseconds for one item out of a backlog, at several depths: claimed and run (queue), claimed (deliveries)."""
    sorts: dict[str, tuple[str, Callable[[int, int], float]]] = {
        "queue": ("claimed and run, of no effect", _queue),
        "deliveries": ("claimed", _deliveries),
    }
    results = []
    for name, (how, measure) in sorts.items():
        runs = {f"at_{depth}_ms": lambda depth=depth, measure=measure: measure(depth, measured) for depth in depths}
        found = medians(runs)  # type: ignore[arg-type]
        shallow, *_between, deep = found.values()
        says = f"milliseconds for one item ({how}) with {depths[-1]:,} queued / with {depths[0]:,}"
        goals = (Goal("ratio", 1.3, at_least=False),)
        results.append(Result(f"depth_{name}", says, deep / shallow, found, goals))
    backlog.clear()
    return results


def two_queue_shifts(receiver: ReceiverProcess, engines: list[Companion], *, count: int = 600) -> Result:
    """Two queue shifts against one, where the exchange of each item takes 50 ms."""

    def drained(shifts: list[Companion]) -> float:
        backlog.clear()
        run = backlog.new_run()
        backlog.items(make_tenant(), count, url=f"{receiver.url}/delay/50", run=run)
        left = QueueItem.unscoped.filter(kind=jobs.EXCHANGE).exclude(state=QueueState.COMPLETED)
        began = time.monotonic()
        for each in shifts:
            each.ask("start", kind="queue")
        try:
            wait_until(lambda: receiver.count(run) >= count and not left.exists(), "the items to be done", every=0.02)
            return count / (time.monotonic() - began)
        finally:
            for each in shifts:
                each.ask("stop")

    found = medians({"one": lambda: drained(engines[:1]), "two": lambda: drained(engines)})
    figures = {f"{name}_per_second": value for name, value in found.items()}
    says = "queue items a second, each an exchange of 50 ms: two shifts / one"
    return Result("two_queue_shifts", says, found["two"] / found["one"], figures, (Goal("ratio", 1.7),))


def fairness(receiver: ReceiverProcess, engines: list[Companion], *, due: int = 100_000, settle: float = 1.0) -> list[Result]:
    """Seconds until a tenant's first is served, beside another one with so much due, and alone. The shift has been at work
    on the backlog for `settle` seconds by then."""
    return [
        _compared("fair_deliveries", due, lambda beside: _first_delivery(receiver, engines[0], beside, settle)),
        _compared("fair_queue", due, lambda beside: _first_item(receiver, engines[0], beside, settle)),
    ]


# --- their parts ----------------------------------------------------------------------------------------------------------


def _queue(depth: int, measured: int) -> float:
    backlog.clear()
    tenant = make_tenant()
    backlog.items(tenant, depth)
    began = time.perf_counter()
    for _ in range(measured // BATCH):
        for item in claim(BATCH, kinds=[jobs.NOTHING]):
            run(item)
    return _milliseconds(began, measured)


def _deliveries(depth: int, measured: int) -> float:
    backlog.clear()
    tenant = make_tenant()
    # As many places as it takes: none of what is claimed here is ever sent.
    endpoints = [make_endpoint(tenant, f"http://127.0.0.1:9/{number}") for number in range(max(1, measured // 50))]
    backlog.deliveries(tenant, endpoints, depth)
    began = time.perf_counter()
    claimed = sum(len(claims.claim(BATCH)) for _ in range(measured // BATCH))
    assert claimed >= measured // 2, f"only {claimed} of {measured} could be claimed"
    return _milliseconds(began, claimed)


def _milliseconds(began: float, count: int) -> float:
    return 1000 * (time.perf_counter() - began) / count


def _compared(name: str, due: int, first: Callable[[int], float]) -> Result:
    found = in_turns({"alone": lambda: first(0), "beside": lambda: first(due)})
    figures = {
        "alone_seconds": median(found["alone"]),
        "beside_seconds": median(found["beside"]),
        "longest_seconds": max(found["beside"]),
    }
    says = f"seconds until a tenant's first is there, beside another's {due:,} / alone"
    goals = (Goal("longest_seconds", 1.0, at_least=False),)
    return Result(name, says, figures["beside_seconds"] / max(figures["alone_seconds"], 0.001), figures, goals)


def _first_delivery(receiver: ReceiverProcess, engine: Companion, beside: int, settle: float) -> float:
    backlog.clear()
    busy, newcomer = make_tenant(), make_tenant()
    if beside:
        endpoints = [make_endpoint(busy, f"{receiver.url}/delay/50/{number}") for number in range(8)]
        backlog.deliveries(busy, endpoints, beside)
    target = make_endpoint(newcomer, f"{receiver.url}/fast")
    engine.ask("start", kind="delivery")
    try:
        time.sleep(settle)  # well into the backlog
        run = backlog.new_run()
        began = time.monotonic()
        publish(tenant_id=newcomer.pk, type=backlog.TYPE, object=backlog.object_of(mark_of(run, 0)), key=run, only=[target])
        wait_until(lambda: receiver.count(run) > 0, "the newcomer's delivery", 30, every=0.02)
        return receiver.times(run)[0] - began
    finally:
        engine.ask("stop")


def _first_item(receiver: ReceiverProcess, engine: Companion, beside: int, settle: float) -> float:
    backlog.clear()
    busy, newcomer = make_tenant(), make_tenant()
    if beside:
        backlog.items(busy, beside)
    engine.ask("start", kind="queue")
    try:
        time.sleep(settle)  # well into the backlog
        run = backlog.new_run()
        began = time.monotonic()
        with scope(tenant=newcomer):
            QueueItem.unscoped.create(
                tenant=newcomer, kind=jobs.EXCHANGE, payload={"url": f"{receiver.url}/fast", "run": run, "number": 0}
            )
        nudge()
        wait_until(lambda: receiver.count(run) > 0, "the newcomer's item", 30, every=0.02)
        return receiver.times(run)[0] - began
    finally:
        engine.ask("stop")
