"""The demo: real processes on loopback, plain http, the simulators in place of the providers."""

from __future__ import annotations

from integrations.secrets import parse_keyring
from integrations_site.settings.base import *  # noqa: F403 SETTLED: Django settings extend by star import
from integrations_site.settings.base import ENCRYPTION_KEYS, SECRET_KEY, VAR_DIR, ImproperlyConfigured, env

if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set: `make demo` makes one for you")
parse_keyring(ENCRYPTION_KEYS)

ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.0/8", "::1/128"]
OUTBOUND_HTTPS_ONLY = False
DEMO = True
LOG_FORMAT = env.str("LOG_FORMAT", default="json")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
# Mail becomes files, whatever EMAIL_URL says: invented payers must not be written to.
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = VAR_DIR / "mail"
MAIL_ENABLED = True
DEFAULT_FROM_EMAIL = "receipts@demo.invalid"
