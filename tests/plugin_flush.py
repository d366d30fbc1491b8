"""pytest plugin: how tests with real transactions leave the database behind.

Django truncates every table after each of them and then sends `post_migrate`, which writes permissions and content types
anew: about half a second, a thousand times over. Here the rows that are there are deleted, and what was written when the
database was made, by Django's own `post_migrate` and by the hub's, is left where it is.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction
from django.test import TransactionTestCase

KEPT = frozenset({"django_migrations", "django_content_type", "auth_permission"})
"""Written by migrations and by Django's own `post_migrate`, and by no test."""
DECLARED = ("integrations_provider", "django_q_schedule")
"""What the hub itself writes into every migrated database (`integrations_site.apps`). A test may write there too."""
# TRUNCATE makes new files for each table and all that refer to it, which takes a hundred times as long as deleting the few
# rows that a test has. A table without a page was never written to; a partitioned one has none of its own.
_EMPTY = """
DO $$
DECLARE written regclass;
BEGIN
    FOR written IN
        SELECT oid FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND pg_table_is_visible(oid)
        AND relnamespace <> 'pg_catalog'::regnamespace AND relname NOT IN ({kept})
        AND (relkind = 'p' OR pg_relation_size(oid) > 0)
    LOOP
        EXECUTE format('DELETE FROM %s', written);
    END LOOP;
END $$
"""
_known: dict[tuple[str, ...], str] = {}
"""The digest of the declared tables as they should be, by database and the registry's providers."""


def pytest_configure() -> None:
    TransactionTestCase._fixture_teardown = _empty_what_was_written  # type: ignore[attr-defined]


def _empty_what_was_written(case: Any) -> None:
    # Imported here: the plugin is loaded before the settings are.
    from integrations import registry
    from integrations.runtime import schedules

    for name in case._databases_names(include_mirrors=False):
        connection = connections[name]
        kept = ", ".join(f"'{table}'" for table in sorted({*KEPT, *DECLARED}))
        state = (connection.settings_dict["NAME"], *registry.providers())
        # In one transaction: all foreign keys are deferred, so the order does not matter.
        with transaction.atomic(using=name), connection.cursor() as cursor:
            cursor.execute(_EMPTY.format(kept=kept))
            as_declared = _digest(cursor) == _known.get(state)
            if not as_declared:
                for table in DECLARED:
                    cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
        if not as_declared:
            registry.sync_rows()
            schedules.ensure()
            with connection.cursor() as cursor:
                _known[state] = _digest(cursor)


def _digest(cursor: Any) -> str:
    rows = " || ".join(f"coalesce((SELECT string_agg(t::text, '|' ORDER BY t::text) FROM {table} t), '')" for table in DECLARED)
    cursor.execute(f"SELECT md5({rows})")
    (found,) = cursor.fetchone()
    return str(found)
