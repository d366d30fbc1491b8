"""`manage.py simulate`: serve the fakes of all providers on loopback until stopped."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from integrations.simulators import default_state_dir, serve


class Command(BaseCommand):
    """Needs no database. Exit code 2 if the port or the state folder is in use; SIGTERM stops it with 0."""

    help = "Serve local simulators of provider APIs, with a control page and a phone page."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback only)")
        parser.add_argument("--port", type=int, default=8900)
        parser.add_argument("--state-dir", type=Path, default=default_state_dir(), help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        # The registry imports every provider folder: wanted here only, not whenever commands are listed.
        from integrations.registry import simulators

        code = serve(simulators(), host=options["host"], port=options["port"], state_dir=options["state_dir"])
        if code:
            raise SystemExit(code)
