"""Processes that work for a bench: each takes commands as lines of JSON, and ends with whoever started it.

`Companion` is the starter's side. A process calls `serve`: its standard input is its lifeline, so that a bench that is
killed leaves nobody behind.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 90.0
"""Seconds that one command may take."""

REPOSITORY = Path(__file__).resolve().parents[2]


class CompanionFailed(Exception):
    """The process said that its command failed, said nothing in time, or has died."""


class Companion:
    """Start a process that calls `serve`, and talk to it. Used as a context manager it ends with the block."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path = REPOSITORY):
        self._process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read = b""
        self._name = " ".join(command[1:])

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, command: str, patience: float = PATIENCE, **arguments: Any) -> Any:
        """Have a command done and return its answer; raise `CompanionFailed`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise CompanionFailed(f"{self._name} has gone") from error
        answer = json.loads(self._line(command, time.monotonic() + patience))
        if "error" in answer:
            raise CompanionFailed(f"{self._name}: {command}: {answer['error']}")
        return answer["answer"]

    def _line(self, command: str, deadline: float) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise CompanionFailed(f"{self._name} does not answer to {command}")
            chunk = os.read(self._process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise CompanionFailed(f"{self._name} died of {command}")
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return line

    def close(self) -> None:
        """End the process: by the end of its input, or by force."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be written to it has no reader any more
                    continue
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(commands: Mapping[str, Callable[..., Any]]) -> None:
    """Do what comes in on standard input, one line after the other, until it ends; then end this process at once.

    What anybody prints goes to standard error: standard output is for answers.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer: dict[str, Any] = {"answer": commands[asked.pop("command")](**asked)}
        except Exception as error:  # noqa: BLE001 whatever it is: the one who asked is told
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)  # threads of a shift may still be at work: nobody waits for them any more
