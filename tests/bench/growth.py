"""`make bench-growth`: every list, filter and search page with 10,000 rows, then with ROWS (10 million) in each table; prints
the ratios and writes var/bench-growth.json. A group of tables is loaded at a time, asked, and dropped before the next: all of
them at once would take several times the disk. Loading takes most of the time: it is a bench of its own for that."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from integrations_site.embedded.address import REPOSITORY
from tests.bench.results import Goal, Result, code, told
from tests.plugin_database import start_database, stop_database

FILE = REPOSITORY / "var" / "bench-growth.json"
FEW = 10_000
RUNS = 5
TURNS = 3
GROUPS: dict[str, tuple[str, ...]] = {
    "logs": ("integrations_calllog", "integrations_queueitem"),
    "receipts": ("webhooks_inbound_receipt",),
    "messages": ("messaging_message", "messaging_recipient"),
    "events": ("webhooks_outbound_event", "webhooks_outbound_delivery", "webhooks_outbound_deliveryattempt"),
}
"""The tables that are large at the same time: those of one group are joined by its pages, and by no other's."""
TABLES = tuple(table for group in GROUPS.values() for table in group)
SPARE = 1.3
"""How much more room on the disk is asked for than the rows of the small tables tell of the large ones: sorting for the
indexes, the write-ahead log."""
WITHIN = 2.0
"""A page with many rows may take so many times as long as with few."""
ENOUGH = 1_000_000
"""From here on indexes are made after loading."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--runs", type=int, default=RUNS, help="how often each page is asked in a row; the median of three rows counts"
    )
    asked = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "integrations_site.settings.test")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    start_database()
    try:
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, interactive=False)
        return _run(asked.rows, asked.runs)
    except TooLittleRoom as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        stop_database()


class TooLittleRoom(Exception):
    """The disk has less room than the rows would take."""


def _run(rows: int, runs: int = RUNS) -> int:
    from tests.bench import growth_pages
    from tests.bench.growth_rows import make_world

    began = time.monotonic()
    world = make_world()
    askers, asked = growth_pages.Askers(world), growth_pages.pages(world)
    loading = {"few": load(world, dict.fromkeys(TABLES, FEW))}
    needed = {group: room(tables, rows) for group, tables in GROUPS.items()}
    print(f"the largest group of tables will take about {told_size(max(needed.values()))}", flush=True)
    check_room(max(needed.values()))
    results: list[dict[str, Any]] = []
    sizes: dict[str, int] = {}
    tidied: dict[str, float] = {}
    for group, tables in GROUPS.items():
        check_room(needed[group])
        # Two databases, asked in turns: whatever else the machine does meanwhile, it does to both.
        with copied() as (few_rows, many_rows):
            use(many_rows)
            grown = replace(world, written=dict(world.written))
            loading[group] = load(grown, dict.fromkeys(tables, rows))
            sizes[group] = database_size(many_rows)
            print(f"{group}: {rows:,} rows in each table, {told_size(sizes[group])}", flush=True)
            mine = [page for page in asked if page.group == group]
            for row in measure(askers, mine, (few_rows, many_rows), runs):
                results.append(row)
                print(_line(row), flush=True)
            if "integrations_calllog" in tables:
                use(many_rows)
                tidied = purge(grown)
    ratios = sorted(row["ratio"] for row in results)
    print(f"median x {median(ratios):.2f}, worst x {ratios[-1]:.2f}: {rows:,} rows in each table against {FEW:,}")
    words, missed = told(_held(results))
    print(words)
    print(
        f"purge: {tidied['deleted']:,} rows at {tidied['per_second']:,.0f}/s; size after it and as many new rows:"
        f" x {tidied['size_ratio']:.3f}"
    )
    taken = time.monotonic() - began
    print(f"loading {sum(loading.values()):.0f} s, {taken:.0f} s in all, at most {told_size(max(sizes.values()))} at once")
    about = {"python": platform.python_version(), "machine": platform.machine(), "processors": os.cpu_count()}
    report = {
        "machine": about,
        "rows": rows,
        "tables": dict.fromkeys(TABLES, rows),
        "bytes": sizes,
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


def _line(row: dict[str, Any]) -> str:
    few, many = row["few_lines"], row["many_lines"]
    lines = "" if few == many else f"   ({few} lines, {many} lines)"
    return f"{row['who']:<9} {row['page']:<32} {row['few_ms']:8.1f} ms {row['many_ms']:8.1f} ms   x {row['ratio']:.2f}{lines}"


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


def room(tables: tuple[str, ...], rows: int) -> int:
    """Return how many bytes so many rows in each of these tables will take, going by the few that they have now."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", [list(tables)])
        return int(int(cursor.fetchone()[0]) / FEW * rows * SPARE)


def check_room(needed: int) -> None:
    """Raise `TooLittleRoom` where the server's disk has fewer free bytes; of a server elsewhere it can't be told."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'")  # none where we may not know it
        found = cursor.fetchone()
    if found is None or not Path(found[0]).exists():
        return
    free = shutil.disk_usage(found[0]).free
    if free < needed:
        raise TooLittleRoom(
            f"{found[0]} has {told_size(free)} left, the largest group of tables takes about {told_size(needed)}:"
            " make room, set TMPDIR to a larger disk, or ask for fewer rows (ROWS=)"
        )


def told_size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def database_size(name: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(%s)", [name])
        return int(cursor.fetchone()[0])


def measure(askers: Any, asked: list[Any], databases: tuple[str, str], runs: int) -> Iterator[dict[str, Any]]:
    """Yield for each page the median milliseconds in both databases, asked in turns, `TURNS` times over, and how many lines it
    showed. Each turn begins with one that does not count: the connection is new."""
    for page in asked:
        row: dict[str, Any] = {"who": page.who, "page": page.name, "group": page.group}
        taken: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(TURNS):
            for name, which in zip(databases, taken, strict=True):
                use(name)
                row[f"{which}_lines"] = page.lines(askers.get(page))
                taken[which] += [_milliseconds(askers, page) for _ in range(runs)]
        few, many = (median(each) for each in taken.values())
        yield {**row, "few_ms": round(few, 2), "many_ms": round(many, 2), "ratio": round(many / few, 2)}


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
