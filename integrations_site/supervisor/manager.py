"""All of the hub on one machine: database, web, workers, simulators, kept alive until told to stop.

Every child runs in a process group on a lifeline, so that after `kill -9` of this process only the database is left;
the next start adopts it.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from integrations_site.embedded import EmbeddedError, EmbeddedPostgres
from integrations_site.supervisor.backoff import Backoff
from integrations_site.supervisor.group import ProcessGroup

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.25
DATABASE_LOOK_EVERY = 0.5
_LOG_LIMIT = 10_000_000
_FAILED_AT_START = 10.0


class AlreadyRunningError(RuntimeError):
    """Another manager works in the same `VAR_DIR`."""


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A process to keep alive. Children stop in rising order of `stop_order`; equal ones together."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_timeout: float = 40.0
    stop_order: int = 0


class _Child:
    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.group: ProcessGroup | None = None
        self.backoff = Backoff()
        self.due = 0.0
        self.starts = 0

    def start(self, folder: Path) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.starts += 1
        with self.log.open("ab") as output:
            self.group = ProcessGroup(self.spec.command, environment=self.spec.environment, folder=folder, output=output)

    def tail(self, lines: int = 15) -> str:
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


class Manager:
    """Keeps `database` (None: it is somebody else's) and `children` running. `say` gets lines for a person.

    Use: `with manager.only_one(): manager.start_database(); manager.start_children(); ...; manager.stop()`.
    """

    def __init__(
        self,
        *,
        var_dir: Path,
        folder: Path,
        children: Sequence[ChildSpec],
        database: EmbeddedPostgres | None,
        say: Callable[[str], None],
    ) -> None:
        self.var_dir = var_dir
        self.log_dir = var_dir / "log"
        self._folder = folder
        self._database = database
        self._say = say
        self._children = [_Child(spec, self.log_dir / f"{spec.name}.log") for spec in children]
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._database_moved = threading.Event()
        self._url: str | None = None

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """Hold the lock of this `VAR_DIR`. Raises AlreadyRunningError, naming the process, if it is held."""
        path = self.var_dir / "run" / "manager.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise AlreadyRunningError(
                    f"the hub already runs from {self.var_dir} (process {file.read().strip() or 'unknown'})"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def start_database(self) -> None:
        """Start or adopt the embedded database and keep it running. Raises EmbeddedError if it does not start."""
        if self._database is None:
            return
        self._url = self._database.start()
        self._run_thread(self._keep_database, "keep-database")

    def start_children(self) -> None:
        """Start all children, and keep them running from now on."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for child in self._children:
            child.start(self._folder)
        self._run_thread(self._keep_children, "keep-children")

    def log_of(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"

    def tails(self) -> str:
        """The ends of the logs of all children that were started, for the report of a failure."""
        return "\n".join(f"  {child.log}:\n{child.tail()}" for child in self._children if child.starts)

    def process_groups(self) -> dict[str, int]:
        """Process group ids by child name, of those that run now."""
        return {child.spec.name: child.group.id for child in self._children if child.group is not None}

    def stop(self) -> None:
        """End the children in order, then the database. Safe to call twice; reports what had to be killed."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for order in sorted({child.spec.stop_order for child in self._children}):
            together = [c for c in self._children if c.spec.stop_order == order and c.group is not None]
            threads = [threading.Thread(target=self._stop_child, args=(child,)) for child in together]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self._database is not None:
            self._database.stop()

    def _stop_child(self, child: _Child) -> None:
        if child.group is None:
            return
        code = child.group.stop(child.spec.stop_timeout)
        child.group = None
        if code not in (0, 143):
            self._say(f"{child.spec.name} ended with exit code {code}; its log: {child.log}")

    def _run_thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep_children(self) -> None:
        while not self._stopping.wait(LOOK_EVERY):
            moved = self._database_moved.is_set()
            self._database_moved.clear()
            for child in self._children:
                try:
                    self._look_after(child, restart=moved)
                except Exception:
                    # One child that can't be started (a full disk, no processes left) must not leave the others alone.
                    logger.exception("looking after %s failed", child.spec.name)

    def _look_after(self, child: _Child, *, restart: bool) -> None:
        if child.group is None:
            if time.monotonic() >= child.due:
                child.start(self._folder)
            return
        code = child.group.ended()
        if code is None and not restart:
            return
        lived = time.monotonic() - child.group.started
        child.group.kill()
        child.group = None
        pause = child.backoff.after_run_of(lived)
        child.due = time.monotonic() + pause
        if code is None:
            self._say(f"{child.spec.name} is restarted: the database moved to another port")
        else:
            self._say(f"{child.spec.name} ended with exit code {code} and is restarted; its log: {child.log}")
            if child.starts == 1 and lived < _FAILED_AT_START:
                self._say(child.tail())

    def _keep_database(self) -> None:
        database = self._database
        if database is None:
            return
        while not self._stopping.wait(DATABASE_LOOK_EVERY):
            try:
                if database.running():
                    continue
                self._say("the database is gone and is restarted")
                url = database.ensure_running(deadline=10)
                if url != self._url:
                    self._url = url
                    self._database_moved.set()
            except EmbeddedError as error:
                self._say(f"the database does not start, trying on: {error}")
