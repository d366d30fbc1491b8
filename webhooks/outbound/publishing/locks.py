"""Locks on what has no row of its own; they end with the transaction."""

from __future__ import annotations

import hashlib

from django.db import connection


def wait_for(name: str) -> None:
    """Wait until no other transaction is at work on `name`, and keep others waiting until this one ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_number(name)])


def try_for(name: str) -> bool:
    """As `wait_for`, without waiting: tell whether nobody else is at work on it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_number(name)])
        return bool(cursor.fetchone()[0])


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
