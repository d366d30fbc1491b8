"""`make bench-growth`: every list, filter and search page with 10,000 rows, then with ROWS (10 million); prints the ratios and
writes var/bench-growth.json. Loading takes most of the time: it is a bench of its own for that."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

from integrations_site.embedded.address import REPOSITORY
from tests.bench.results import Goal, Result, code, told
from tests.plugin_database import start_database, stop_database

FILE = REPOSITORY / "var" / "bench-growth.json"
FEW = 10_000
RUNS = 5
SHARES = {
    "integrations_calllog": 1.0,
    "integrations_queueitem": 0.3,
    "webhooks_inbound_receipt": 0.2,
    "webhooks_outbound_event": 0.2,
    "webhooks_outbound_delivery": 0.2,
    "webhooks_outbound_deliveryattempt": 0.2,
    "messaging_message": 0.2,
    "messaging_recipient": 0.2,
}
"""How many rows each table has for one call: the log grows fastest. `--whole` gives all of them as many."""
WITHIN = 2.0
"""A page with many rows may take so many times as long as with few."""
ENOUGH = 1_000_000
"""From here on indexes are made after loading."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--whole", action="store_true", help="as many rows in every table")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often each page is asked; the median counts")
    asked = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.test")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    start_database()
    try:
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, interactive=False)
        return _run(asked.rows, {table: 1.0 if asked.whole else share for table, share in SHARES.items()}, asked.runs)
    finally:
        stop_database()


def _run(rows: int, shares: Mapping[str, float], runs: int = RUNS) -> int:
    from tests.bench import growth_pages
    from tests.bench.growth_rows import make_world

    began = time.monotonic()
    world = make_world()
    askers, asked = growth_pages.Askers(world), growth_pages.pages(world)
    loading = {"few": load(world, dict.fromkeys(shares, FEW))}
    # Two databases, asked in turns: whatever else the machine does meanwhile, it does to both.
    with copied() as (few_rows, many_rows):
        use(many_rows)
        totals = {table: max(FEW, int(rows * share)) for table, share in shares.items()}
        loading["many"] = load(world, totals)
        few, many = measure(askers, asked, (few_rows, many_rows), runs)
        tidied = purge(world)
    results: list[dict[str, Any]] = [
        {
            "who": each.who,
            "page": each.name,
            "few_ms": few[each],
            "many_ms": many[each],
            "ratio": round(many[each] / few[each], 2),
        }
        for each in asked
    ]
    for row in results:
        print(f"{row['who']:<9} {row['page']:<32} {row['few_ms']:8.1f} ms {row['many_ms']:8.1f} ms   x {row['ratio']:.2f}")
    ratios = sorted(row["ratio"] for row in results)
    print(f"median x {median(ratios):.2f}, worst x {ratios[-1]:.2f}, against {FEW:,} rows in each table:")
    print("\n".join(f"  {table} {total:,} (x {total / rows:.1f} of {rows:,})" for table, total in totals.items()))
    words, missed = told(_held(results))
    print(words)
    print(
        f"purge: {tidied['deleted']:,} rows at {tidied['per_second']:,.0f}/s; size after it and as many new rows:"
        f" x {tidied['size_ratio']:.3f}"
    )
    taken = time.monotonic() - began
    print(f"loading {loading['many']:.0f} s, {taken:.0f} s in all")
    about = {"python": platform.python_version(), "machine": platform.machine(), "processors": os.cpu_count()}
    report = {
        "machine": about,
        "rows": rows,
        "tables": totals,
        "seconds": round(taken, 1),
        "loading": loading,
        "within": WITHIN,
        "missed": missed,
        "pages": results,
        "purge": tidied,
    }
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return code(missed)


def _held(pages: list[dict[str, Any]]) -> list[Result]:
    goals = (Goal("ratio", WITHIN, at_least=False),)
    return [Result(f"{row['who']} {row['page']}", "many rows / few", row["ratio"], goals=goals) for row in pages]


def load(world: Any, totals: Mapping[str, int]) -> float:
    """Bring each table to so many rows, and vacuum it; return the seconds that took."""
    from tests.bench.growth_rows import tidy, write

    began = time.monotonic()
    for table, total in totals.items():
        begun = time.monotonic()
        write(world, table, total, without_indexes=total >= ENOUGH)
        tidy(table)
        if total > FEW:
            print(f"{table:<36} {total:>12,} rows in {time.monotonic() - begun:6.1f} s", flush=True)
    return round(time.monotonic() - began, 1)


def measure(askers: Any, asked: list[Any], databases: tuple[str, str], runs: int) -> tuple[dict[Any, float], dict[Any, float]]:
    """Return {page: median milliseconds} of both databases, page by page in turns. Each is asked once before."""
    figures: tuple[dict[Any, float], dict[Any, float]] = ({}, {})
    for page in asked:
        for name, found in zip(databases, figures, strict=True):
            use(name)
            askers.get(page)
            found[page] = round(median(_milliseconds(askers, page) for _ in range(runs)), 2)
    return figures


def _milliseconds(askers: Any, page: Any) -> float:
    began = time.perf_counter()
    askers.get(page)
    return (time.perf_counter() - began) * 1000


def use(name: str) -> None:
    """Ask this database from now on."""
    from django.db import connection

    if connection.settings_dict["NAME"] != name or connection.connection is None:
        connection.close()
        connection.settings_dict["NAME"] = name
        connection.ensure_connection()


@contextmanager
def copied() -> Iterator[tuple[str, str]]:
    """Have a copy of the database, users and keys included; yield both names, and leave the first one in use."""
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    copy = f"{name}_many"

    def do(sql: str) -> None:
        use("postgres")
        with connection.cursor() as cursor:
            cursor.execute(sql)

    do(f'DROP DATABASE IF EXISTS "{copy}"')
    do(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
    try:
        yield name, copy
    finally:
        do(f'DROP DATABASE IF EXISTS "{copy}"')
        use(name)


def purge(world: Any, part: float = 0.05) -> dict[str, float]:
    """Delete the oldest logs as the hourly purge does, then write as many new ones: what the table has grown by is bloat."""
    from django.db import connection

    from integrations.models import CallLog
    from integrations.runtime.retention import delete_in_batches
    from tests.bench.growth_rows import tidy, write

    table = "integrations_calllog"

    def size() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size(%s)", [table])
            return int(cursor.fetchone()[0])

    total, before = world.written[table], size()
    newest = CallLog.unscoped.order_by("created").values_list("created", flat=True)[int(min(total * part, 100_000))]
    began = time.monotonic()
    deleted = delete_in_batches(CallLog.unscoped.filter(created__lt=newest), by="created")
    seconds = time.monotonic() - began
    tidy(table)
    write(world, table, total + deleted)
    tidy(table)
    return {"deleted": deleted, "per_second": round(deleted / seconds), "size_ratio": round(size() / before, 4)}


if __name__ == "__main__":
    sys.exit(main())
