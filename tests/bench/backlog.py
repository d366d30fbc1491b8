"""Backlogs of any depth, made in the database: one row that came about as rows really do, copied as often as wanted."""

from __future__ import annotations

from typing import Any

from django.db import connection, models

from integrations.contracts.ids import new_token
from integrations.models import QueueItem, Tenant
from tests.bench import jobs
from tests.bench.receiver import mark_of
from webhooks.outbound.models import Delivery, Endpoint, Event
from webhooks.outbound.publishing.publish import publish

TYPE = "bench.happened"


def object_of(mark: str) -> dict[str, Any]:
    """Return what an event of the bench tells: about half a kilobyte of JSON once it is wrapped."""
    return {
        "id": "ord_01jd8k3m5n7p9q2r4s6t8v",
        "mark": mark,
        "status": "paid",
        "amount": 150_000,
        "currency": "KES",
        "customer": {"id": "cus_01jd8k3m5n7p9q2r4s6t8v", "name": "Wanjiku Kamau", "email": "wanjiku@example.org"},
        "lines": [
            {"sku": "PRINT-A4-GLOSS", "count": 12, "price": 10_000},
            {"sku": "FRAME-OAK-A4", "count": 1, "price": 30_000},
        ],
        "reference": {"type": "invoice", "id": "INV-2026-000117"},
        "note": "Collected at the front desk.",
    }


def new_run() -> str:
    """Return a name for a run that no other has: eight characters, as the receiver's marks want it."""
    return new_token()[:8].replace("-", "x").replace("_", "y")


def clear() -> None:
    """Forget all endpoints, events, deliveries, attempts and queue items: each run begins with empty tables."""
    tables = ", ".join(f'"{model._meta.db_table}"' for model in (Endpoint, Event, Delivery, QueueItem))
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables} CASCADE")


def deliveries(tenant: Tenant, endpoints: list[Endpoint], count: int, run: str = "") -> None:
    """Owe `count` events, numbered from 0, each to one of the endpoints in turn, all of them due now."""
    run = run or new_run()
    share = -(-count // len(endpoints))
    for place, endpoint in enumerate(endpoints):
        numbers = range(place * share, min((place + 1) * share, count))
        if numbers:
            _copies_of_one(tenant, endpoint, numbers, run)
    _analyze()


def _copies_of_one(tenant: Tenant, endpoint: Endpoint, numbers: range, run: str) -> None:
    mark = mark_of(run, numbers[0])
    event = publish(tenant_id=tenant.pk, type=TYPE, object=object_of(mark), key=new_token(), only=[endpoint])
    first, last = numbers[0] + 1, numbers[-1]
    # Ids keep their shape and their order: the last seven characters count up.
    new_mark = f"'{mark[:-7]}' || lpad(n::text, 7, '0')"
    event_id = "left(s.id, -7) || lpad(n::text, 7, '0')"
    changed = {
        "id": event_id,
        "key": "s.key || n",
        "payload": f"replace(replace(s.payload, '{mark}', {new_mark}), s.id, {event_id})",
    }
    _copy(Event, changed, event.pk, first, last)
    owed = Delivery.unscoped.get(event=event)
    changed = {"id": event_id, "event_id": f"'{event.pk[:-7]}' || lpad(n::text, 7, '0')", "position": "DEFAULT"}
    _copy(Delivery, changed, owed.pk, first, last)


def _copy(model: type[models.Model], changed: dict[str, str], pk: str, first: int, last: int) -> None:
    columns = [field.column for field in model._meta.concrete_fields if changed.get(field.column) != "DEFAULT"]
    values = ", ".join(changed.get(column, f's."{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{model._meta.db_table}" ({names}) SELECT {values} FROM "{model._meta.db_table}" s '
            "CROSS JOIN generate_series(%s::bigint, %s::bigint) n WHERE s.id = %s",
            [first, last, pk],
        )


def items(tenant: Tenant, count: int, *, url: str = "", run: str = "") -> None:
    """Queue `count` items, all due now: exchanges with `url`, numbered from 0, or items that do nothing."""
    kind = jobs.EXCHANGE if url else jobs.NOTHING
    QueueItem.unscoped.bulk_create(
        [
            QueueItem(tenant=tenant, kind=kind, payload={"url": url, "run": run, "number": number} if url else {})
            for number in range(count)
        ]
        if count <= 2_000
        else [QueueItem(tenant=tenant, kind=kind)]
    )
    if count > 2_000:
        pk = QueueItem.unscoped.filter(tenant=tenant, kind=kind).values_list("pk", flat=True).get()
        _copy(QueueItem, {"id": "DEFAULT"}, pk, 2, count)
    _analyze()


def _analyze() -> None:
    """Let the planner know the tables as they stand: in an installation autovacuum has done that."""
    with connection.cursor() as cursor:
        for model in (Event, Delivery, QueueItem):
            cursor.execute(f'ANALYZE "{model._meta.db_table}"')
