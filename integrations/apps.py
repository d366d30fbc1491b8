from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Integrations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # It writes its defaults into the settings when first imported: that must be the real settings, not an override.
        import django_cryptography.conf  # noqa: F401
