"""By what a stored row is known to be the one that was read: what is remembered of it counts no longer than that.

A config's place and transaction change with each update of it. A way in counts its requests in its own row, so its version is
made of all that stands there besides.
"""

from __future__ import annotations

from webhooks.inbound.models import InboundEndpoint

COUNTERS = frozenset({"received", "last_received_at", "rejected", "last_rejected_at"})


def of_config(table: str) -> str:
    """Return the SQL of a config's version; `table` is its name or alias."""
    return f"{table}.ctid::text || ' ' || {table}.xmin::text"


def of_way_in(table: str) -> str:
    """Return the SQL of a way in's version, empty where an outer join found none."""
    columns = [field.column for field in InboundEndpoint._meta.concrete_fields if field.column not in COUNTERS]
    row = ", ".join(f"{table}.{column}" for column in columns)
    return f"CASE WHEN {table}.id IS NULL THEN '' ELSE md5(ROW({row})::text) END"
