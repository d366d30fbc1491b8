"""A process that was killed leaves word of what it was in the middle of: what it had only claimed is not blamed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integrations.models import QueueItem
from integrations.runtime import worker
from integrations.runtime.begun import Begun, begun_by, lists_of_the_dead
from integrations.runtime.queue import release_dead
from integrations.runtime.worker import claim_one, recover_lapsed
from integrations_site.supervisor.duties import DatabaseDuties
from tests.runtime.support import SampleLocalJob, fresh
from tests.runtime.test_draining import ended, shift, wait_until

Add = Callable[..., QueueItem]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUB_STOP_FLAG", str(tmp_path / "stop-1"))
    monkeypatch.setenv("HUB_GROUP", "g1")
    return tmp_path


def taken(item: QueueItem) -> QueueItem:
    claimed = claim_one(item.pk)
    assert claimed is not None
    return claimed


def test_what_is_noted_is_read_until_the_list_is_closed(folder: Path) -> None:
    mine = Begun(3)
    assert begun_by(folder, os.getpid(), "g1") is None
    mine.open()
    assert begun_by(folder, os.getpid(), "g1") == set()
    for ids in ([9_000_000_000_000, 7, 8], [7], []):
        mine.note(ids)
        assert begun_by(folder, os.getpid(), "g1") == set(ids)
    assert begun_by(folder, os.getpid(), "g2") is None
    assert lists_of_the_dead(folder, lambda _pid: True) == []
    assert len(lists_of_the_dead(folder, lambda _pid: False)) == 1
    mine.close()
    assert list(folder.iterdir()) == []


def test_without_a_supervisor_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUB_STOP_FLAG", "HUB_GROUP"):
        monkeypatch.delenv(name, raising=False)
    mine = Begun(1)
    mine.open()
    mine.note([1])
    mine.close()
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_cannot_be_written_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Begun(1)
    mine.open()

    def full(*_given: Any) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(os, "pwrite", full)
    mine.note([1])
    mine.note([])
    assert begun_by(folder, os.getpid(), "g1") is None


@pytest.mark.django_db(transaction=True)
def test_a_shift_notes_what_runs_and_only_while_it_does(add: Add, folder: Path, local_job: SampleLocalJob) -> None:
    seen: dict[int, set[int] | None] = {}
    local_job.act = lambda item: seen.__setitem__(item.pk, begun_by(folder, os.getpid(), "g1"))
    items = [add(kind="sample.local") for _ in range(6)]
    suspect = add(kind="sample.local")
    QueueItem.unscoped.filter(pk=suspect.pk).update(crashes=1)
    with shift(threads=1, ahead=4):
        wait_until(lambda: ended(*items, suspect))
    assert seen == {item.pk: {item.pk} for item in (*items, suspect)}
    assert list(folder.iterdir()) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("standing_clock")
def test_what_a_dead_process_had_not_begun_is_due_as_before(add: Add, folder: Path) -> None:
    begun, ahead, sent = (taken(add()) for _ in range(3))
    worker._mark_sending(sent, "act")
    name = f"{socket.gethostname()[:60]}:4001:g1"
    due = {item.pk: item.due_at for item in (begun, ahead, sent)}
    QueueItem.unscoped.filter(pk__in=due).update(worker=name)

    assert release_dead(socket.gethostname(), lambda _pid: False, begun_by=lambda _pid, _group: {begun.pk}) == 3
    assert recover_lapsed() == 2

    states = [(fresh(item).state, fresh(item).attempts, fresh(item).crashes) for item in (begun, ahead, sent)]
    assert states == [("pending", 1, 1), ("pending", 0, 0), ("unknown", 1, 1)]
    assert fresh(ahead).due_at == due[ahead.pk]


@pytest.mark.django_db
@pytest.mark.usefixtures("standing_clock")
def test_the_supervisor_reads_the_lists_of_the_dead_and_removes_them(add: Add, folder: Path) -> None:
    begun, ahead = (taken(add()) for _ in range(2))
    pid = 2**22 + 1  # above what a process may have
    QueueItem.unscoped.filter(pk__in=[begun.pk, ahead.pk]).update(worker=f"{socket.gethostname()[:60]}:{pid}:g1")
    (folder / f"begun-{pid}-g1").write_text(f"{begun.pk}   ", encoding="ascii")
    (folder / f"begun-{os.getpid()}-g1").write_text(" ", encoding="ascii")
    duties = DatabaseDuties()
    duties.folder = folder

    duties._release_dead()

    assert (fresh(begun).state, fresh(ahead).state) == ("processing", "pending")
    assert [each.name for each in folder.iterdir()] == [f"begun-{os.getpid()}-g1"]
