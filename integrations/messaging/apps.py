from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "integrations.messaging"
    label = "messaging"
    verbose_name = "Messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from integrations.messaging.finding import SmsFindJob
        from integrations.messaging.jobs import SmsSendJob
        from integrations.runtime import jobs

        jobs.register(SmsSendJob())
        jobs.register(SmsFindJob())
