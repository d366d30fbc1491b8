"""Statements that are asked again and again, prepared: to plan them anew each time costs more than to run them. And waits for
locks that end soon, where many wait behind one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

PREPARE_AFTER = 2
"""How often a statement is run before the server keeps its plan."""

_HELD = {"55P03", "40P01"}  # lock_not_available, deadlock_detected


@contextmanager
def prepared() -> Iterator[psycopg.Cursor[Any]]:
    """Yield a cursor of this thread's Django connection, within its transaction if one is open, whose statements the server
    prepares (not where HUB_PREPARED_STATEMENTS is off: some poolers can't). Errors are Django's, as with its own cursors."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        raw: psycopg.Connection[Any] = connection.connection
        raw.prepare_threshold = PREPARE_AFTER if settings.HUB_PREPARED_STATEMENTS else None
        with psycopg.Cursor(raw) as cursor:
            yield cursor


def wait_at_most(cursor: Any, seconds: float) -> None:
    """Let no statement of the open transaction wait longer than this for a lock: then it raises what `is_held` knows."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])


def is_held(error: BaseException) -> bool:
    """Tell whether somebody else's lock was in the way: that passes, and speaks neither of the database nor of the work."""
    return getattr(error.__cause__, "sqlstate", None) in _HELD
