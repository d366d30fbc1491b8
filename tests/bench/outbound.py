"""Webhooks out: the hub against the bare loop, and against django-webhook with Celery where that can be had."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from integrations.models import Tenant
from tests.bench import backlog
from tests.bench.companion import Companion
from tests.bench.peer import Peer
from tests.bench.receiver import ReceiverProcess
from tests.bench.results import Goal, Result, in_turns, medians, percentile
from tests.bench.sides import Bare, Hub, make_tenant
from tests.bench.web import CLIENTS, publish_over

FAST, SLOW, WAITING = "/fast", "/delay/100", "/delay/50"


def drain(hub: Hub, two: Hub, bare: Bare, peer: Peer | None, *, count: int = 6_000, of_peer: int = 800) -> list[Result]:
    """A backlog that is due, worked off."""
    runs: dict[str, Callable[[], float]] = {
        "hub_per_second": lambda: hub.drain(count, FAST),
        "hub_two_shifts_per_second": lambda: two.drain(count, FAST),
        "bare_per_second": lambda: bare.drain(count, FAST),
    }
    if peer is not None:
        runs["peer_per_second"] = lambda: peer.drain(of_peer, FAST)
    found = medians(runs)
    one, both, base = found["hub_per_second"], found["hub_two_shifts_per_second"], found["bare_per_second"]
    says = f"{count} deliveries worked off by one shift / by the bare loop"
    results = [
        Result("drain", says, one / base, found, (Goal("ratio", 0.4),)),
        Result("drain_two_shifts", "the same by two shifts / by one bare loop", both / base),
    ]
    if peer is not None:
        says = "the hub, one shift or two, whatever is faster / django-webhook + Celery"
        results.append(Result("drain_peer", says, max(one, both) / found["peer_per_second"], {}, (Goal("ratio", 25.0),)))
    return results


def live(
    hub: Hub, bare: Bare, peer: Peer | None, web: str, *, count: int = 1_500, over_http: int = 400, of_peer: int = 500
) -> list[Result]:
    """Published one after the other through the hub's API, delivered meanwhile."""
    accepted: list[float] = []
    # A web process reads all routes and opens its connections at its first requests.
    publish_over(web, make_tenant(), backlog.new_run(), 40)

    def post(tenant: Tenant, run: str) -> None:
        accepted.append(over_http / publish_over(web, tenant, run, over_http))

    runs: dict[str, Callable[[], float]] = {
        "hub_per_second": lambda: hub.live(count),
        "hub_over_http_per_second": lambda: hub.live(over_http, post),
        "bare_per_second": lambda: bare.live(count),
    }
    if peer is not None:
        runs["peer_per_second"] = lambda: peer.live(of_peer)
    found = medians(runs)
    ours = found["hub_per_second"]
    says = f"{count} events published and delivered by the hub / inserted and delivered by the bare loop"
    results = [Result("live", says, ours / found["bare_per_second"], found)]
    if peer is not None:
        says = "the same / django-webhook + Celery"
        results.append(Result("live_peer", says, ours / found["peer_per_second"], {}, (Goal("ratio", 5.0),)))
    over = found["hub_over_http_per_second"]
    says = f"published by POST /api/events, one key, {CLIENTS} connections / in the process"
    results.append(Result("live_http", says, over / ours, {"accepted_per_second": median(accepted)}))
    return results


def paced(hub: Hub, bare: Bare, peer: Peer | None, *, seconds: float = 5.0, per_second: int = 50) -> Result:
    """From the commit of what was published to its arrival."""
    runs: dict[str, Callable[[], list[float]]] = {
        "hub": lambda: hub.paced(seconds, per_second),
        "bare": lambda: bare.paced(seconds, per_second),
    }
    if peer is not None:
        runs["peer"] = lambda: peer.paced(seconds, per_second)
    figures = {}
    for name, found in in_turns(runs).items():
        for percent in (50, 99):
            figures[f"{name}_p{percent}_ms"] = 1000 * median(percentile(each, percent) for each in found)
    says = f"99th percentile of commit to arrival at {per_second} events a second: the hub / the bare loop"
    goals = (Goal("hub_p99_ms", 50.0, at_least=False),)
    return Result("paced", says, figures["hub_p99_ms"] / figures["bare_p99_ms"], figures, goals)


def slow_receiver(hub: Hub, bare: Bare, peer: Peer | None, *, count: int = 3_000, of_peer: int = 150) -> Result:
    """A receiver that takes a tenth of a second for each request."""
    runs: dict[str, Callable[[], float]] = {
        "hub_per_second": lambda: hub.drain(count, SLOW),
        "bare_per_second": lambda: bare.drain(count, SLOW),
    }
    if peer is not None:
        runs["peer_per_second"] = lambda: peer.drain(of_peer, SLOW)
    found = medians(runs)
    says = "deliveries a second of one shift to a receiver that takes 100 ms / of the bare loop"
    ratio = found["hub_per_second"] / found["bare_per_second"]
    return Result("slow_receiver", says, ratio, found, (Goal("hub_per_second", 1000.0),))


def two_shifts(receiver: ReceiverProcess, engines: list[Companion], *, count: int = 1_000, in_flight: int = 24) -> Result:
    """Two delivery shifts against one, each with so few places that the receiver's 50 ms decide and not the processor."""
    limits = {"in_flight": in_flight, "batch": in_flight}
    one, both = Hub(receiver, engines[:1], limits), Hub(receiver, engines, limits)
    found = medians({"one": lambda: one.drain(count, WAITING), "two": lambda: both.drain(count, WAITING)})
    return Result(
        "two_delivery_shifts",
        f"deliveries a second, {in_flight} at once each, receiver 50 ms: two shifts / one",
        found["two"] / found["one"],
        {f"{name}_per_second": value for name, value in found.items()},
        (Goal("ratio", 1.7),),
    )
