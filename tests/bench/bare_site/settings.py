"""As little as Django needs; the same database, reached in the same way (pooled connections, checked before use)."""

from __future__ import annotations

from integrations_site.settings.base import DATABASES as HUB_DATABASES

SECRET_KEY = "bench"
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = HUB_DATABASES
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["tests.bench.bare_site"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.bench.bare_site.views"
USE_TZ = True
