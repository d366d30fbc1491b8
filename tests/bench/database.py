"""A PostgreSQL of the bench's own, that waits for the disk as one in production does; gone with the bench."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integrations_site.embedded import EmbeddedPostgres
from integrations_site.embedded.address import REPOSITORY


@contextmanager
def own_database(*, durable: bool = True) -> Iterator[None]:
    """Export `DATABASE_URL` and `VAR_DIR` to this process and its children; a `DATABASE_URL` that is there already is used."""
    if os.environ.get("DATABASE_URL"):
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="hub-bench-"))
    folder.chmod(0o711)  # as root the server runs as another user, who has to pass through
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "integrations_site.embedded.watchdog", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert watchdog.stdin is not None
    try:
        os.environ["DATABASE_URL"] = EmbeddedPostgres(folder, durable=durable).start()
        os.environ["VAR_DIR"] = str(folder)
        yield
    finally:
        watchdog.stdin.close()
        watchdog.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
