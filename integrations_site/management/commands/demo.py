"""`manage.py demo`: what `make demo` runs. The demo's processes get settings and keys of their own."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from integrations_site.demo.__main__ import add_arguments
from integrations_site.demo.runner import Demo
from integrations_site.embedded import default_var_dir


class Command(BaseCommand):
    help = "Run database, web, workers and simulators on this machine, do the main job once, show where to look."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        demo = Demo(
            var_dir=default_var_dir(),
            port=options["port"],
            simulator_port=options["simulator_port"],
            once=options["once"],
        )
        sys.exit(demo.run())
