"""The pytest plugin that gives each run a database: in the normal way, interrupted, and killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.site.test_lifeline import alive, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = """
import os, sys, time
from pathlib import Path
import psycopg
from integrations_site.embedded import EmbeddedPostgres

def test_it():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    folder = Path(os.environ["VAR_DIR"])
    Path({note!r}).write_text(f"{{EmbeddedPostgres(folder).status().pid}} {{folder}}\\n")
    time.sleep({sleep})
"""


def start_run(tmp_path: Path, *, sleep: int, workers: int = 0) -> tuple[subprocess.Popen[bytes], Path]:
    note = tmp_path / "note"
    (tmp_path / "test_inner.py").write_text(CODE.format(note=str(note), sleep=sleep), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    hidden = {"DATABASE_URL", "VAR_DIR", "DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS"}
    environment = {
        name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("PYTEST_XDIST")
    }
    # A shell that runs this suite in the background makes it, and all it starts, deaf to SIGINT: listen again.
    listening = "import pytest, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(pytest.main())"
    command = [sys.executable, "-c", listening, "-q", "-p", "no:django", "-p", "no:cacheprovider"]
    command += ["-p", "tests.plugin_database", "-n", str(workers), str(tmp_path)]
    run = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )
    return run, note


def server_of(note: Path) -> tuple[int, Path]:
    wait_until(lambda: note.exists() and note.read_text(encoding="utf-8").endswith("\n"), seconds=60)
    pid, folder = note.read_text(encoding="utf-8").split()
    return int(pid), Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_the_server_is_gone_when_the_run_has_ended(tmp_path: Path, workers: int) -> None:
    run, note = start_run(tmp_path, sleep=0, workers=workers)
    pid, folder = server_of(note)
    assert run.wait(timeout=60) == 0
    assert not alive(pid)
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_is_gone_after_an_interrupted_run(tmp_path: Path, number: signal.Signals) -> None:
    run, note = start_run(tmp_path, sleep=600)
    pid, folder = server_of(note)
    assert psutil.Process(pid).name().startswith("postgres")
    run.send_signal(number)
    try:
        assert run.wait(timeout=60) != 0
    finally:
        run.kill()
    wait_until(lambda: not alive(pid) and not folder.exists(), seconds=30)
