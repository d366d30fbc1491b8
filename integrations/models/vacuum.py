"""Migration operation that has PostgreSQL tend tables of many rows in small portions."""

from __future__ import annotations

from django.db.migrations.operations import RunSQL

_SETTINGS = {
    # By default a table is vacuumed when a fifth of it is dead: of ten million rows two million, and until then each list and
    # each batch of a purge steps over them. A fiftieth, and the same for the texts that are kept beside it.
    "autovacuum_vacuum_scale_factor": "0.02",
    "toast.autovacuum_vacuum_scale_factor": "0.02",
    # Rows that nobody has changed yet too: lists and counts read the index alone only where it is known that all see a row.
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    # What the planner knows of the newest rows decides how a list is read.
    "autovacuum_analyze_scale_factor": "0.02",
}


def tend(table: str) -> RunSQL:
    """Return the operation for one table; an administrator may set other values at any time, no later migration takes them
    back."""
    values = ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items())
    names = ", ".join(_SETTINGS)
    return RunSQL(sql=f'ALTER TABLE "{table}" SET ({values})', reverse_sql=f'ALTER TABLE "{table}" RESET ({names})')
