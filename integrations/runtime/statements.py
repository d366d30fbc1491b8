"""Rows read and written by ready-made statements, where the ORM's making of them costs more than the database's work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

from django.db import connection, models

M = TypeVar("M", bound=models.Model)

UNHURRIED = "set_config('synchronous_commit', 'off', true) = 'off'"
"""True; outside of a transaction, a statement with this in its WHERE does not wait for the disk. All see it at once, and a
server that is killed within the next half second loses it: for what may be lost, or what a later commit takes along."""


@lru_cache(maxsize=32)
def _columns(model: type[models.Model]) -> tuple[list[Any], str]:
    """Return the fields that an insert names (all but a number that the database gives), and its statement."""
    fields = [each for each in model._meta.concrete_fields if not isinstance(each, models.AutoField)]
    names = ", ".join(f'"{each.column}"' for each in fields)
    return fields, f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({", ".join(["%s"] * len(fields))})'  # noqa: S608


def read_row(model: type[M], fields: Sequence[Any], names: Sequence[str], values: Sequence[Any]) -> M:
    """Return the row that a statement has read: `fields` of the model, in its order, by the `names` of their attributes. Others
    are read when they are asked for."""
    opened = [
        json.loads(value) if isinstance(value, str) and isinstance(field, models.JSONField) else value
        for field, value in zip(fields, values, strict=True)
    ]
    return model.from_db(connection.alias, names, opened)


def insert(row: models.Model, *, suffix: str = "", returning: bool = False) -> Any:
    """Insert a row as it stands, with all its columns; what fields would fill in by themselves when saved must be there.

    Returns the number that the database gave it (`returning`), else how many rows there are more: none, where `suffix` (ON
    CONFLICT ... DO NOTHING) found one in the way.
    """
    fields, statement = _columns(type(row))
    values = [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
    if returning:
        suffix += f' RETURNING "{row._meta.pk.column}"' if row._meta.pk else ""
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} {suffix}", values)
        return cursor.fetchone()[0] if returning else cursor.rowcount


def update(model: type[M], columns: Sequence[str], rows: Sequence[M]) -> None:
    """Save these columns (none of JSON) of rows that are there, in one statement however many they are."""
    if not rows:
        return
    fields: list[Any] = [model._meta.get_field(each) for each in columns]
    # As text, since a cast to a shorter type would cut off in silence what does not fit.
    types = ["text[]" if isinstance(each, models.CharField) else f"{each.db_type(connection)}[]" for each in fields]
    key: Any = model._meta.pk
    query = (
        f'UPDATE "{model._meta.db_table}" AS row SET '  # noqa: S608 names of our own
        + ", ".join(f'"{field.column}" = given."{field.column}"' for field in fields)
        + f" FROM unnest(%s::{key.rel_db_type(connection)}[], {', '.join(f'%s::{each}' for each in types)}) AS given("
        + ", ".join(["key", *(f'"{field.column}"' for field in fields)])
        + f') WHERE row."{key.column}" = given.key'
    )
    values = [[field.get_db_prep_save(getattr(row, field.attname), connection) for row in rows] for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(query, [[row.pk for row in rows], *values])
