from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "integrations.messaging"
    label = "messaging"
    verbose_name = "Messaging"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from integrations.messaging.finding import FINDERS, FindJob
        from integrations.messaging.jobs.sending import SendJob
        from integrations.messaging.models import Channel
        from integrations.runtime import jobs

        for channel in Channel:
            jobs.register(SendJob(channel))
        for name in FINDERS:
            jobs.register(FindJob(Channel(name)))
