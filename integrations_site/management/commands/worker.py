"""`manage.py worker`: the django-q2 cluster under its supervisor."""

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from integrations_site.embedded.address import REPOSITORY, default_var_dir
from integrations_site.supervisor.duties import DatabaseDuties
from integrations_site.supervisor.worker import WorkerSupervisor, stop_flag_path


class Command(BaseCommand):
    help = "Run the task workers; restarts them when one of their processes dies. Ends on SIGTERM or SIGINT."
    requires_system_checks = []  # they may want the database, which may still be starting

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--cluster", action="store_true", help="internal: be the cluster itself, unsupervised")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cluster"]:
            from django_q.cluster import Cluster

            Cluster().start()
            return
        from django_q.conf import Conf

        supervisor = WorkerSupervisor(
            command=[sys.executable, str(REPOSITORY / "manage.py"), "worker", "--cluster"],
            environment=os.environ,
            folder=REPOSITORY,
            workers=Conf.WORKERS,
            stop_flag=stop_flag_path(default_var_dir()),
            duties=DatabaseDuties(),
        )
        supervisor.install_signal_handlers()
        sys.exit(supervisor.run())
