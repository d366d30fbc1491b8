from django.apps import AppConfig


class ConfigsConfig(AppConfig):
    name = "integrations.configs"
    label = "configs"
    verbose_name = "Provider accounts"
