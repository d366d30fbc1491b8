"""Process groups on a lifeline: nothing outlives its starter, signals and exit codes pass through."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from integrations_site.supervisor.group import LIFELINE, ProcessGroup

REPOSITORY = Path(__file__).resolve().parents[2]
# A command with a child of its own; it tells both process ids and then waits.
FAMILY = (
    "import os, subprocess, sys, time;"
    "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(os.getpid(), c.pid, flush=True); time.sleep(600)"
)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def start(code: str, output: Path) -> ProcessGroup:
    with output.open("wb") as file:
        return ProcessGroup([sys.executable, "-c", code], environment=os.environ, folder=output.parent, output=file)


def read_pids(output: Path) -> list[int]:
    wait_until(lambda: output.read_text(encoding="utf-8").endswith("\n"))
    return [int(word) for word in output.read_text(encoding="utf-8").split()]


def test_kill_ends_every_process_of_the_group(tmp_path: Path) -> None:
    group = start(FAMILY, tmp_path / "out")
    pids = read_pids(tmp_path / "out")
    assert {member.pid for member in group.members()} == {group.id, *pids}
    group.kill()
    assert [pid for pid in (group.id, *pids) if alive(pid)] == []
    assert group.members() == {}


def test_when_the_starter_is_killed_the_group_ends(tmp_path: Path) -> None:
    output = tmp_path / "out"
    starter_code = (
        "import os, pathlib, sys, time; from integrations_site.supervisor.group import ProcessGroup;"
        "g = ProcessGroup([sys.executable, '-c', sys.argv[1]], environment=os.environ,"
        " folder=pathlib.Path('/'), output=open(sys.argv[2], 'wb')); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", starter_code, FAMILY, str(output)], cwd=REPOSITORY)
    wait_until(output.exists)
    pids = read_pids(output)
    guardian = os.getpgid(pids[0])
    assert all(alive(pid) for pid in (guardian, *pids))

    starter.kill()
    starter.wait()

    wait_until(lambda: not any(alive(pid) for pid in (guardian, *pids)))


def test_when_the_guardian_is_killed_the_starter_sees_it_and_can_end_the_rest(tmp_path: Path) -> None:
    group = start(FAMILY, tmp_path / "out")
    pids = read_pids(tmp_path / "out")
    os.kill(group.id, signal.SIGKILL)
    wait_until(lambda: group.ended() is not None)
    assert {member.pid for member in group.members()} == set(pids)
    group.kill()
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(0)", 0), ("raise SystemExit(7)", 7)])
def test_the_exit_code_is_the_commands(tmp_path: Path, code: str, expected: int) -> None:
    group = start(code, tmp_path / "out")
    wait_until(lambda: group.ended() is not None)
    assert group.ended() == expected
    group.kill()


def test_a_command_that_died_of_a_signal_gives_128_and_its_number(tmp_path: Path) -> None:
    group = start("import os; os.kill(os.getpid(), 9)", tmp_path / "out")
    wait_until(lambda: group.ended() is not None)
    assert group.ended() == 128 + signal.SIGKILL
    group.kill()


def test_stop_lets_the_command_end_in_order(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('in order', flush=True); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    group = start(code, tmp_path / "out")
    wait_until(lambda: (tmp_path / "out").read_text(encoding="utf-8") == "ready\n")
    assert group.stop(timeout=60) == 3
    assert (tmp_path / "out").read_text(encoding="utf-8") == "ready\nin order\n"


def test_stop_kills_a_command_that_does_not_listen(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    group = start(code, tmp_path / "out")
    wait_until(lambda: (tmp_path / "out").read_text(encoding="utf-8") == "ready\n")
    assert group.stop(timeout=0.3) == -signal.SIGKILL
    assert group.members() == {}


def test_the_lifeline_refuses_to_run_in_its_starters_group() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(LIFELINE), "true"], stdin=subprocess.PIPE, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "leader of a new session" in done.stderr
