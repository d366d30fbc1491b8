"""Whom the supervisor ends for the company they keep: nothing that they ran is blamed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from integrations_site.supervisor.duties import DatabaseDuties
from integrations_site.supervisor.worker import WorkerSupervisor
from tests.site.test_lifeline import alive, wait_until

SLEEPS = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


class Noting(DatabaseDuties):
    """Notes whom it was told to spare, and that they lived then."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, list[int], bool]] = []

    def spare(self, group: str, pids: Any) -> None:
        named = list(pids)
        self.told.append((group, named, all(alive(pid) for pid in named)))
        super().spare(group, named)


@pytest.mark.parametrize("reason", ["lost worker 1", None])
def test_who_lives_when_a_group_is_ended_is_spared(tmp_path: Path, reason: str | None) -> None:
    duties = Noting()
    supervisor = WorkerSupervisor(
        command=SLEEPS, environment={}, folder=tmp_path, workers=1, stop_flag=tmp_path / "stop", duties=duties
    )
    seen: list[int] = []

    def watch(group: Any) -> str | None:
        wait_until(lambda: len(group.members()) == 2)
        seen.extend(member.pid for member in group.members())
        return reason

    supervisor._watch = watch  # type: ignore[method-assign]
    supervisor.stop()

    supervisor._run_group()

    ((group, pids, lived),) = duties.told
    assert lived
    assert sorted(pids) == sorted(seen)
    wait_until(lambda: not any(alive(pid) for pid in pids))
    assert all(duties._is_spared(pid, group) for pid in pids)
    assert not duties._is_spared(pids[0], "another group")


def test_a_process_that_hangs_is_not_spared() -> None:
    duties = DatabaseDuties()
    duties.group_started("g1")
    duties._culprit = 7
    duties.spare("g1", [6, 7, 8])
    assert [duties._is_spared(pid, "g1") for pid in (6, 7, 8)] == [True, False, True]
    duties.group_started("g2")
    duties.spare("g2", [7])
    assert duties._is_spared(7, "g2")
