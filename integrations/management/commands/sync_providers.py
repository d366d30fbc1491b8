"""`manage.py sync_providers`: write the installed providers and the schedules into the database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from integrations import registry
from integrations.runtime import schedules


class Command(BaseCommand):
    """Also done after every `migrate`; needed by hand only after a provider package was installed without one."""

    help = "Write the installed providers and the schedules into the database."

    def handle(self, *args: Any, **options: Any) -> None:
        registry.sync_rows()
        created = schedules.ensure()
        for provider in registry.providers().values():
            self.stdout.write(f"{provider.slug:<20} {', '.join(provider.categories)}")
        for name in created:
            self.stdout.write(f"schedule created: {name}")
