"""The whole hub in real processes (`manage.py up` with the demo's settings), to be killed piece by piece."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import requests
from psycopg.rows import dict_row

from integrations_site.demo.environment import prepare
from integrations_site.embedded import EmbeddedPostgres
from integrations_site.embedded.address import REPOSITORY, database_url
from integrations_site.supervisor.parts import WEB_WORKERS, manage

T = TypeVar("T")
CLUSTER_WORKERS = 4
# Guardian, main process, sentinel, workers, monitor, pusher.
CLUSTER_SIZE = 3 + CLUSTER_WORKERS + 2
# The three guardians, gunicorn and its workers, the supervisor and its cluster, the simulators.
EVERYBODY = 3 + 1 + WEB_WORKERS + 1 + CLUSTER_SIZE + 1
SINK = "school"
# What a client on loopback meets while the other side is being replaced.
DOWN = (requests.ConnectionError, requests.Timeout)


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 90.0, every: float = 0.1) -> T:
    """Return what `look` returns as soon as it is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(every)


def lives(process: psutil.Process) -> bool:
    """Tell whether it is there and can still do something (a zombie can't)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Stack:
    """One running hub with its simulators, a seeded school, and eyes on all of its processes."""

    def __init__(self, folder: Path) -> None:
        self.var_dir = folder
        self.port, self.simulator_port = free_port(), free_port()
        self.database = EmbeddedPostgres(folder)
        self.api = f"http://127.0.0.1:{self.port}"
        self.simulator = f"http://127.0.0.1:{self.simulator_port}"
        environment = prepare(folder, port=self.port, simulator_port=self.simulator_port)
        # The tests' own database is not the stack's.
        self.environment = {**environment, "DATABASE_URL": "", "LOG_LEVEL": "INFO"}
        for name in ("SIMULATOR_STATE_DIR", "PYTEST_CURRENT_TEST"):
            self.environment.pop(name, None)
        self.key = ""
        self.killed_at = 0.0  # of the monotonic clock
        self._http = requests.Session()
        self._http.trust_env = False
        self._manager: subprocess.Popen[bytes] | None = None

    # --- start and stop

    def start(self) -> None:
        """Bring everything up and seed it; returns when all of it works."""
        self.database.start()
        self._manage("migrate", "--noinput")
        seeded = json.loads(self._manage("seed_demo", "--json"))
        self.key = seeded["tenants"][0]["api_key"]
        self.up()
        self._subscribe()

    def up(self) -> None:
        """Start the manager and wait until the hub is whole."""
        with (self.var_dir / "up.log").open("ab") as log:
            self._manager = subprocess.Popen(
                manage("up", "--port", str(self.port), "--simulator-port", str(self.simulator_port)),
                env=self.environment,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self.whole, "the hub to be whole")

    def stop(self) -> int:
        """End it in order and delete it; the manager's exit code."""
        code = 0
        if self._manager is not None:
            self._manager.terminate()
            code = self._manager.wait(timeout=90)
        self.database.destroy()
        return code

    def _manage(self, *arguments: str) -> str:
        done = subprocess.run(
            manage(*arguments), env=self.environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _subscribe(self) -> None:
        wanted = {"name": "School", "url": f"{self.simulator}/sink/{SINK}", "events": ["payment.completed", "payment.failed"]}
        created = self.call("POST", "/api/webhooks", json=wanted).json()
        self.control("PUT", f"sink/{SINK}", json={"secret": created["secret"], "status": 200})
        for config in self.call("GET", "/api/v1/integrations/configs", params={"category": "sms"}).json()["results"]:
            urls = self.call("GET", f"/api/v1/integrations/setup/{config['provider']}").json()["urls"]
            if "dlr" not in urls:
                continue  # told with each message where to report
            path = f"{config['provider']}/accounts/{config['values']['username']}"
            self.control("PUT", path, json={"dlr_url": urls["dlr"]["url"]})

    # --- talking to it

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request to the hub with the school's key. Raises as `requests` does; asserts nothing about the answer."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return requests.request(method, self.api + path, headers=headers, timeout=90, **options)

    def control(self, method: str, path: str, **options: Any) -> Any:
        """One request to the simulators' control API, repeated while they are down."""

        def ask() -> requests.Response | None:
            try:
                return self._http.request(method, f"{self.simulator}/control/{path}", timeout=30, **options)
            except DOWN:
                return None

        answer = wait_for(ask, "the simulators to answer", 60)
        assert answer.ok, answer.text
        return answer.json()

    def fault(self, slug: str, operation: str, fault: str, **more: Any) -> None:
        self.control("POST", f"{slug}/faults", json={"operation": operation, "fault": fault, **more})

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Query the hub's database, over a connection of its own. Raises psycopg.Error while that is down."""
        with psycopg.connect(database_url(self.var_dir) or "", connect_timeout=5, autocommit=True) as connection:
            return connection.cursor(row_factory=dict_row).execute(sql, values).fetchall()

    # --- its processes

    @property
    def manager(self) -> psutil.Process:
        assert self._manager is not None
        return psutil.Process(self._manager.pid)

    def children(self) -> list[psutil.Process]:
        """Every living process that descends from the manager."""
        return [each for each in self.manager.children(recursive=True) if lives(each)]

    def strays(self) -> list[psutil.Process]:
        """Processes of this hub that live outside of the manager's family, the database's own excepted."""
        family = {self.manager.pid, *(each.pid for each in self.children())}
        return [each for each in self.everything() if each.pid not in family and each.name() != "postgres"]

    def everything(self) -> list[psutil.Process]:
        """All living processes that were started with our VAR_DIR."""
        found = []
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if each.environ().get("VAR_DIR") == str(self.var_dir) and lives(each):
                    found.append(each)
        return found

    def command(self, word: str) -> psutil.Process:
        """The child of the manager's guardian whose command line has `word` as an argument."""
        for guardian in self.manager.children():
            for each in guardian.children():
                if word in each.cmdline():
                    return each
        raise AssertionError(f"no process runs {word}")

    def supervisor_row(self) -> dict[str, Any]:
        """The heartbeat row of the supervisor that runs now."""
        pid = self.command("worker").pid
        found = self.rows("SELECT pid, detail FROM integrations_heartbeat WHERE kind = 'supervisor' AND pid = %s", pid)
        assert len(found) == 1, "the supervisor has no row yet"
        return found[0]

    def shift_pids(self, kind: str) -> list[int]:
        sql = "SELECT pid FROM integrations_heartbeat WHERE kind = %s AND beat_at > now() - interval '4 s' ORDER BY pid"
        return [row["pid"] for row in self.rows(sql, f"shift:{kind}")]

    def find(self, role: str) -> psutil.Process:
        """The process that plays `role` now (of several, one of them)."""
        if role == "web master":
            return self.command("gunicorn")
        if role == "web worker":
            return self.command("gunicorn").children()[0]
        if role == "simulators":
            return self.command("simulate")
        if role == "supervisor":
            return self.command("worker")
        if role == "database":
            pid = self.database.status().pid
            assert pid is not None
            return psutil.Process(pid)
        processes = self.supervisor_row()["detail"]["processes"]
        if role == "queue worker":
            return psutil.Process(self.shift_pids("queue")[0])
        if role == "delivery worker":
            return psutil.Process(self.shift_pids("delivery")[0])
        if role == "idle worker":
            busy = {*self.shift_pids("queue"), *self.shift_pids("delivery")}
            return psutil.Process(next(pid for pid in processes["workers"] if pid not in busy))
        return psutil.Process(processes[role])

    def doomed_with(self, role: str, process: psutil.Process) -> list[psutil.Process]:
        """Whom the death of `process` must take along: nobody may go on with half a family."""
        if role == "web worker":
            return [process]
        cluster = self._group_of(self.find("cluster"))
        if role == "supervisor":
            return [process, *cluster]
        if role == "database":
            # The cluster's connections are dead, and a pusher without one falls asleep.
            return [process, *process.children(recursive=True), *cluster]
        return self._group_of(process)

    def _group_of(self, process: psutil.Process) -> list[psutil.Process]:
        group = os.getpgid(process.pid)
        found = []
        for each in self.children():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(each.pid) == group:
                    found.append(each)
        return found

    def kill(self, role: str, process: psutil.Process | None = None) -> list[psutil.Process]:
        """kill -9 of the process in `role` (or of this one, who plays it); returns all who must be gone then."""
        process = process or self.find(role)
        doomed = self.doomed_with(role, process)
        self.killed_at = time.monotonic()
        process.send_signal(signal.SIGKILL)
        return doomed

    def kill_manager(self) -> None:
        """kill -9 of the one who watches all others; `up()` starts the next."""
        assert self._manager is not None
        self._manager.kill()
        self._manager.wait()

    def whole(self) -> bool:
        """Tell whether every process is there and at work, and nobody else."""
        try:
            health = self._http.get(f"{self.api}/api/health", timeout=5)
            if health.status_code != 200 or health.json()["status"] != "ok":
                return False
            if self._http.get(f"{self.simulator}/healthz", timeout=5).status_code != 200:
                return False
            processes = self.supervisor_row()["detail"]["processes"]
            workers = set(processes.get("workers", []))
            queue, delivery = self.shift_pids("queue"), self.shift_pids("delivery")
            return (
                len(queue) == 2
                and len(delivery) == 1
                and {*queue, *delivery} <= workers
                and self.find("database").is_running()
                and len(self.children()) == EVERYBODY
                and self.strays() == []
            )
        except (*DOWN, psycopg.Error, psutil.Error, AssertionError):
            return False

    def logs(self, lines: int = 40) -> str:
        """The ends of all logs, for the report of a failure."""
        files = [self.var_dir / "up.log", *sorted((self.var_dir / "log").glob("*.log"))]
        tails = (file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] for file in files if file.exists())
        return "\n".join(f"--- {file.name}\n" + "\n".join(tail) for file, tail in zip(files, tails, strict=False))


@contextlib.contextmanager
def var_folder() -> Iterator[Path]:
    """A fresh VAR_DIR that the database's user may pass through."""
    with tempfile.TemporaryDirectory(prefix="hub-stack-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
