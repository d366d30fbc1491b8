"""The worker supervisor: keeps one django-q2 cluster alive, all of it or none of it.

A cluster that lost one process can look alive and do nothing (a worker killed while it held the lock of the internal
queue), do work twice (a lost monitor) or work on without a master (a lost main process). So any unexpected death ends
the whole group with SIGKILL and starts a new one; leases and the queue rows make that harmless.
"""

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from integrations_site.supervisor.backoff import Backoff
from integrations_site.supervisor.duties import DatabaseDuties
from integrations_site.supervisor.group import ProcessGroup
from integrations_site.supervisor.roles import Roles, find_roles

logger = logging.getLogger(__name__)

STOP_FLAG = "HUB_STOP_FLAG"
GROUP = "HUB_GROUP"
LOOK_EVERY = 0.25
COMPLETE_WITHIN = 60.0
STOP_PATIENCE = 30.0
# A cluster that lived so long (seconds) has no fault of its own: the next one starts at once.
STABLE = 5.0


class WorkerSupervisor:
    """Runs `command` (a django-q2 cluster of `workers` workers) in `folder` until told to stop.

    The group finds two variables in its environment: `HUB_GROUP`, the value its heartbeat rows carry in `group`, and
    `HUB_STOP_FLAG`, a path: as soon as a file is there, long work should hand over and end.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        workers: int,
        stop_flag: Path,
        duties: DatabaseDuties,
    ) -> None:
        self._command = command
        self._environment = environment
        self._folder = folder
        self._workers = workers
        self._stop_flag = stop_flag
        self._duties = duties
        duties.folder = stop_flag.parent
        self._backoff = Backoff(stable=STABLE)
        self._stopping = threading.Event()

    def install_signal_handlers(self) -> None:
        """SIGTERM, SIGINT and SIGHUP ask for an orderly stop. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> int:
        """Supervise until `stop()` or a signal; 0 if the last cluster ended in order, 1 if it had to be killed."""
        self._stop_flag.parent.mkdir(parents=True, exist_ok=True)
        self._stop_flag.unlink(missing_ok=True)
        self._duties.start()
        code = 0
        try:
            while not self._stopping.is_set():
                # A cluster started without a database only dies of it, again and again.
                if not self._duties.reachable.wait(0.2):
                    continue
                code = self._run_group()
        finally:
            self._duties.finish()
            self._stop_flag.unlink(missing_ok=True)
        return code

    def _run_group(self) -> int:
        name = uuid.uuid4().hex[:16]
        environment = {**self._environment, GROUP: name, STOP_FLAG: str(self._stop_flag)}
        group = ProcessGroup(self._command, environment=environment, folder=self._folder)
        self._duties.group_started(name)
        logger.info("cluster group %s started as process group %s", name, group.id)
        try:
            reason = self._watch(group)
            if reason is None:
                return self._stop_group(name, group)
            logger.error("cluster group %s is ended and started anew: %s", name, reason)
            # Who lives still did not die of what it ran, and is ended only for the company it keeps.
            self._spare(name, group)
        finally:
            group.kill()
            self._duties.group_ended(name)
        self._stopping.wait(self._backoff.after_run_of(time.monotonic() - group.started))
        return 0

    def _spare(self, name: str, group: ProcessGroup) -> None:
        self._duties.spare(name, [member.pid for member in group.members()])

    def _stop_group(self, name: str, group: ProcessGroup) -> int:
        self._duties.group_stopping()
        self._spare(name, group)
        self._stop_flag.touch()
        code = group.stop(STOP_PATIENCE)
        if code != 0:
            logger.warning("the cluster did not stop in order (exit code %s)", code)
        return 0 if code == 0 else 1

    def _watch(self, group: ProcessGroup) -> str | None:
        """Look until the group must be ended, and say why; None when the supervisor shall stop."""
        roles: Roles | None = None
        while not self._stopping.wait(LOOK_EVERY):
            code = group.ended()
            if code is not None:
                return f"the cluster ended with exit code {code}"
            members = group.members()
            if roles is None:
                roles = find_roles(members, guardian_pid=group.id, workers=self._workers)
                if roles is not None:
                    logger.info("cluster is complete: %s", roles.as_detail())
                    self._duties.group_complete(dict(roles.as_detail()))
                elif time.monotonic() - group.started > COMPLETE_WITHIN:
                    return f"the cluster was not complete within {COMPLETE_WITHIN:.0f} s"
                continue
            lost = [f"{role} {member.pid}" for member, role in roles.named().items() if member not in members]
            if lost:
                return f"lost {', '.join(lost)}"
            complaint = self._duties.complaint()
            if complaint is not None:
                return complaint
        return None


def stop_flag_path(var_dir: Path) -> Path:
    """The stop flag of this process, below `var_dir`."""
    return var_dir / "run" / f"stop-{os.getpid()}"
