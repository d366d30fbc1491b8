"""A process group held on a lifeline: start, look, end, with nothing left over."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

LIFELINE = Path(__file__).with_name("lifeline.py")


@dataclass(frozen=True)
class Member:
    """One process, told apart from a later one with the same number by its start time (seconds since the epoch)."""

    pid: int
    created: float


class ProcessGroup:
    """A command, its children and their guardian (`lifeline.py`), all in one process group.

    The group dies with the process that made this object: the pipe it holds is the group's lifeline.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: IO[bytes] | None = None,
    ) -> None:
        """Start `command` in `folder`. Output goes to `output`, else where ours goes."""
        self._guardian = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-I", "-S", str(LIFELINE), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        self.id = self._guardian.pid
        self.started = time.monotonic()

    def ended(self) -> int | None:
        """The exit code of the command once it (or the guardian) is gone, else None."""
        return self._guardian.poll()

    def members(self) -> dict[Member, psutil.Process]:
        """All processes of the group that live (zombies don't), the guardian among them."""
        found: dict[Member, psutil.Process] = {}
        for pid in psutil.pids():
            try:
                if os.getpgid(pid) != self.id:
                    continue
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[Member(pid, process.create_time())] = process
            except (ProcessLookupError, PermissionError, psutil.Error):
                continue
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the guardian, who passes it on to the command only."""
        if self._guardian.poll() is None:
            self._guardian.send_signal(number)

    def kill(self, timeout: float = 10.0) -> None:
        """Kill every process of the group and wait until none is left. Raises TimeoutError if one stays."""
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.id, signal.SIGKILL)
            if self._guardian.poll() is not None and not self.members():
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes of group {self.id} can't be killed: {list(self.members())}")
            time.sleep(0.02)
        self._close()

    def stop(self, timeout: float) -> int:
        """Ask the command to end, kill what is left after `timeout` seconds. Returns the command's exit code.

        A group that had to be killed gives -9.
        """
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self._guardian.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        code = self._guardian.poll()
        self.kill()
        return -signal.SIGKILL if code is None else code

    def _close(self) -> None:
        if self._guardian.stdin is not None:
            self._guardian.stdin.close()
