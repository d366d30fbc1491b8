"""The processes that make up the hub on one machine."""

import sys
from collections.abc import Mapping

from integrations_site.embedded.address import REPOSITORY
from integrations_site.supervisor.manager import ChildSpec

WEB_WORKERS = 2
WEB_THREADS = 8


def manage(*arguments: str) -> list[str]:
    """The command line of a management command, run by this Python."""
    return [sys.executable, str(REPOSITORY / "manage.py"), *arguments]


def web(environment: Mapping[str, str], *, port: int) -> ChildSpec:
    """The web server on 127.0.0.1:`port`."""
    command = [
        *(sys.executable, "-m", "gunicorn", "integrations_site.wsgi:application"),
        *("--bind", f"127.0.0.1:{port}", "--workers", str(WEB_WORKERS), "--threads", str(WEB_THREADS)),
        *("--worker-class", "integrations_site.web_worker.EvenThreadWorker", "--no-control-socket"),
        *("--timeout", "60", "--graceful-timeout", "20"),
    ]
    # HUB_WEB: only these processes may pool their database connections (architecture.md, decision 1).
    return ChildSpec(name="web", command=command, environment={**environment, "HUB_WEB": "1"}, stop_timeout=25)


def worker(environment: Mapping[str, str]) -> ChildSpec:
    """The task workers under their supervisor."""
    return ChildSpec(name="worker", command=manage("worker"), environment=environment, stop_timeout=40)


def simulators(environment: Mapping[str, str], *, port: int) -> ChildSpec:
    """The fake providers on 127.0.0.1:`port`; ended after those who may still be talking to them."""
    command = manage("simulate", "--port", str(port))
    return ChildSpec(name="simulators", command=command, environment=environment, stop_timeout=10, stop_order=1)
