"""Is the server of this data folder alive? And what did a killed one leave behind?"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PID_FILE = "postmaster.pid"
_READY_LINE = 7
_PORT_LINE = 3


@dataclass(frozen=True)
class Postmaster:
    """A live server process of the data folder asked about. `ready`: it accepts connections."""

    pid: int
    port: int | None
    ready: bool


def find_postmaster(data: Path) -> Postmaster | None:
    """The live server of `data`, or None.

    The pid file alone proves nothing: after `kill -9` it stays, and its number may belong to another program by now.
    """
    try:
        lines = (data / PID_FILE).read_text(encoding="utf-8").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not _is_server_of(pid, data):
        return None
    port = int(lines[_PORT_LINE]) if len(lines) > _PORT_LINE and lines[_PORT_LINE].strip().isdigit() else None
    ready = len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"
    return Postmaster(pid, port, ready)


def _is_server_of(pid: int, data: Path) -> bool:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not process.name().startswith("postgres"):
            return False
        return str(data) in process.cmdline() or _works_in(process, data)
    except psutil.Error:
        return False


def _works_in(process: psutil.Process, data: Path) -> bool:
    # Every process of a server stands in its data folder; their command lines are rewritten, this isn't.
    with contextlib.suppress(psutil.Error, OSError):
        return Path(process.cwd()).resolve() == data.resolve()
    return False


def clear_remains(data: Path, *, patience: float = 5.0) -> None:
    """After a killed server: wait for its orphaned backends, end those that stay, remove the stale pid file.

    PostgreSQL refuses to start while a backend of the dead server is attached to its memory, and while the pid in the
    stale file belongs to any live program. Call only with the start lock held and no live server.
    """
    if not (data / PID_FILE).exists():
        return
    deadline = time.monotonic() + patience
    while orphans := _backends(data):
        if time.monotonic() > deadline:
            for process in orphans:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(orphans, timeout=5)
            break
        time.sleep(0.05)
    (data / PID_FILE).unlink(missing_ok=True)


def _backends(data: Path) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["name", "status"]):
        name = process.info["name"] or ""
        if name.startswith("postgres") and process.info["status"] != psutil.STATUS_ZOMBIE and _works_in(process, data):
            found.append(process)
    return found
