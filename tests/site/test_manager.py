"""The one-machine manager with small real children."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations_site.supervisor.backoff import Backoff
from integrations_site.supervisor.manager import AlreadyRunningError, ChildSpec, Manager
from integrations_site.supervisor.ports import PortTakenError, require_free
from tests.site.test_lifeline import alive, read_pids, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def spec(name: str, code: str, *, stop_order: int = 0) -> ChildSpec:
    return ChildSpec(
        name=name,
        command=[sys.executable, "-c", code],
        environment=os.environ,
        stop_timeout=60,
        stop_order=stop_order,
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def managers() -> Iterator[list[Manager]]:
    made: list[Manager] = []
    yield made
    for manager in made:
        manager.stop()


def make(managers: list[Manager], tmp_path: Path, said: list[str], *children: ChildSpec) -> Manager:
    manager = Manager(var_dir=tmp_path, folder=tmp_path, children=children, database=None, say=said.append)
    managers.append(manager)
    return manager


def test_a_killed_child_is_started_again_and_the_others_stay(managers: list[Manager], tmp_path: Path, said: list[str]) -> None:
    manager = make(managers, tmp_path, said, spec("one", SLEEP), spec("two", SLEEP))
    manager.start_children()
    before = manager.process_groups()
    wait_until(lambda: manager.log_of("one").read_text(encoding="utf-8") == "up\n")

    os.killpg(before["one"], signal.SIGKILL)

    wait_until(lambda: manager.process_groups().get("one", before["one"]) != before["one"])
    wait_until(lambda: manager.log_of("one").read_text(encoding="utf-8") == "up\nup\n")
    assert manager.process_groups()["two"] == before["two"]
    assert said[0] == f"one ended with exit code -9 and is restarted; its log: {manager.log_of('one')}"


def test_a_child_that_fails_at_start_shows_the_end_of_its_log(managers: list[Manager], tmp_path: Path, said: list[str]) -> None:
    manager = make(managers, tmp_path, said, spec("bad", "print('this is why', flush=True); raise SystemExit(4)"))
    manager.start_children()
    wait_until(lambda: len(said) >= 3)
    line = f"bad ended with exit code 4 and is restarted; its log: {manager.log_of('bad')}"
    assert said[:3] == [line, "    this is why", line], "the log's end is shown once, not at every restart"


def test_children_end_in_the_order_asked_for(managers: list[Manager], tmp_path: Path, said: list[str]) -> None:
    story = tmp_path / "story"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    open({story!r}, 'a').write({name!r} + ' '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(600)\n"
    )
    last = spec("last", code.format(story=str(story), name="last"), stop_order=1)
    first = spec("first", code.format(story=str(story), name="first"))
    manager = make(managers, tmp_path, said, last, first)
    manager.start_children()
    for name in ("first", "last"):
        wait_until(lambda name=name: manager.log_of(name).read_text(encoding="utf-8") == "up\n")  # type: ignore[misc]

    manager.stop()

    assert story.read_text(encoding="utf-8") == "first last "
    assert manager.process_groups() == {}
    assert said == []


def test_only_one_manager_per_folder(managers: list[Manager], tmp_path: Path, said: list[str]) -> None:
    first, second = make(managers, tmp_path, said), make(managers, tmp_path, said)
    with first.only_one(), pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"), second.only_one():
        pytest.fail("the second one must not get in")
    with second.only_one():
        pass


def test_after_kill_of_the_manager_no_child_is_left(tmp_path: Path) -> None:
    family = (
        "import os, subprocess, sys, time;"
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(os.getpid(), c.pid, flush=True); time.sleep(600)"
    )
    code = (
        "import os, pathlib, sys, time; from integrations_site.supervisor.manager import *;"
        "s = ChildSpec(name='c', command=[sys.executable, '-c', sys.argv[1]], environment=os.environ);"
        "m = Manager(var_dir=pathlib.Path(sys.argv[2]), folder=pathlib.Path('/'), children=[s], database=None, say=print);"
        "m.start_children(); time.sleep(600)"
    )
    manager = subprocess.Popen([sys.executable, "-c", code, family, str(tmp_path)], cwd=REPOSITORY)
    log = tmp_path / "log" / "c.log"
    wait_until(log.exists)
    pids = read_pids(log)
    manager.kill()
    manager.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_taken_port_is_named_with_its_owner_and_the_way_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(PortTakenError, match=rf"port {port} for the web server is taken.*choose another port: PORT="):
            require_free(port, "the web server", option="PORT=")
    require_free(port, "the web server", option="PORT=")


def test_backoff_grows_to_its_cap_and_starts_over_after_a_stable_run() -> None:
    backoff = Backoff(first=0.25, cap=10, stable=30)
    assert [backoff.after_run_of(1) for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert [backoff.after_run_of(seconds) for seconds in (29.9, 30, 1)] == [10, 0.25, 0.5]
