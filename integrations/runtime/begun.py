"""What a process is in the middle of, written where its supervisor finds it once the process was killed: what had been claimed
and not begun is no suspect, and has used no attempt.

A file for each process beside the supervisor's stop flag. It is written at each begin and end, some microseconds each, and
what is written stays when the writer is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

_PREFIX = "begun-"
_WIDTH = 21


class Begun:
    """The list of one process, of `most` items at once. Without a supervisor nothing is written, and everything counts."""

    def __init__(self, most: int) -> None:
        self._size = most * _WIDTH
        self._file: int | None = None
        self._path: Path | None = None
        flag, group = os.environ.get("HUB_STOP_FLAG", ""), os.environ.get("HUB_GROUP", "")
        if flag and group:
            self._path = Path(flag).parent / f"{_PREFIX}{os.getpid()}-{group}"

    def open(self) -> None:
        if self._path is None:
            return
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self.note([])
        except OSError as error:
            self._give_up(error)

    def note(self, ids: Iterable[int]) -> None:
        """Write down what runs now; said before a run begins."""
        if self._file is None:
            return
        try:
            os.pwrite(self._file, " ".join(map(str, ids)).encode().ljust(self._size), 0)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """End the list: nothing is claimed by this process any more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        logger.warning("begun_not_written", error=type(error).__name__)
        self.close()


def begun_by(folder: Path, pid: int, group: str) -> set[int] | None:
    """Return the items that this process was in the middle of; None where nobody knows."""
    try:
        text = (folder / f"{_PREFIX}{pid}-{group}").read_text(encoding="ascii")
        return {int(each) for each in text.split()} if text else None
    except (OSError, ValueError):
        return None


def lists_of_the_dead(folder: Path, is_alive: Callable[[int], bool]) -> list[Path]:
    """Return the lists whose processes are gone: to be removed once what these held is taken care of."""
    found = []
    for each in folder.glob(f"{_PREFIX}*-*"):
        pid = each.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            found.append(each)
    return found


def remove(lists: Sequence[Path]) -> None:
    for each in lists:
        with suppress(OSError):
            each.unlink(missing_ok=True)
