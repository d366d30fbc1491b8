"""The hub that is harmed: `tests.processes.stack.Stack` with a clock that can be turned, proxies, a small disk and a second
machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from integrations_site.embedded.address import REPOSITORY
from tests.chaos.proxy import CuttingProxy
from tests.chaos.receivers import RETRY_DELAYS, WANTED, Receiver
from tests.chaos.skew import ROLE, VARIABLE, ClockFile
from tests.processes.stack import Stack, wait_for

DISK_SIZE = "4g"
SINGLE_ACCOUNT = "demoschool"


@dataclass(frozen=True)
class Source:
    """A system that sends signed webhooks to the hub."""

    url: str
    secret: str


class Hub(Stack):
    """`books` is a folder that is not the hub's: the clock's file and the providers' own books, which no full disk harms."""

    def __init__(self, folder: Path, books: Path, seed: int) -> None:
        super().__init__(folder)
        self.books = books
        self.clock = ClockFile(books / "clock.json")
        self.providers = CuttingProxy(self.simulator_port)
        self.receivers = [Receiver(wanted, seed + number) for number, wanted in enumerate(WANTED)]
        self.source = Source("", "")
        self._second: subprocess.Popen[bytes] | None = None
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            VARIABLE: str(self.clock.path),
            "SIMULATOR_STATE_DIR": str(books / "simulators"),
            "SIMULATOR_URL": f"http://127.0.0.1:{self.providers.port}",
            "API_RATE_PER_MINUTE": "1000000",
            "API_RATE_MAX_PER_MINUTE": "1000000",
        }

    def stop(self) -> int:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._end_second()
        code = 1
        try:
            code = super().stop()
        except subprocess.TimeoutExpired:
            self.kill_manager()  # its family goes with it
            self.database.destroy()
        finally:
            self.providers.close()
            for receiver in self.receivers:
                receiver.close()
        return code

    # --- set up

    def _subscribe(self) -> None:
        for receiver in self.receivers:
            wanted = receiver.wanted
            body = {
                "name": wanted.name,
                "url": receiver.url,
                "events": list(wanted.events),
                "ordering": "object" if wanted.in_order else "none",
                "max_in_flight": 64,
                "retry_delays": RETRY_DELAYS,
            }
            made = self._made("/api/webhooks", body)
            receiver.secret, receiver.endpoint_id = made["secret"], made["id"]
        body = {
            "name": "Shop",
            "scheme": "hmac",
            "options": {"header": "X-Signature"},
            "dedupe_path": "body:id",
            "event_types": {"*": "order.paid"},
        }
        made = self._made("/api/v1/integrations/inbound-endpoints", body)
        self.source = Source(made["urls"][0]["url"], made["secret"])
        urls = self.call("GET", "/api/v1/integrations/setup/africastalking").json()["urls"]
        account = {"dlr_url": urls["dlr"]["url"], "balance": "1000000"}
        self.control("PUT", f"africastalking/accounts/{SINGLE_ACCOUNT}", json=account)
        self.start_second()

    def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.call("POST", path, json=body, headers={"Idempotency-Key": f"set up {path} {body['name']}"})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    # --- the second machine: one engine that delivers

    def start_second(self) -> None:
        command = [sys.executable, "-m", "tests.processes.fleet", "1"]
        environment = {**self.environment, ROLE: "second", "HUB_GROUP": "second"}
        with (self.books / "second.log").open("ab") as log:
            self._second = subprocess.Popen(
                command, env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        wait_for(self.second_engines, "the second machine")

    def second_engines(self) -> list[psutil.Process]:
        assert self._second is not None
        if self._second.poll() is not None:
            return []
        return psutil.Process(self._second.pid).children()

    def _end_second(self) -> None:
        if self._second is not None and self._second.stdin is not None:
            self._second.stdin.close()
            self._second.wait(30)

    def strays(self) -> list[psutil.Process]:
        """The second machine shares our VAR_DIR and is none of the manager's family."""
        ours = set()
        if self._second is not None and self._second.poll() is None:
            ours = {self._second.pid, *(each.pid for each in psutil.Process(self._second.pid).children(recursive=True))}
        return [each for each in super().strays() if each.pid not in ours]


class SmallDisk:
    """The hub's own file system, where we may make one: it can be full. `why_not` says why there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        self.why_not = ""
        if os.geteuid() != 0:
            self.why_not = "only root may mount a file system of its own for the hub"
            return
        options = f"size={DISK_SIZE},mode=0711"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "hub", str(folder)], capture_output=True, text=True)
        if done.returncode:
            self.why_not = f"no file system can be mounted here: {done.stderr.strip()}"

    def fill(self) -> int:
        """Leave no byte free; return how many were."""
        taken, size = 0, 256 * 1024 * 1024
        with self._ballast.open("ab") as file:
            while size >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), taken, size)
                    taken += size
                except OSError:
                    size //= 2
        return taken

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def used(self) -> int:
        found = os.statvfs(self._folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def close(self) -> None:
        if not self.why_not:
            subprocess.run(["umount", "-l", str(self._folder)], check=False)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.close()
