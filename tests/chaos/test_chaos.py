"""A small one of `make chaos`, whole: two kills, a restart of the database, two kinds of cuts, and the account of 300 items."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.runner import Wish, run
from tests.processes.stack import var_folder

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_300_items_and_five_faults_are_accounted_for(tmp_path: Path) -> None:
    wish = Wish(items=300, seconds=15.0, settle=60.0, answers=90.0, seed=20_260, small=True)
    said: list[str] = []
    with var_folder() as folder:
        result = run(wish, folder, tmp_path, None, said.append)

    assert result.account.faults() == {}
    totals = result.report["totals"]
    assert totals["asked"] == totals["wanted"] >= 300
    assert totals["accepted"] + totals["gone away without an answer"] == totals["asked"]
    assert (
        sum(sum(ends.values()) for kind, ends in result.report["ends"].items() if kind != "receipt by text") == totals["asked"]
    )
    assert [(each["kind"], each["done"]) for each in result.report["plan"]] == [
        ("kill", True),
        ("half", True),
        ("kill", True),
        ("cut", True),
        ("database", True),
    ]
