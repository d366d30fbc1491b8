from django.apps import AppConfig


class OutboundConfig(AppConfig):
    name = "webhooks.outbound"
    label = "webhooks_outbound"
    verbose_name = "Outbound webhooks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from integrations.runtime import jobs, shifts
        from webhooks.outbound.delivery import deaths, digest, engine
        from webhooks.outbound.endpoints import owed
        from webhooks.outbound.recovery.replays import ReplayJob

        shifts.register_shift("delivery", engine.run_shift)
        jobs.register(deaths.DeathsJob())
        jobs.register(digest.DigestJob())
        jobs.register(owed.OwedJob())
        jobs.register(ReplayJob())
