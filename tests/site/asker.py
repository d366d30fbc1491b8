"""Hands tasks to a real cluster: `python -m tests.site.asker`, loaded once for many of them, since loading takes seconds.

Each line of its input is the JSON of a function's name in `cluster_tasks` and its arguments; each is answered by `DONE`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping

from integrations_site.embedded.address import REPOSITORY

DONE = "handed over\n"
PATIENCE = 60.0


class Asker:
    """Such a process. `environment` names the cluster's database."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.site.asker"],
            env=environment,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, *arguments: object) -> None:
        """Return when the task stands in the cluster's queue."""
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.start()
        try:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps([name, arguments]) + "\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == DONE, "the task was not handed over"
        finally:
            patience.cancel()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def main() -> None:
    # Whatever is logged goes elsewhere: the output is for answers alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import django

    django.setup()
    from django.db import connection
    from django_q.tasks import async_task

    for line in sys.stdin:
        name, arguments = json.loads(line)
        async_task(f"tests.site.cluster_tasks.{name}", *arguments)
        connection.close()  # the database may be killed before the next one
        answers.write(DONE)
        answers.flush()


if __name__ == "__main__":
    main()
