"""Everything that all environments share. Values come from the environment; `.env.example` documents each variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from integrations_site import __version__
from integrations_site.embedded import database_url
from integrations_site.task_broker import task_broker

BASE_DIR = Path(__file__).resolve().parents[2]
env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")

VERSION = __version__
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))
DEBUG = False
DEMO = False
SECRET_KEY = env.str("SECRET_KEY", default="")
ENCRYPTION_KEYS = env.str("ENCRYPTION_KEYS", default="")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Where the outside reaches us: callback URLs that the hub registers with providers begin with it.
PUBLIC_BASE_URL = env.str("PUBLIC_BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
SIMULATOR_URL = env.str("SIMULATOR_URL", default="http://127.0.0.1:8900").rstrip("/")
# Networks in private address space that outbound traffic may reach all the same (own services; the simulators in the demo).
OUTBOUND_ALLOWED_NETWORKS = env.list("OUTBOUND_ALLOWED_NETWORKS", default=[])
OUTBOUND_HTTPS_ONLY = env.bool("OUTBOUND_HTTPS_ONLY", default=True)
# Proxies in front of us whose X-Forwarded-For is believed, counted from our side.
TRUSTED_PROXY_HOPS = env.int("TRUSTED_PROXY_HOPS", default=0)
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
# What the core records, where a tenant's own policy does not say otherwise; of calls and items that failed, longer.
LOG_RETENTION_DAYS = env.int("LOG_RETENTION_DAYS", default=90)
FAILED_LOG_RETENTION_DAYS = env.int("FAILED_LOG_RETENTION_DAYS", default=180)
QUEUE_RETENTION_DAYS = env.int("QUEUE_RETENTION_DAYS", default=30)
FAILED_QUEUE_RETENTION_DAYS = env.int("FAILED_QUEUE_RETENTION_DAYS", default=180)
# 0: for good.
MESSAGE_RETENTION_DAYS = env.int("MESSAGE_RETENTION_DAYS", default=0)
# Between two batches of rows that are deleted.
RETENTION_PAUSE_SECONDS = env.float("RETENTION_PAUSE_SECONDS", default=0.02)
# Stored webhook requests, those of strangers included; what still waits to be processed stays.
RECEIPT_RETENTION_DAYS = env.int("RECEIPT_RETENTION_DAYS", default=90)
# Outbound webhooks, where a tenant's own policy does not say otherwise: payloads and answers, events with their deliveries,
# and those that failed; and how many deliveries may die within a day before an alert is raised.
WEBHOOK_PAYLOAD_DAYS = env.int("WEBHOOK_PAYLOAD_DAYS", default=30)
WEBHOOK_LOG_DAYS = env.int("WEBHOOK_LOG_DAYS", default=90)
WEBHOOK_FAILED_DAYS = env.int("WEBHOOK_FAILED_DAYS", default=180)
WEBHOOK_DEAD_LETTER_ALARM = env.int("WEBHOOK_DEAD_LETTER_ALARM", default=100)
# Endpoints of one tenant, deleted ones not counted: each event is held against all of them as it is published.
WEBHOOK_MAX_ENDPOINTS = env.int("WEBHOOK_MAX_ENDPOINTS", default=200)
AUDIT_RETENTION_DAYS = env.int("AUDIT_RETENTION_DAYS", default=730)

INSTALLED_APPS = [
    "integrations_site.apps.SiteConfig",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_filters",
    "django_htmx",
    "django_prometheus",
    "django_q",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "rest_framework",
    "integrations.apps.IntegrationsConfig",
    "integrations.configs.apps.ConfigsConfig",
    "integrations.messaging.apps.MessagingConfig",
    "payments.apps.PaymentsConfig",
    "webhooks.inbound.apps.InboundConfig",
    "webhooks.outbound.apps.OutboundConfig",
]

MIDDLEWARE = [
    "integrations_site.inbound_lane.InboundLane",
    "integrations_site.platform.lengths.RefuseOddLength",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "integrations_site.request_log.RequestLogMiddleware",
    "integrations.access.gate.RefuseKeyInUrl",
    "integrations.tenancy.middleware.SessionScopeMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

# All that requests to inbound webhook paths pass, instead of the above.
INBOUND_MIDDLEWARE = [
    "integrations_site.platform.lengths.RefuseOddLength",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "integrations_site.inbound_lane.InboundLog",
    "integrations.access.gate.RefuseKeyInUrl",
]

ROOT_URLCONF = "integrations_site.urls"
WSGI_APPLICATION = "integrations_site.wsgi.application"
ASGI_APPLICATION = "integrations_site.asgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django.template.loaders.filesystem.Loader",
                        "django.template.loaders.app_directories.Loader",
                        "integrations_site.provider_templates.Loader",
                    ],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Database -----------------------------------------------------------------------------------------------------------
# PostgreSQL only. Without DATABASE_URL: the embedded server, whose owner (`manage.py database`, `up` or `demo`) wrote its
# address under VAR_DIR; these settings only read it.


# Seconds in which PostgreSQL ends a statement, a wait for a lock, and a transaction whose owner does nothing: by what this
# process is for. Management commands, migrations among them, have no such limits unless they are set.
_DATABASE_SECONDS = {"web": (30.0, 10.0, 60.0), "worker": (120.0, 30.0, 300.0), "": (0.0, 0.0, 0.0)}


def _timeouts() -> str:
    role = "web" if env.bool("HUB_WEB", default=False) else "worker" if env.str("HUB_GROUP", default="") else ""
    statement, lock, idle = _DATABASE_SECONDS[role]
    seconds = {
        "statement_timeout": env.float("DATABASE_STATEMENT_TIMEOUT", default=statement),
        "lock_timeout": env.float("DATABASE_LOCK_TIMEOUT", default=lock),
        "idle_in_transaction_session_timeout": env.float("DATABASE_IDLE_TRANSACTION_TIMEOUT", default=idle),
    }
    # PgBouncer takes no such options from its clients: there they are set for the role (docs/queue.md).
    if env.bool("DATABASE_PGBOUNCER", default=False):
        return ""
    return " ".join(f"-c {name}={int(value * 1000)}" for name, value in seconds.items() if value > 0)


def _database() -> dict[str, Any]:
    url = env.str("DATABASE_URL", default="") or database_url(VAR_DIR) or "postgres://hub@127.0.0.1:1/hub"
    config: dict[str, Any] = env.db_url_config(url)
    if config["ENGINE"] not in {"django.db.backends.postgresql", "django.db.backends.postgresql_psycopg2"}:
        raise ImproperlyConfigured("DATABASE_URL: PostgreSQL is the only database of the hub")
    config["ENGINE"] = "django.db.backends.postgresql"
    options = config.setdefault("OPTIONS", {})
    options.setdefault("connect_timeout", env.int("DATABASE_CONNECT_TIMEOUT", default=10))
    if sslmode := env.str("DATABASE_SSLMODE", default=""):
        options["sslmode"] = sslmode
    if root := env.str("DATABASE_SSLROOTCERT", default=""):
        options["sslrootcert"] = root
    if timeouts := _timeouts():
        options["options"] = f"{options.get('options', '')} {timeouts}".strip()
    config["ATOMIC_REQUESTS"] = False
    config["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", default=0)
    config["CONN_HEALTH_CHECKS"] = True
    config["DISABLE_SERVER_SIDE_CURSORS"] = env.bool("DATABASE_PGBOUNCER", default=False)
    # Only web processes pool: django-q2 opens the pool before it forks, and two processes on one connection corrupt it.
    if env.bool("HUB_WEB", default=False) and env.bool("DATABASE_POOL", default=True):
        config["CONN_MAX_AGE"] = 0
        options["pool"] = {
            "min_size": env.int("DATABASE_POOL_MIN", default=1),
            "max_size": env.int("DATABASE_POOL_MAX", default=10),
            "max_idle": env.int("DATABASE_POOL_IDLE", default=300),
            "timeout": env.int("DATABASE_POOL_TIMEOUT", default=10),
        }
    return config


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People -------------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "integrations.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "admin:login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# --- Language, time, static ---------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- API ----------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "integrations.tenancy.authentication.ApiKeyAuthentication",
        "integrations.tenancy.authentication.TenantSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["integrations.tenancy.permissions.IsTenantAdmin"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["integrations.tenancy.parsers.HubJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "integrations.tenancy.pagination.NewestFirstPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "integrations.tenancy.schema.HubAutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["integrations.tenancy.throttles.KeyThrottle"],
    "EXCEPTION_HANDLER": "integrations.tenancy.errors.exception_handler",
    "NON_FIELD_ERRORS_KEY": "non_field_errors",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "COERCE_DECIMAL_TO_STRING": True,
}
API_RATE_PER_MINUTE = env.int("API_RATE_PER_MINUTE", default=1200)
# What a tenant may give a key of its own at most.
API_RATE_MAX_PER_MINUTE = env.int("API_RATE_MAX_PER_MINUTE", default=6000)
DRF_STANDARDIZED_ERRORS = {"EXCEPTION_FORMATTER_CLASS": "integrations.tenancy.errors.HubExceptionFormatter"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Integrations Hub",
    "DESCRIPTION": "One API over each tenant's own provider accounts. Every `/api/v1/X` route is also served as `/api/X`.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "GET_LIB_DOC_EXCLUDES": "integrations.tenancy.schema.classes_without_docs",
    "PREPROCESSING_HOOKS": ["integrations.tenancy.schema.canonical_routes_only"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    # Choices are written where they are used: names for them would have to be kept by hand.
    "POSTPROCESSING_HOOKS": [],
}

# --- The queue's engine -------------------------------------------------------------------------------------------------
# Its own retry is off: QueueItem is the truth (architecture.md, decision 4). `retry` must exceed `timeout`; a worker is
# never recycled, so that the supervisor may take every exit of one for a death.
HUB_SHIFT_SECONDS = env.int("HUB_SHIFT_SECONDS", default=45)
# The longest that a run of an item may take. The last one of a shift may begin at its end: the task engine ends a process that
# is at one task for longer than `timeout`, and then what ran there counts as what killed it.
HUB_LONGEST_RUN = 200
_TASK_SECONDS = HUB_SHIFT_SECONDS + HUB_LONGEST_RUN + 30
Q_CLUSTER = {
    "name": "hub",
    **task_broker(env.str("HUB_BROKER_URL", default="")),
    "workers": env.int("HUB_WORKERS", default=4),
    "timeout": _TASK_SECONDS,
    "retry": _TASK_SECONDS + 30,
    "max_attempts": 1,
    "ack_failures": True,
    "recycle": 10_000_000,
    "poll": 0.2,
    "queue_limit": 8,
    "bulk": 1,
    "save_limit": 200,
    "catch_up": False,
    "label": "Task engine",
    "guard_cycle": 0.5,
}
# How many shifts of each kind of long work are alive at once, over all machines.
HUB_SHIFTS = {"queue": env.int("HUB_QUEUE_SHIFTS", default=2), "delivery": env.int("HUB_DELIVERY_SHIFTS", default=1)}


# The delivery engine prepares its statements. Not behind a pooler in transaction mode, unless it is said that it can carry
# them: PgBouncer from 1.22 on (psycopg sends DEALLOCATE ALL after a roll-back), with libpq 17 or newer here.
def prepared_statements() -> bool:
    return env.bool("HUB_PREPARED_STATEMENTS", default=not env.bool("DATABASE_PGBOUNCER", default=False))


HUB_PREPARED_STATEMENTS = prepared_statements()
# Threads of a shift of the queue, and items that it claims beyond those while runs are short.
HUB_QUEUE_THREADS = env.int("HUB_QUEUE_THREADS", default=8)
HUB_QUEUE_AHEAD = env.int("HUB_QUEUE_AHEAD", default=8)
# Items of one tenant that may wait; above that the API takes no more bulk work of it (a tenant's own number goes before).
HUB_MAX_QUEUED = env.int("HUB_MAX_QUEUED", default=200_000)

# --- Mail ---------------------------------------------------------------------------------------------------------------
# Without EMAIL_URL no mail is planned, and what is sent all the same goes nowhere instead of to port 25 of this machine.


def _mail() -> dict[str, Any]:
    if not (url := env.str("EMAIL_URL", default="")):
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    return dict(env.email_url_config(url))


globals().update(_mail())
MAIL_ENABLED = bool(env.str("EMAIL_URL", default=""))
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", default=10)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="receipts@localhost")
# Mail receipts to payers whose address is known, when they have paid and after a refund.
RECEIPT_EMAILS = env.bool("RECEIPT_EMAILS", default=True)

# --- Logs ---------------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="json")
LOGGING_CONFIG = "integrations_site.logs.configure"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}

UNFOLD = {
    "SITE_TITLE": "Integrations Hub",
    "SITE_HEADER": "Integrations Hub",
    "SITE_SYMBOL": "hub",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "integrations_site.navigation.sidebar"},
}
