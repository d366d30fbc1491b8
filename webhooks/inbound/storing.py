"""Storing requests in one statement: receipt, used nonce, log line, queue item and the count of the way in of each, or none of
them.

One round trip and one commit for all that came at once (`together.py`), whatever they take with them. The statement is prepared
once for each connection; its text is made of the models, so that a new column with a default needs no change here. It is given
the requests as one JSON array, which is read faster than a value for each column.

The count of a way in is one row that all its requests would queue for, until each has been written to disk. So it is counted
only where nobody else holds the row; else the request is counted a moment later (`afterwards.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Field, Model

from integrations.models import CallLog, Config, Direction, IdempotencyRecord, LogStatus, QueueItem, Tenant
from webhooks.inbound import versions
from webhooks.inbound.models import InboundEndpoint, Receipt
from webhooks.inbound.together import Together

_COLUMNS = {
    "n": "integer", "tenant": "bigint", "config": "bigint", "provider": "text", "purpose": "text", "trust": "text",
    "token_object": "text", "source_type": "text", "dedupe_key": "text", "method": "text", "query": "jsonb", "headers": "jsonb",
    "body": "text", "ip": "inet", "status": "text", "detail": "text", "now": "timestamptz", "created": "timestamptz",
    "endpoint": "text", "nonce": "text", "nonce_key": "text",
    "operation": "text", "shown_headers": "jsonb", "shown_body": "text", "request_id": "text",
    "reference_type": "text", "reference_id": "text", "job": "text", "max_attempts": "integer", "priority": "smallint",
    "read_as": "text", "way_in_read_as": "text",
}  # fmt: skip
"""What the statements are given of each request, and as what. The body is base64."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a statement stores besides the receipt, and what it has to confirm before (`known.py`)."""

    logged: bool = False
    queued: bool = False
    counted: bool = False
    nonce: bool = False
    config_confirmed: bool = False
    source_confirmed: bool = False


_written = json.JSONEncoder(separators=(",", ":")).encode
_Asked = tuple[Shape, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Stored:
    """`receipt` is None for a repetition; `known` False: what was remembered is out of date, and nothing was stored."""

    receipt: int | None
    counted: bool
    known: bool


def store(shape: Shape, values: Mapping[str, Any]) -> Stored:
    """Store all of it, or nothing where the receipt's key is taken. Durable when this returns, but within a transaction of the
    caller's. Raises `IntegrityError` where the nonce was used up."""
    if connection.in_atomic_block:
        with transaction.atomic():
            return _store([(shape, values)])[0]
    return _together((shape, values))


def _store(asked: Sequence[_Asked]) -> list[Stored]:
    """Store requests of one shape or of several, all or none of them."""
    shapes = {shape for shape, _values in asked}
    stored: dict[int, Stored] = {}
    with transaction.atomic() if len(shapes) > 1 else nullcontext():
        for shape in sorted(shapes, key=repr):
            rows = [{"n": n, **values} for n, (each, values) in enumerate(asked) if each == shape]
            for n, receipt, counted, known in _executed(_statement(shape), _written(rows)):
                stored[n] = Stored(receipt, counted, known)
    return [stored[n] for n in range(len(asked))]


_AMONG_OTHERS = frozenset({"40P01", "55P03", "57014"})
"""Deadlock, lock timeout, statement timeout: what may be the trouble of one request, and not of the database."""


def _is_everybodys(error: Exception) -> bool:
    code = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and code not in _AMONG_OTHERS


_together = Together(_store, _is_everybodys)


def _executed(statement: str, rows: str) -> list[tuple[Any, ...]]:
    """Return the statement's rows. Django's own cursor writes values into the text, which PostgreSQL would have to plan anew
    each time; this one hands them over apart."""
    connection.ensure_connection()
    raw = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        # A pooler between us and the server may give each transaction another connection: nothing can be prepared there.
        if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            return cursor.execute(statement, [rows], prepare=False).fetchall()
        before, raw.prepare_threshold = raw.prepare_threshold, 0
        try:
            cursor.execute(statement, [rows], prepare=True)
        finally:
            raw.prepare_threshold = before
        return cursor.fetchall()


@cache
def _statement(shape: Shape) -> str:
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    known = _KNOWN_CONFIG if shape.config_confirmed else _KNOWN_SOURCE if shape.source_confirmed else "true"
    # What is known is asked of each row by itself: a join would be planned for as many as there might be.
    serial = f"SELECT pg_get_serial_sequence('{Receipt._meta.db_table}', 'id')::regclass"
    given = f"""
        SELECT nextval(({serial})) AS id, coalesce(({known}), false) AS known, g.*
        FROM jsonb_to_recordset(%s::text::jsonb) AS g({columns})
    """  # noqa: S608 names of our own
    # In the order of their keys: two that store the same ones at once wait for each other, and not in a circle.
    receipt = f"{_insert(Receipt, _RECEIPT, 'given', own_id=True)} WHERE known ORDER BY dedupe_key, n"
    parts = [
        f"given AS MATERIALIZED ({given})",
        f"receipt AS ({receipt} ON CONFLICT DO NOTHING RETURNING id)",
        "stored AS (SELECT given.* FROM given JOIN receipt USING (id))",
    ]
    if shape.nonce:  # a used one raises: then nothing at all is stored
        parts.append(f"used AS ({_insert(IdempotencyRecord, _NONCE, 'stored')})")
    if shape.logged:
        parts.append(f"logged AS ({_insert(CallLog, _LOG, 'stored')})")
    if shape.queued:
        parts.append(f"queued AS ({_insert(QueueItem, _ITEM, 'stored')})")
    counted = "true"
    if shape.counted:
        parts.append(_COUNTED)
        counted = "given.endpoint IN (SELECT id FROM counted)"
    return (
        f"WITH {', '.join(parts)} "  # noqa: S608 the same
        f"SELECT given.n, receipt.id, {counted}, given.known FROM given LEFT JOIN receipt USING (id)"
    )


def _insert(model: type[Model], varying: Mapping[str, str], source: str, *, own_id: bool = False) -> str:
    """Return an INSERT of one row for each of `source`; what does not vary is the model's default, written out."""
    fields = [field for field in model._meta.concrete_fields if own_id or not field.primary_key]
    values = [varying[field.attname] if field.attname in varying else _default(field) for field in fields]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    return f"INSERT INTO {model._meta.db_table} ({columns}) SELECT {', '.join(values)} FROM {source}"  # noqa: S608 the same


def _default(field: Field[Any, Any]) -> str:
    value = field.get_db_prep_save(field.get_default(), connection)
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value).lower()
    text = value.dumps(value.obj) if hasattr(value, "dumps") else str(value)
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


_RECEIPT = {
    "id": "id",
    "tenant_id": "tenant",
    "provider": "provider",
    "config_id": "config",
    "purpose": "purpose",
    "trust": "trust",
    "token_object": "token_object",
    "provider_event_type": "source_type",
    "dedupe_key": "dedupe_key",
    "method": "method",
    "query": "query",
    "headers": "headers",
    "body": "decode(body, 'base64')",
    "remote_ip": "ip",
    "status": "status",
    "detail": "detail",
    "received_at": "now",
}
_LOG = {
    "tenant_id": "tenant",
    "direction": f"'{Direction.INBOUND.value}'",
    "provider": "provider",
    "config_id": "config",
    "operation": "operation",
    "status": f"'{LogStatus.SUCCESS.value}'",
    "method": "method",
    "request_headers": "shown_headers",
    "request_body": "shown_body",
    "status_code": "200",
    "reference_type": "reference_type",
    "reference_id": "reference_id",
    "external_reference": "id::text",
    "request_id": "request_id",
    "ip": "ip",
    "created": "created",
}
_ITEM = {
    "tenant_id": "tenant",
    "kind": "job",
    "config_id": "config",
    "payload": "jsonb_build_object('receipt', id)",
    "reference_type": "reference_type",
    "reference_id": "reference_id",
    "priority": "priority",
    "max_attempts": "max_attempts",
    "due_at": "now",
    "created": "created",
}
NONCE_ROUTE = "inbound webhook"
_NONCE = {
    "tenant_id": "tenant",
    "key": "nonce_key",
    "route": f"'{NONCE_ROUTE}'",
    "fingerprint": "nonce",
    "lease_until": "now",
    "object_type": "'receipt'",
    "object_id": "id::text",
    "created": "created",
}

_configs, _tenants, _ways_in = (model._meta.db_table for model in (Config, Tenant, InboundEndpoint))
_KNOWN_CONFIG = f"""
    SELECT {versions.of_config("c")} = g.read_as AND {versions.of_way_in("w")} = g.way_in_read_as
    FROM {_configs} c JOIN {_tenants} t ON t.id = c.tenant_id AND t.is_active
    LEFT JOIN {_ways_in} w ON w.config_id = c.id
    WHERE c.id = g.config
"""  # noqa: S608 table names of our own
_KNOWN_SOURCE = f"""
    SELECT {versions.of_way_in("w")} = g.way_in_read_as
    FROM {_ways_in} w JOIN {_tenants} t ON t.id = w.tenant_id AND t.is_active
    WHERE w.id = g.endpoint
"""  # noqa: S608 the same
_COUNTED = f"""
came AS (
    SELECT endpoint, count(*) AS number, max(now) AS last FROM stored GROUP BY endpoint
), free AS (
    SELECT came.* FROM came, LATERAL (
        SELECT FROM {_ways_in} WHERE id = came.endpoint FOR NO KEY UPDATE SKIP LOCKED
    ) held
), counted AS (
    UPDATE {_ways_in} w SET received = received + free.number, last_received_at = greatest(last_received_at, free.last)
    FROM free WHERE w.id = free.endpoint RETURNING w.id
)"""  # noqa: S608 the same
