"""Rows by the million, as an installation of some years would have them: written by PostgreSQL itself, of realistic widths.

What is rare is rare at any number of rows, yet the largest tenant's part of 10,000 (7,000; the second's, of the log, 2,500) has
a whole page of what failed: pages are held against each other that show as many lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from integrations.contracts.ids import new_token
from integrations.models import Config, Tenant
from webhooks.outbound.models import Endpoint

SPAN_DAYS = 85
"""All rows are from so many days, evenly, the last one from now."""


@dataclass(slots=True)
class World:
    """Whose the rows are: one tenant has most of them, one a few."""

    tenants: Sequence[Tenant]
    endpoints: Sequence[Endpoint]
    config: Config | None = None
    written: dict[str, int] = field(default_factory=dict)


def make_world() -> World:
    tenants = [Tenant.objects.create(slug=f"growth-{name}-{new_token()[:8]}", name=f"Growth {name}") for name in "abcd"]
    endpoints = [
        Endpoint.unscoped.create(tenant=tenant, url=f"http://127.0.0.1:9/{tenant.pk}", name=f"hook {tenant.pk}")
        for tenant in tenants
    ]
    return World(tenants, endpoints)


# n counts the rows of a table; 700, 250, 49 and 1 of a thousand are each tenant's.
_WHOSE = (
    "(ARRAY[%(tenants)s])[CASE WHEN n %% 1000 < 700 THEN 1 WHEN n %% 1000 < 950 THEN 2 WHEN n %% 1000 < 999 THEN 3 ELSE 4 END]"
)
_AT = f"now() - ((%(last)s - n) * interval '{SPAN_DAYS} days' / %(last)s)"
_ID = "lpad(n::text, 26, '0')"
_ABOUT = "'pay_' || lpad((n / 3)::text, 26, '0')"
_PROVIDER = (
    "(ARRAY['mpesa','stripe','africastalking','smtp','rare'])"
    "[CASE WHEN n %% 887 = 5 THEN 5 WHEN n %% 887 < 530 THEN 1 WHEN n %% 887 < 760 THEN 2 WHEN n %% 887 < 850 THEN 3"
    " ELSE 4 END]"
)
_HEADERS = """'{"Content-Type": "application/json", "Authorization": "••••", "User-Agent": "hub/1.0", "X-Id": "c0"}'::jsonb"""
_WORDS = "repeat(md5(n::text) || ' ', 9)"

TABLES: dict[str, str] = {
    "integrations_calllog": f"""
        INSERT INTO integrations_calllog (tenant_id, direction, provider, operation, status, method, url, request_headers,
            request_body, status_code, response_headers, response_body, error, duration_ms, reference_type, reference_id,
            external_reference, request_id, created)
        SELECT {_WHOSE}, CASE WHEN n %% 3 = 0 THEN 'inbound' ELSE 'outbound' END, {_PROVIDER},
            (ARRAY['send','authorize','status','webhook.stk','refund'])[1 + n %% 5],
            CASE WHEN n %% 41 = 0 THEN 'failed' WHEN n %% 503 = 0 THEN 'timeout' ELSE 'success' END,
            'POST', 'https://api.example/v1/' || n, {_HEADERS}, {_WORDS}, 200, {_HEADERS}, {_WORDS}, '', n %% 900, 'payment',
            {_ABOUT}, 'ext-' || n, md5((n / 4)::text), {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
    "integrations_queueitem": f"""
        INSERT INTO integrations_queueitem (tenant_id, kind, payload, reference_type, reference_id, key, priority, state,
            due_at, attempts, max_attempts, crashes, fence, worker, errors, last_error, created, finished_at)
        SELECT {_WHOSE}, (ARRAY['sms.send','webhook.process','payment.poll'])[1 + n %% 3], jsonb_build_object('id', n),
            'payment', {_ABOUT}, '', 5, CASE WHEN n %% 101 = 0 THEN 'failed' ELSE 'completed' END, {_AT}, 1, 8, 0,
            1, '', '[]'::jsonb, '', {_AT}, {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
    "webhooks_inbound_receipt": f"""
        INSERT INTO webhooks_inbound_receipt (tenant_id, provider, purpose, trust, token_object, provider_event_type,
            dedupe_key, method, query, headers, body, status, detail, duplicates, received_at, processed_at)
        SELECT {_WHOSE}, {_PROVIDER}, 'stk', 'token', 'payment:' || {_ABOUT}, 'charge.succeeded',
            'key-' || n, 'POST', '{{}}'::jsonb, {_HEADERS}, convert_to({_WORDS}, 'UTF8'),
            CASE WHEN n %% 101 = 0 THEN 'failed' ELSE 'processed' END, '', 0, {_AT}, {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
    "webhooks_outbound_event": f"""
        INSERT INTO webhooks_outbound_event (id, tenant_id, type, type_version, key, channels, payload, object_type,
            object_id, created, spread_at)
        SELECT 'evt_' || {_ID}, {_WHOSE}, CASE WHEN n * 10 < %(last)s THEN 'invoice.sent'
            ELSE (ARRAY['payment.completed','message.delivered'])[1 + n %% 2] END, 1, 'key-' || n,
            '[]'::jsonb, {_WORDS}, 'payment', {_ABOUT}, {_AT}, {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
    "webhooks_outbound_delivery": f"""
        INSERT INTO webhooks_outbound_delivery (id, tenant_id, event_id, endpoint_id, order_key, state, due_at, attempts,
            attempts_allowed, fence, last_status, last_error, dead_reason, created, finished_at)
        SELECT 'dlv_' || {_ID}, {_WHOSE}, 'evt_' || {_ID}, {_WHOSE.replace("tenants", "endpoints")}, '',
            CASE WHEN n %% 101 = 0 THEN 'failed' ELSE 'delivered' END, {_AT}, 1, 12, 1, 200, '',
            CASE WHEN n %% 101 = 0 THEN 'exhausted' ELSE '' END, {_AT}, {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
    "webhooks_outbound_deliveryattempt": f"""
        INSERT INTO webhooks_outbound_deliveryattempt (tenant_id, delivery_id, number, started_at, finished_at, status_code,
            duration_ms, error_class, error, request_headers, response_headers, response_head, address)
        SELECT {_WHOSE}, 'dlv_' || {_ID}, 1, {_AT}, {_AT}, 200, 12, '', '', {_HEADERS}, {_HEADERS}, 'ok', '127.0.0.1'
        FROM generate_series(%(first)s, %(last)s) n""",
    "messaging_message": f"""
        INSERT INTO messaging_message (id, tenant_id, channel, provider, sender, subject, body, html, content, personal, data,
            segments, encoding, reference_type, reference_id, category, template_name, language, priority, key,
            override_reason, expected, currency, step, created_by, created)
        SELECT 'msg_' || {_ID}, {_WHOSE}, (ARRAY['sms','email'])[1 + n %% 2], {_PROVIDER}, '', '', {_WORDS}, '',
            '{{}}'::jsonb, false, '{{}}'::jsonb, 1, 'gsm7', 'invoice', 'INV-' || (n / 2),
            '', '', '', 5, '', '', 0, '', 0, '', {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
    "messaging_recipient": f"""
        INSERT INTO messaging_recipient (tenant_id, message_id, address, name, role, envelope, data, alternatives, state,
            provider_ref, provider_status, detail, given_up, tries, currency, updated)
        SELECT {_WHOSE}, 'msg_' || {_ID}, '+2547' || lpad((n / 5)::text, 8, '0'), '', '', 0,
            '{{}}'::jsonb, '{{}}'::jsonb, CASE WHEN n %% 97 = 0 THEN 'failed' ELSE 'delivered' END, 'ref-' || n,
            '', '', false, 0, '', {_AT}
        FROM generate_series(%(first)s, %(last)s) n""",
}


def write(world: World, table: str, total: int, *, without_indexes: bool = False) -> None:
    """Bring a table to so many rows. `without_indexes` takes them away meanwhile: that is faster for millions."""
    first = world.written.get(table, 0) + 1
    if first > total:
        return
    values: dict[str, Any] = {"first": first, "last": total}
    sql = TABLES[table].replace("%(tenants)s", ", ".join(str(each.pk) for each in world.tenants))
    sql = sql.replace("%(endpoints)s", ", ".join(f"'{each.pk}'" for each in world.endpoints))
    with connection.cursor() as cursor:
        # Foreign keys are right by construction: checking them row by row would take most of the time.
        cursor.execute("SET session_replication_role = replica")
        try:
            cursor.execute("SET maintenance_work_mem = '512MB'")  # sorts for an index in memory
            taken = _take_indexes(cursor, table) if without_indexes else []
            cursor.execute(sql, values)
            for definition in taken:
                cursor.execute(definition)
        finally:
            cursor.execute("SET session_replication_role = origin")
            cursor.execute("RESET maintenance_work_mem")
    world.written[table] = total


def tidy(table: str) -> None:
    """Do what autovacuum does in time."""
    with connection.cursor() as cursor:
        cursor.execute(f'VACUUM ANALYZE "{table}"')


def _take_indexes(cursor: Any, table: str) -> list[str]:
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s"
        " AND indexname NOT IN (SELECT conname FROM pg_constraint)",
        [table],
    )
    found = cursor.fetchall()
    for name, _definition in found:
        cursor.execute(f'DROP INDEX "{name}"')
    return [definition for _name, definition in found]
