"""pytest plugin: how tests with real transactions leave the database behind.

Django truncates every table after each of them and then sends `post_migrate`, which writes permissions and content types
anew: about half a second, a thousand times over. Here the rows that are there are deleted, and what Django's own
`post_migrate` wrote when the database was made is left where it is.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction
from django.test import TransactionTestCase

KEPT = frozenset({"django_migrations", "django_content_type", "auth_permission"})
"""Written by migrations and by Django's own `post_migrate`, and by no test."""


def pytest_configure() -> None:
    TransactionTestCase._fixture_teardown = _empty_what_was_written  # type: ignore[attr-defined]


def _empty_what_was_written(case: Any) -> None:
    # Imported here: the plugin is loaded before the settings are.
    from integrations import registry
    from integrations.runtime import schedules

    for name in case._databases_names(include_mirrors=False):
        connection = connections[name]
        tables = [table for table in connection.introspection.table_names() if table not in KEPT]
        quoted = {table: connection.ops.quote_name(table) for table in tables}
        found = " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {quoted[table]})" for table in tables)
        # In one transaction: all foreign keys are deferred, so the order does not matter. TRUNCATE makes new files for each
        # table and all that refer to it, which takes a hundred times as long as deleting the few rows that a test has.
        with transaction.atomic(using=name), connection.cursor() as cursor:
            cursor.execute(found)
            for (table,) in cursor.fetchall():
                cursor.execute(f"DELETE FROM {quoted[table]}")
    # What the hub itself writes into every migrated database: `integrations_site.apps`.
    registry.sync_rows()
    schedules.ensure()
