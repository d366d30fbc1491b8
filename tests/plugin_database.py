"""pytest plugin: one throw-away PostgreSQL per run, shared by all xdist workers.

Load it with `-p tests.plugin_database` (pyproject.toml does): it must act before pytest-django reads the settings.
With `DATABASE_URL` in the environment it does nothing. The server is ended by a watchdog process when this process is
done with it: in the normal way, by an error, or by `kill -9`.
"""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from integrations_site.embedded import EmbeddedPostgres

_REPOSITORY = Path(__file__).resolve().parents[1]
_watchdogs: list[subprocess.Popen[bytes]] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    # A wrapper runs before every plain implementation, so before pytest-django's, which loads the settings.
    start_database()
    return (yield)


def pytest_unconfigure() -> None:
    stop_database()


def start_database() -> None:
    """Start the server and export its `DATABASE_URL` (and a `VAR_DIR` of its own) to this process and its children."""
    if os.environ.get("DATABASE_URL") or os.environ.get("PYTEST_XDIST_WORKER"):
        return
    folder = Path(tempfile.mkdtemp(prefix="hub-tests-"))
    # As root the server runs as another user, who has to pass through this folder of ours.
    folder.chmod(0o711)
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "integrations_site.embedded.watchdog", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=environment,
    )
    _watchdogs.append(watchdog)
    atexit.register(stop_database)
    os.environ["DATABASE_URL"] = EmbeddedPostgres(folder, durable=False).start()
    os.environ.setdefault("VAR_DIR", str(folder))


def stop_database() -> None:
    """End the server of this run, if it started one. Safe to call twice."""
    while _watchdogs:
        watchdog = _watchdogs.pop()
        if watchdog.stdin is not None:
            watchdog.stdin.close()
        watchdog.wait(timeout=60)
