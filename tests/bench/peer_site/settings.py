"""django-webhook and Celery as their documentation sets them up; connections to the database are kept."""

import json
import os

SECRET_KEY = "for a bench on loopback only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_webhook", "tests.bench.peer_site"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 600, **json.loads(os.environ["PEER_DATABASE"])}
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
DJANGO_WEBHOOK = {"MODELS": ["peer_site.Fact"]}
CELERY_BROKER_URL = os.environ["PEER_BROKER"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
