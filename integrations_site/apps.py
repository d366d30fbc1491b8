from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate


class SiteConfig(AppConfig):
    """Loads what connects the features, once all of them are loaded."""

    name = "integrations_site"
    verbose_name = "Integrations Hub"

    def ready(self) -> None:
        from integrations_site import wiring

        wiring.connect()
        if settings.DEMO:
            from integrations.management import samples

            samples.register()
        # Sent for each app in turn: at the last one every table is there.
        last = [each for each in apps.get_app_configs() if each.models_module is not None][-1]
        post_migrate.connect(_after_migrate, sender=last)


def _after_migrate(**_kwargs: Any) -> None:
    """Write into a migrated database what the code declares: providers and schedules."""
    from integrations import registry
    from integrations.runtime import schedules
    from integrations_site.platform.state import migrations_missing

    # Somebody may have migrated to an earlier state, or one app only.
    if not migrations_missing():
        registry.sync_rows()
        schedules.ensure()
