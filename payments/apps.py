from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from integrations.runtime.jobs import register
        from payments import jobs

        for job in jobs.ALL:
            register(job())
