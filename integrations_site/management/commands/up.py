"""`manage.py up`: the hub on one machine, everything in one terminal."""

import os
import signal
import sys
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations_site.embedded import EmbeddedError, EmbeddedPostgres, default_var_dir
from integrations_site.embedded.address import REPOSITORY
from integrations_site.supervisor import parts
from integrations_site.supervisor.manager import AlreadyRunningError, Manager
from integrations_site.supervisor.ports import PortTakenError, require_free

CANNOT_START = 2


class Command(BaseCommand):
    help = "Run database, web server and task workers (and, if asked, the simulators) until SIGTERM or SIGINT."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--simulator-port", type=int, default=None, help="also run the simulators on this port")

    def handle(self, *args: Any, **options: Any) -> None:
        port, simulator_port = options["port"], options["simulator_port"]
        environment = dict(os.environ)
        children = [parts.web(environment, port=port), parts.worker(environment)]
        if simulator_port is not None:
            children.append(parts.simulators(environment, port=simulator_port))
        manager = Manager(
            var_dir=default_var_dir(),
            folder=REPOSITORY,
            children=children,
            database=None if os.environ.get("DATABASE_URL") else EmbeddedPostgres(default_var_dir()),
            say=self.stderr.write,
        )
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: stop.set())
        try:
            require_free(port, "the web server", option="--port")
            if simulator_port is not None:
                require_free(simulator_port, "the simulators", option="--simulator-port")
            with manager.only_one():
                self._run(manager, stop, port)
        except (PortTakenError, AlreadyRunningError) as error:
            raise CommandError(str(error), returncode=CANNOT_START) from error
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        sys.exit(0)

    def _run(self, manager: Manager, stop: threading.Event, port: int) -> None:
        try:
            manager.start_database()
            manager.start_children()
            self.stdout.write(f"the hub runs on http://127.0.0.1:{port}; logs in {manager.log_dir}; end it with Ctrl-C")
            stop.wait()
        finally:
            manager.stop()
