"""`manage.py database`: the embedded PostgreSQL, by hand."""

import json
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations_site.embedded import EmbeddedError, EmbeddedPostgres, ServerStatus, default_var_dir

NOT_RUNNING = 3  # as `status` of init scripts: the service is not running


class Command(BaseCommand):
    help = "Start, stop, restart or show the embedded PostgreSQL. Works before any migration."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "restart", "status"])
        parser.add_argument("--json", action="store_true", help="print the state as one JSON object, without secrets")

    def handle(self, *args: Any, **options: Any) -> None:
        if os.environ.get("DATABASE_URL"):
            raise CommandError("DATABASE_URL is set, so the hub does not use the embedded PostgreSQL")
        server = EmbeddedPostgres(default_var_dir())
        try:
            if options["action"] in ("stop", "restart"):
                server.stop()
            if options["action"] in ("start", "restart"):
                server.start()
            status = server.status()
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        self._show(status, as_json=options["json"])
        if options["action"] == "status" and not status.running:
            sys.exit(NOT_RUNNING)

    def _show(self, status: ServerStatus, *, as_json: bool) -> None:
        address = status.address
        if as_json:
            state = {
                "running": status.running,
                "ready": status.ready,
                "pid": status.pid,
                "host": address.host if address else None,
                "port": address.port if address else None,
                "database": address.database if address else None,
                "user": address.user if address else None,
                "data_directory": str(status.data_directory),
                "log": str(status.log),
            }
            self.stdout.write(json.dumps(state))
            return
        where = f" on {address.host}:{address.port}" if address and status.running else ""
        word = "ready" if status.ready else "starting or stopping" if status.running else "not running"
        self.stdout.write(f"embedded PostgreSQL: {word}{where}, data in {status.data_directory}")
