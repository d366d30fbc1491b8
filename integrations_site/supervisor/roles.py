"""Who is who in the process group of a django-q2 cluster.

django-q2 1.11 (`django_q/cluster.py`, read 2026-11-21): the main process forks one sentinel; the sentinel forks the
workers, then the monitor, then the pusher. All of them keep their process ids for life with our settings (`recycle`
is out of reach), so an id that is gone is a death.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from integrations_site.supervisor.group import Member

AUXILIARIES = 2  # the monitor and the pusher


@dataclass(frozen=True)
class Roles:
    """The processes of one complete cluster, each with its part."""

    guardian: Member
    cluster: Member
    sentinel: Member
    workers: tuple[Member, ...]
    monitor: Member
    pusher: Member

    def named(self) -> dict[Member, str]:
        """Every process with a word for the log."""
        return {
            self.guardian: "guardian",
            self.cluster: "cluster",
            self.sentinel: "sentinel",
            **dict.fromkeys(self.workers, "worker"),
            self.monitor: "monitor",
            self.pusher: "pusher",
        }

    def as_detail(self) -> dict[str, int | list[int]]:
        """The process ids by role, for the heartbeat row."""
        return {
            "guardian": self.guardian.pid,
            "cluster": self.cluster.pid,
            "sentinel": self.sentinel.pid,
            "workers": [worker.pid for worker in self.workers],
            "monitor": self.monitor.pid,
            "pusher": self.pusher.pid,
        }


def find_roles(members: Mapping[Member, psutil.Process], *, guardian_pid: int, workers: int) -> Roles | None:
    """The roles in `members`, or None while the cluster of `workers` workers is not complete."""
    children: dict[int, list[Member]] = {}
    guardian: Member | None = None
    for member, process in members.items():
        if member.pid == guardian_pid:
            guardian = member
        try:
            children.setdefault(process.ppid(), []).append(member)
        except psutil.Error:
            return None
    if guardian is None:
        return None
    cluster = children.get(guardian.pid, [])
    if len(cluster) != 1:
        return None
    sentinel = children.get(cluster[0].pid, [])
    if len(sentinel) != 1:
        return None
    pool = sorted(children.get(sentinel[0].pid, []), key=lambda member: (member.created, member.pid))
    if len(pool) != workers + AUXILIARIES:
        return None
    return Roles(guardian, cluster[0], sentinel[0], tuple(pool[:workers]), pool[-2], pool[-1])
