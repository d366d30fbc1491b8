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
    for table in growth.TABLES:
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


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (large, pagination):
        monkeypatch.setattr(module, "LOOKED_AT", BOUND)
        monkeypatch.setattr(module, "READ", READ)
    monkeypatch.setattr(large, "LISTED", BOUND)
    monkeypatch.setattr(pagination, "JOINED", BOUND)


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
        if node.get("Relation Name") not in growth.TABLES and node["Node Type"] != "Bitmap Index Scan":
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
    return [sql for sql in found if sql.startswith("SELECT") and any(f'"{table}"' in sql for table in growth.TABLES)]


@pytest.mark.usefixtures("lowered")
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


def test_the_bench_loads_group_by_group_and_says_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "FILE", tmp_path / "growth.json")
    monkeypatch.setattr(growth, "TURNS", 1)
    loaded_at_once: list[list[str]] = []
    load = growth.load

    def noted(world: growth_rows.World, totals: dict[str, int]) -> float:
        loaded_at_once.append(list(totals))
        assert {world.written.get(table, growth.FEW) for table in growth.TABLES} == {growth.FEW}
        return load(world, totals)

    monkeypatch.setattr(growth, "load", noted)
    rows = growth.FEW + 2_000
    assert growth._run(rows, runs=1) == 0
    assert loaded_at_once == [list(growth.TABLES), *(list(tables) for tables in growth.GROUPS.values())]
    report = json.loads(growth.FILE.read_text(encoding="utf-8"))
    assert {row["who"] for row in report["pages"]} == {"api", "admin", "operator"}
    assert {row["group"] for row in report["pages"]} == set(growth.GROUPS) == report["bytes"].keys()
    assert all(row["few_ms"] > 0 and row["many_ms"] > 0 for row in report["pages"])
    # Like is held against like: a page that shows fewer lines of few rows would be cheaper for that alone.
    assert [row for row in report["pages"] if row["few_lines"] != row["many_lines"]] == []
    assert report["tables"] == dict.fromkeys(growth.TABLES, rows)
    assert report["missed"] == sum(row["ratio"] > growth.WITHIN for row in report["pages"])
    assert report["purge"]["deleted"] > 0
    assert f"{rows:,} rows in each table" in capsys.readouterr().out


def test_every_page_reads_the_tables_of_its_group_alone() -> None:
    world = growth_rows.make_world()
    askers = Askers(world)
    for page in growth_pages.pages(world):
        read = {table for sql in statements(askers, page) for table in growth.TABLES if f'"{table}"' in sql}
        assert read <= set(growth.GROUPS[page.group]), page
        assert read, page


def test_nothing_is_loaded_where_the_disk_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "FEW", 100)
    load, loads = growth.load, []
    monkeypatch.setattr(growth, "load", lambda world, totals: loads.append(totals) or load(world, totals))
    with pytest.raises(
        growth.TooLittleRoom, match=r"has [\d.,]+ GB left, the largest group of tables takes about [\d.,]+ GB: make room"
    ):
        growth._run(10**12)
    assert loads == [dict.fromkeys(growth.TABLES, 100)]
