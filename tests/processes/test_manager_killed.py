"""kill -9 of the manager itself: nothing is left but the database, and the next start adopts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from integrations_site.embedded import EmbeddedPostgres
from integrations_site.embedded.address import REPOSITORY
from tests.processes.fee import Fee
from tests.processes.stack import Stack, free_port, lives, var_folder, wait_for

pytestmark = [pytest.mark.slow]


def test_the_next_manager_adopts_the_database_and_finishes_the_work(stack: Stack) -> None:
    fee = Fee(stack)
    fee.ask()
    wait_for(fee.prompts, "the prompt", 20)
    database = stack.find("database")
    family = stack.children()
    assert stack.strays() == []

    stack.kill_manager()

    wait_for(lambda: not any(lives(each) for each in family), "the end of the manager's family", 10)
    assert [each.name() for each in stack.everything() if each.name() != "postgres"] == []
    assert lives(database)
    stack.up()
    assert stack.find("database") == database, "adopted, not started anew"
    fee.enter_pin()
    fee.wait_until_ended()
    assert fee.assert_done_once() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    with var_folder() as folder:
        yield folder
        EmbeddedPostgres(folder).destroy()


def test_a_killed_demo_leaves_only_the_database_and_the_next_demo_adopts_it(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "DJANGO_SETTINGS_MODULE"}}
    environment["VAR_DIR"] = str(folder)
    port, simulator_port = free_port(), free_port()
    command = [sys.executable, "-m", "integrations_site.demo", "--port", str(port), "--simulator-port", str(simulator_port)]
    output = folder / "demo.out"
    with output.open("wb") as file:
        demo = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=file, stderr=file)
    try:
        wait_for(lambda: "the demo stays up" in output.read_text(encoding="utf-8") or demo.poll(), "the demo to stay up", 120)
        assert "FAILED" not in output.read_text(encoding="utf-8")
        family = psutil.Process(demo.pid).children(recursive=True)
        postmaster = EmbeddedPostgres(folder).status().pid
    finally:
        demo.kill()
        demo.wait()

    wait_for(lambda: not any(lives(each) for each in family), "the end of the demo's processes", 10)
    status = EmbeddedPostgres(folder).status()
    assert (status.running, status.pid) == (True, postmaster)
    again = subprocess.Popen([*command, "--once"], env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert again.stdout is not None
    lines = []
    for line in again.stdout:
        lines.append(line)
        if "OK      migrate" in line:
            assert EmbeddedPostgres(folder).status().pid == postmaster, "adopted, not started anew"
    assert again.wait(timeout=60) == 0, "".join(lines)
    assert any("OK      migrate" in line for line in lines)
    assert not EmbeddedPostgres(folder).status().running, "the one who adopts it ends it"
