"""A clock that can be wrong: by how much stands in a file, for each kind of process. The hub's processes read it often."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

VARIABLE = "CHAOS_CLOCK"
ROLE = "CHAOS_ROLE"
ROLES = ("web", "worker", "second")
"""The web server, the workers of the hub's own cluster, and those of the second machine."""

READ_EVERY = 0.05


class SkewedClock:
    """The time as one process believes it. A file that can't be read changes nothing: the last offset stands."""

    def __init__(self, path: Path, role: str) -> None:
        self._path, self._role = path, role
        self._offset = timedelta()
        self._read_at = -READ_EVERY

    def now(self) -> datetime:
        if time.monotonic() - self._read_at >= READ_EVERY:
            self._read_at = time.monotonic()
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._offset = timedelta(seconds=float(json.loads(self._path.read_text(encoding="utf-8"))[self._role]))
        return datetime.now(UTC) + self._offset


class ClockFile:
    """The other side: sets the offsets (seconds)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets = dict.fromkeys(ROLES, 0.0)
        self._write()

    def turn(self, role: str, seconds: float) -> None:
        """Make the clocks of `role` (`all`: of everybody) wrong by `seconds` from now on."""
        for each in ROLES:
            if role in (each, "all"):
                self.offsets[each] = seconds
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.offsets), encoding="utf-8")
        new.replace(self.path)


def of_this_process() -> SkewedClock | None:
    """Return the clock of the process we are in; None where nobody set one."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        return None
    return SkewedClock(Path(path), os.environ.get(ROLE) or ("web" if os.environ.get("HUB_WEB") else "worker"))
