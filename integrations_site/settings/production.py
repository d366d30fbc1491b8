"""Production: refuses to start without its keys, passes `manage.py check --deploy`."""

from __future__ import annotations

from urllib.parse import urlsplit

from integrations.secrets import parse_keyring
from integrations_site.settings.base import *  # noqa: F403 SETTLED: Django settings extend by star import
from integrations_site.settings.base import (
    ENCRYPTION_KEYS,
    MAIL_ENABLED,
    PUBLIC_BASE_URL,
    SECRET_KEY,
    ImproperlyConfigured,
    env,
)

if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5:
    raise ImproperlyConfigured("SECRET_KEY must be set, random, and at least 50 characters long")
parse_keyring(ENCRYPTION_KEYS)
if urlsplit(PUBLIC_BASE_URL).scheme != "https":
    raise ImproperlyConfigured("PUBLIC_BASE_URL must be https: providers send money notices there")
if not env.list("ALLOWED_HOSTS", default=[]):
    raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts this installation answers for")
if MAIL_ENABLED and not env.str("DEFAULT_FROM_EMAIL", default=""):
    raise ImproperlyConfigured("DEFAULT_FROM_EMAIL must name the address that mail comes from, since EMAIL_URL is set")

SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
if env.int("TRUSTED_PROXY_HOPS", default=0) > 0:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
