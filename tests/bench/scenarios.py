"""What is measured. Each scenario measures its own baseline in the same run: the ratio is what travels between machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from django.db import connection, transaction
from django_scopes import scope

from integrations.contracts.ids import new_token
from integrations.models import Tenant
from tests.bench.results import LONGEST, Goal, Result, in_turns
from webhooks.outbound.delivery.engine import Engine, Limits
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event
from webhooks.outbound.publishing.publish import publish

OBJECT = {
    "id": "pay_1",
    "status": "succeeded",
    "amount": 150_000,
    "currency": "KES",
    "reference": {"type": "invoice", "id": "7"},
}


def isolation(url: str, *, others: int = 19, events: int = 120, waiting: int = 1_000, seconds: float = 10.0) -> Result:
    """What nineteen endpoints get through beside one that takes ten seconds with a thousand deliveries waiting, against the
    same without it. Three times each, in turns; medians, for one of them alone varies by a tenth."""
    runs = {str(each): lambda each=each: _among(url, others, events, waiting=each, seconds=seconds) for each in (0, waiting)}
    found = in_turns(runs)  # type: ignore[arg-type]
    best, beside = (sorted(runs, key=lambda each: each["per_second"])[len(runs) // 2] for runs in found.values())
    return Result(
        name="isolation",
        says=f"deliveries a second of {others} endpoints beside a hanging one with {waiting} waiting / without it",
        ratio=beside["per_second"] / best["per_second"],
        figures={
            "beside_per_second": beside["per_second"],
            "alone_per_second": best["per_second"],
            "beside_median_seconds": beside["median"],
            "alone_median_seconds": best["median"],
            "beside_p95_seconds": beside["p95"],
            "alone_p95_seconds": best["p95"],
        },
        goals=(Goal("ratio", 0.9),),
    )


def publishing(*, events: int = 300) -> list[Result]:
    """Events a second with none, one and ten endpoints that want them, each in a transaction of its own, against plain
    one-row inserts in transactions of their own."""
    results = []
    for wanted in (0, 1, 10):
        tenant = _tenant()
        for number in range(wanted):
            _endpoint(tenant, f"http://127.0.0.1:9/{number}")
        plain = _seconds(lambda tenant=tenant: _insert(tenant, events))  # type: ignore[misc]
        spent = _seconds(lambda tenant=tenant: _publish(tenant, events))  # type: ignore[misc]
        results.append(
            Result(
                name=f"publish_{wanted}",
                says=f"events published a second with {wanted} endpoints / plain one-row inserts a second",
                ratio=plain / spent,
                figures={"events_per_second": events / spent, "inserts_per_second": events / plain},
            )
        )
        _retire(tenant)
    return results


# --- their parts ----------------------------------------------------------------------------------------------------------


def _tenant() -> Tenant:
    return Tenant.objects.create(slug=f"bench-{new_token()[:12]}", name="Bench")


def _endpoint(tenant: Tenant, url: str, **fields: Any) -> Endpoint:
    with scope(tenant=tenant):
        return services.create_endpoint(tenant=tenant, url=url, events=["*"], **fields)[0]


def _retire(tenant: Tenant) -> None:
    """Take a scenario's endpoints out of the way of the next one."""
    Endpoint.unscoped.filter(tenant=tenant).update(is_active=False)


def _publish(tenant: Tenant, events: int) -> None:
    for _ in range(events):
        publish(tenant_id=tenant.pk, type="payment.completed", object=OBJECT, key=new_token())


def _insert(tenant: Tenant, rows: int) -> None:
    for _ in range(rows):
        with transaction.atomic():
            Event(tenant=tenant, type="bench.plain", key=new_token(), payload="{}").save(force_insert=True)


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _deliver(endpoints: list[Endpoint]) -> float:
    """Run one engine until these endpoints have everything; return the seconds until the last of it was settled."""
    ids = [each.pk for each in endpoints]
    owed = Delivery.unscoped.filter(endpoint__in=ids).exclude(state=DeliveryState.DELIVERED)
    began = time.perf_counter()
    done: list[float] = []

    def stop() -> bool:
        if not owed.exists():
            done.append(time.perf_counter())
        return bool(done)

    asyncio.run(Engine(Limits(stop_check=0.02, stop_grace=0.1)).run(stop, time.monotonic() + LONGEST))
    if not done:
        raise RuntimeError(f"not delivered within {LONGEST:.0f} s")
    _retire(endpoints[0].tenant)
    return done[0] - began


def _among(url: str, others: int, events: int, *, waiting: int, seconds: float) -> dict[str, float]:
    """Deliver `events` to each of the others, with or without the hanging one beside them."""
    tenant = _tenant()
    healthy = [_endpoint(tenant, f"{url}/fast/{number}") for number in range(others)]
    if waiting:
        hanging = _endpoint(tenant, f"{url}/slow/{seconds}")
        for _ in range(waiting):
            publish(tenant_id=tenant.pk, type="payment.completed", object=OBJECT, key=new_token(), only=[hanging])
    for _ in range(events):
        publish(tenant_id=tenant.pk, type="payment.completed", object=OBJECT, key=new_token(), only=healthy)
    # What earlier rounds left behind grows from round to round; a running installation is vacuumed, and so is each round here.
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    spent = _deliver(healthy)
    ended = Delivery.unscoped.filter(endpoint__in=healthy).order_by("finished_at").values_list("finished_at", flat=True)
    moments = [moment.timestamp() for moment in ended if moment is not None]
    # Measured from the first delivery: when the engine began is the same for all, and not what an endpoint feels.
    waits = [moment - moments[0] for moment in moments]
    return {"per_second": others * events / spent, "median": median(waits), "p95": quantiles(waits, n=20)[-1]}
