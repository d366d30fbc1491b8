"""Which broker carries django-q2's tasks: the database, unless told otherwise.

What the tasks do is the same with each: the truth stands in the database, and a broker that loses a task loses nothing but
the moment until the supervisor starts the next.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

REDIS = ("redis", "rediss", "unix")
# A worker waits for tasks for a second at a time: a server that says nothing for longer than this is gone.
_PATIENCE = {"socket_connect_timeout": "5", "socket_timeout": "10"}


def task_broker(url: str) -> dict[str, Any]:
    """Return what django-q2's settings say of the broker at `url`; empty is the database.

    Timeouts (seconds) stand in a Redis URL's query and have defaults. Raises `ImproperlyConfigured`, which never shows the URL:
    it may hold a password.
    """
    if not url:
        return {"orm": "default"}
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ImproperlyConfigured("HUB_BROKER_URL can't be read as a URL") from None
    if parts.scheme not in REDIS:
        raise ImproperlyConfigured("HUB_BROKER_URL: leave it empty (the database), or write redis://, rediss:// or unix://")
    try:
        import redis  # noqa: F401 only whether it is there
    except ImportError as error:
        raise ImproperlyConfigured("HUB_BROKER_URL names a Redis: install the package `redis` beside the hub") from error
    query = {**_PATIENCE, **dict(parse_qsl(parts.query))}
    return {"redis": parts._replace(query=urlencode(query)).geturl()}
