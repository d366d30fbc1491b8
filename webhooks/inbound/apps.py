from django.apps import AppConfig


class InboundConfig(AppConfig):
    name = "webhooks.inbound"
    label = "webhooks_inbound"
    verbose_name = "Webhooks in"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from integrations.runtime.jobs import register
        from webhooks.inbound.jobs import ProcessReceiptJob

        register(ProcessReceiptJob())
