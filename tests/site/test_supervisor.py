"""`manage.py worker` with a real django-q2 cluster on a database of its own: every process killed in turn."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from integrations_site.embedded import EmbeddedPostgres
from integrations_site.embedded.address import REPOSITORY
from integrations_site.supervisor import parts
from tests.site.asker import Asker
from tests.site.test_lifeline import alive, wait_until

pytestmark = [pytest.mark.slow]
SETTINGS = "integrations_site.settings.test"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A migrated database that these tests may kill."""
    with tempfile.TemporaryDirectory(prefix="hub-supervisor-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder, durable=True)
        try:
            server.start()
            subprocess.run(
                parts.manage("migrate", "--noinput"), env=environment(server), cwd=REPOSITORY, check=True, timeout=120
            )
            yield server
        finally:
            server.destroy()


def environment(server: EmbeddedPostgres) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": server.url,
        "VAR_DIR": str(server.var_dir),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": str(REPOSITORY),
    }


@dataclass
class Worker:
    """A running `manage.py worker`."""

    process: subprocess.Popen[bytes]
    server: EmbeddedPostgres
    log: Path
    asker: Asker

    def rows(self) -> list[dict[str, Any]]:
        with psycopg.connect(self.server.url, row_factory=dict_row, connect_timeout=5) as connection:
            return connection.execute("SELECT * FROM integrations_heartbeat ORDER BY name").fetchall()

    def group(self, *, after: str | None = None) -> tuple[str, dict[str, Any]]:
        """Name and processes of the complete group that is not `after`."""
        found: list[tuple[str, dict[str, Any]]] = []

        def look() -> bool:
            try:
                rows = [row for row in self.rows() if row["pid"] == self.process.pid and row["kind"] == "supervisor"]
            except psycopg.OperationalError:
                return False
            if not rows or not rows[0]["detail"]["processes"] or rows[0]["detail"]["group"] == after:
                return False
            found.append((rows[0]["detail"]["group"], rows[0]["detail"]["processes"]))
            return True

        wait_until(look, seconds=45)
        return found[0]

    def run_task(self, name: str, *arguments: object) -> None:
        self.asker.ask(name, *arguments)


@pytest.fixture(scope="module")
def askers(server: EmbeddedPostgres) -> Iterator[dict[str, Asker]]:
    """By the database's URL: after a restart it may be another one."""
    made: dict[str, Asker] = {}
    yield made
    for asker in made.values():
        asker.end()


@pytest.fixture
def worker(server: EmbeddedPostgres, askers: dict[str, Asker], tmp_path: Path) -> Iterator[Worker]:
    server.ensure_running()
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            parts.manage("worker"), env=environment(server), cwd=REPOSITORY, stdout=output, stderr=output
        )
    asker = askers.get(server.url) or askers.setdefault(server.url, Asker(environment(server)))
    made = Worker(process, server, log, asker)
    try:
        yield made
    finally:
        process.kill()
        process.wait()


def all_pids(processes: dict[str, Any]) -> list[int]:
    names = ("guardian", "cluster", "sentinel", "monitor", "pusher")
    return [*(processes[name] for name in names), *processes["workers"]]


def note_of_a_task(worker: Worker, note: Path) -> str:
    worker.run_task("note_down", str(note))
    wait_until(lambda: note.exists() and note.read_text(encoding="utf-8") != "", seconds=30)
    return note.read_text(encoding="utf-8")


@pytest.mark.parametrize("role", ["worker", "monitor", "pusher", "sentinel", "cluster", "guardian"])
def test_a_killed_process_ends_its_group_and_a_new_group_works(worker: Worker, tmp_path: Path, role: str) -> None:
    name, processes = worker.group()
    victim = processes["workers"][1] if role == "worker" else processes[role]

    os.kill(victim, signal.SIGKILL)

    new_name, new_processes = worker.group(after=name)
    assert [pid for pid in all_pids(processes) if alive(pid)] == [], "nobody of the old group works on"
    assert all(alive(pid) for pid in all_pids(new_processes))
    assert note_of_a_task(worker, tmp_path / "note") == new_name
    assert f"lost {role} {victim}" in worker.log.read_text(encoding="utf-8") or role in ("guardian", "cluster")
    assert [row["name"] for row in worker.rows() if row["group"] == name] == []


def test_a_worker_killed_at_work_ends_the_group_too(worker: Worker, tmp_path: Path) -> None:
    name, processes = worker.group()
    note = tmp_path / "long"
    worker.run_task("until_stop_flag", str(note), 60)
    wait_until(note.exists, seconds=30)
    for pid in processes["workers"]:
        os.kill(pid, signal.SIGKILL)
    new_name, _ = worker.group(after=name)
    assert [pid for pid in all_pids(processes) if alive(pid)] == []
    assert note.read_text(encoding="utf-8") == "begun", "the cut-off task did not go on"
    assert note_of_a_task(worker, tmp_path / "note") == new_name


def test_a_killed_supervisor_leaves_no_process_behind(worker: Worker) -> None:
    _, processes = worker.group()
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in all_pids(processes)))


def test_sigterm_ends_everything_in_order(worker: Worker, tmp_path: Path) -> None:
    name, processes = worker.group()
    note = tmp_path / "long"
    worker.run_task("until_stop_flag", str(note), 60)
    wait_until(note.exists, seconds=30)

    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(timeout=40) == 0
    assert note.read_text(encoding="utf-8") == "saw the stop flag"
    assert [pid for pid in all_pids(processes) if alive(pid)] == []
    # The pid, not only the name: rows of supervisors that earlier tests killed may still be there.
    left = [row["name"] for row in worker.rows() if row["group"] == name or row["pid"] == worker.process.pid]
    assert left == []
    assert list((worker.server.var_dir / "run").iterdir()) == []


def test_after_a_restart_of_the_database_a_new_group_works(worker: Worker, tmp_path: Path) -> None:
    name, processes = worker.group()
    pid = worker.server.status().pid
    assert pid is not None
    psutil.Process(pid).kill()
    wait_until(lambda: not worker.server.running())

    worker.server.ensure_running()

    new_name, _ = worker.group(after=name)
    assert [pid for pid in all_pids(processes) if alive(pid)] == []
    assert note_of_a_task(worker, tmp_path / "note") == new_name


def test_a_stale_heartbeat_of_the_group_ends_it(worker: Worker) -> None:
    name, processes = worker.group()
    with psycopg.connect(worker.server.url, autocommit=True) as connection:
        connection.execute(
            'INSERT INTO integrations_heartbeat (name, kind, host, pid, "group", started_at, beat_at, detail)'
            " VALUES ('shift:frozen', 'shift', 'elsewhere', 1, %s, now(), now() - interval '50 seconds', '{}')",
            [name],
        )
    worker.group(after=name)
    assert [pid for pid in all_pids(processes) if alive(pid)] == []
    assert "no heartbeat of shift:frozen" in worker.log.read_text(encoding="utf-8")
    wait_until(lambda: "shift:frozen" not in [row["name"] for row in worker.rows()])
