"""The Celery application: `celery -A tests.bench.peer_site.worker worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.peer_site.settings")

app = Celery("peer_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
