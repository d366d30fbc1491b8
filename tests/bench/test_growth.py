"""What a page costs does not depend on how many rows there are: counted, not timed.

The rows here are some ten thousand. Each page's statements are repeated under `EXPLAIN ANALYZE`, which tells how many rows were
really read, and held against the bounds of the lists (lowered here): whoever reads the table, or sorts it, reads far more. The
planner is told of ten million rows (`pg_class.reltuples`; what it knows of their values is measured), so that it chooses as it
would with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.adminbase import large
from integrations.tenancy import pagination
from tests.bench import growth, growth_pages, growth_rows
from tests.bench.growth_pages import Askers, Page

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROWS = 12_000
BOUND = 400
READ = 100
MOST_READ = 2_500
"""Rows of all tables that a page may read: two looks at `BOUND` rows for the page and its count, and what belongs to them."""


def loaded() -> growth_rows.World:
    world = growth_rows.make_world()
    for table in growth.SHARES:
        growth_rows.write(world, table, ROWS)
        growth_rows.tidy(table)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE pg_class SET reltuples = 1e7 WHERE oid = %s::regclass", [table])
            cursor.execute(
                "UPDATE pg_class SET reltuples = reltuples * 1e7 / %s FROM pg_index i"
                " WHERE i.indexrelid = pg_class.oid AND i.indrelid = %s::regclass",
                [ROWS, table],
            )
    return world


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (large, pagination):
        monkeypatch.setattr(module, "LOOKED_AT", BOUND)
        monkeypatch.setattr(module, "READ", READ)
    monkeypatch.setattr(large, "LISTED", BOUND)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


def rows_read(sql: str) -> tuple[int, list[str]]:
    """Return how many rows a statement reads from large tables, and the large tables that it reads from end to end."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    read, whole = 0, []
    for node in nodes(plan):
        if node.get("Relation Name") not in growth.SHARES and node["Node Type"] != "Bitmap Index Scan":
            continue
        loops = node["Actual Loops"]
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        read += int((node["Actual Rows"] + removed) * loops)
        if node["Node Type"] == "Seq Scan":
            whole.append(node["Relation Name"])
    return read, whole


def statements(askers: Askers, page: Page) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        askers.get(page)
    found = [each["sql"] for each in queries.captured_queries]
    return [sql for sql in found if sql.startswith("SELECT") and any(f'"{table}"' in sql for table in growth.SHARES)]


def test_no_page_reads_more_rows_than_it_may() -> None:
    world = loaded()
    askers = Askers(world)
    too_much: dict[str, Any] = {}
    asked = growth_pages.pages(world)
    for page in asked:
        askers.get(page)
        figures = [(*rows_read(sql), sql) for sql in statements(askers, page)]
        read = sum(each[0] for each in figures)
        whole = [table for _read, tables, _sql in figures for table in tables]
        if read > MOST_READ or whole:
            worst = max(figures)
            too_much[f"{page.who} {page.name}"] = (read, whole, worst[2][-600:])
    assert too_much == {}, "\n".join(f"{name}: {told}" for name, told in too_much.items())
    assert len(asked) >= 50


def test_the_bench_runs_and_says_what_it_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(growth, "FILE", tmp_path / "growth.json")
    monkeypatch.setattr(growth, "FEW", 6_000)
    assert growth._run(8_000, dict.fromkeys(growth.SHARES, 1.0), runs=1) == 0
    report = json.loads(growth.FILE.read_text(encoding="utf-8"))
    assert {row["who"] for row in report["pages"]} == {"api", "admin", "operator"}
    assert all(row["few_ms"] > 0 and row["many_ms"] > 0 for row in report["pages"])
    assert report["tables"] == dict.fromkeys(growth.SHARES, 8_000)
    assert report["missed"] == sum(row["ratio"] > growth.WITHIN for row in report["pages"])
    assert report["purge"]["deleted"] > 0
