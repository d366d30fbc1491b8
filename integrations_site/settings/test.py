"""Tests: own database per run, fixed keys, cheap password hashes."""

from __future__ import annotations

import os

os.environ.setdefault("SECRET_KEY", "test-secret-key-that-is-long-enough-and-used-nowhere-else-0123456789")
os.environ.setdefault("ENCRYPTION_KEYS", "t1:dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktMDE=")

from integrations_site.settings.base import *  # noqa: F403 SETTLED: Django settings extend by star import

ALLOWED_HOSTS = ["*"]
OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.0/8", "::1/128"]
OUTBOUND_HTTPS_ONLY = False
DEMO = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
AXES_ENABLED = False
API_RATE_PER_MINUTE = 100_000
RETENTION_PAUSE_SECONDS = 0.0
LOG_FORMAT = "text"
