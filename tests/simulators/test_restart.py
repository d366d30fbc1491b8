"""What a `kill -9` of the server leaves, and what the next one makes of it. And the command's exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from integrations.simulators import ManualClock, PortTaken, StateInUse, Store, running_simulators
from tests.simulators.counter import CounterSimulator
from tests.simulators.support import Receiver, wait_for

ROOT = Path(__file__).resolve().parents[2]


def launch(port: int, state_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.simulators.counter", str(port), str(state_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    """Return what it says once it serves: where."""
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def serving(state_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own on a port that is free, and its URL."""
    process = launch(0, state_dir)
    try:
        found = re.match(r"simulators on (http://127\.0\.0\.1:\d+) ", first_line(process))
        assert found, process.communicate()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_callbacks_not_yet_sent_go_out_once_after_a_kill(tmp_path: Path, receiver: Receiver) -> None:
    with serving(tmp_path) as (process, url):
        for _ in range(5):
            requests.post(f"{url}/counter/v1/add", json={"callback_url": receiver.url, "delay": 600}, timeout=5)
        kill(process)
    assert receiver.received == []
    # Their time comes while nobody serves.
    store = Store(tmp_path)
    assert store.execute("UPDATE jobs SET due = 0") == 5
    store.close()
    with serving(tmp_path) as (_process, url):
        found = receiver.wait(5)
        assert sorted(each.json()["n"] for each in found) == [1, 2, 3, 4, 5]
        acks = wait_for(lambda: a if len(a := state(url)["acks"]) == 5 else None)
        assert sorted(acks) == [[n, 200] for n in range(1, 6)]
    assert len(receiver.received) == 5


def state(url: str) -> dict[str, list[list[int]]]:
    return requests.get(f"{url}/control/counter/state", timeout=5).json()  # type: ignore[no-any-return]


def test_a_callback_whose_sending_had_begun_is_never_sent_again(tmp_path: Path) -> None:
    with Receiver(gate=threading.Event()) as receiver:
        with serving(tmp_path) as (process, url):
            requests.post(f"{url}/counter/v1/add", json={"callback_url": receiver.url}, timeout=5)
            receiver.wait(1)
            kill(process)
        assert receiver.gate is not None
        receiver.gate.set()
        with serving(tmp_path) as (_process, url):
            assert state(url)["acks"] == [[1, None]]
            # A later callback of the restarted server arrives, so the first had every chance to be sent again.
            requests.post(f"{url}/counter/v1/add", json={"callback_url": receiver.url}, timeout=5)
            receiver.wait(2)
            jobs = requests.get(f"{url}/control/counter/callbacks", timeout=5).json()
            assert jobs[1]["state"] == "interrupted"
        assert [each.json()["n"] for each in receiver.received] == [1, 2]


def test_an_action_runs_once_also_across_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    with running_simulators([CounterSimulator], state_dir=tmp_path, clock=clock) as first:
        requests.post(f"{first.url}/counter/v1/later", json={"delay": 10}, timeout=5)
    clock.advance(10)
    with running_simulators([CounterSimulator], state_dir=tmp_path, clock=clock) as second:
        wait_for(lambda: second.simulator("counter").state()["n"] == 1)
    with running_simulators([CounterSimulator], state_dir=tmp_path, clock=clock) as third:
        clock.advance(100)
        assert third.scheduler.jobs(pending=True) == []
        assert third.simulator("counter").state()["n"] == 1


def test_two_servers_never_share_a_state_folder_or_a_port(tmp_path: Path) -> None:
    with running_simulators([CounterSimulator], state_dir=tmp_path / "a") as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(StateInUse):
            running_simulators([CounterSimulator], state_dir=tmp_path / "a").start()
        with pytest.raises(PortTaken):
            running_simulators([CounterSimulator], state_dir=tmp_path / "b", port=port).start()
        assert not (tmp_path / "b").exists()
        process = launch(port, tmp_path / "b")
        _, problem = process.communicate(timeout=60)
        assert process.returncode == 2
        assert problem == (
            f"simulators cannot start: 127.0.0.1:{port} is not free; another program listens there; "
            "choose another with --port\n"
        )
        process = launch(0, tmp_path / "a")
        _, problem = process.communicate(timeout=60)
        assert (process.returncode, "another simulator server works on" in problem) == (2, True)


def test_sigterm_stops_it_cleanly(tmp_path: Path) -> None:
    process = launch(0, tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    first = first_line(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    lines = [first.rstrip("\n"), *process.stdout.read().splitlines()]
    assert process.stderr.read() == ""
    url = first.split()[2]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert lines[0].startswith(f"simulators on {url} ")
    assert lines[1].split()[:2] == ["counter", f"{url}/counter"]
    assert lines[-1] == "simulators stopped"
