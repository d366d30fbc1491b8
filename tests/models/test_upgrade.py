"""The upgrade happens while the hub works: processes of the release before go on writing, and no large table is locked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models
from django.db.migrations import operations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

from integrations.models import Heartbeat
from integrations.models.indexes import AddIndexConcurrently, RemoveIndexConcurrently, UnindexForeignKeyConcurrently

RELEASED = {
    "integrations": "0004_one_clock",
    "messaging": "0004_sending",
    "payments": "0003_receipt_delivery",
    "webhooks_inbound": "0003_sealed_verify_token",
    "webhooks_outbound": "0004_portal_link_key",
}
GROWTH = [
    ("integrations", "0006_growth_indexes"),
    ("messaging", "0005_growth_indexes"),
    ("webhooks_inbound", "0005_growth_indexes"),
    ("webhooks_outbound", "0006_growth_indexes"),
    ("webhooks_outbound", "0007_failed_deliveries_by_time"),
]


@pytest.fixture
def executor(transactional_db: None) -> MigrationExecutor:
    return MigrationExecutor(connection)


def since_the_release(executor: MigrationExecutor) -> Iterator[Migration]:
    for (app, name), migration in sorted(executor.loader.disk_migrations.items()):
        if name > RELEASED.get(app, "9"):
            yield migration


def new_tables(executor: MigrationExecutor) -> set[tuple[str, str]]:
    return {
        (migration.app_label, each.name_lower)
        for migration in since_the_release(executor)
        for each in migration.operations
        if isinstance(each, operations.CreateModel)
    }


def test_a_process_of_the_release_before_can_still_insert(executor: MigrationExecutor) -> None:
    new, added = new_tables(executor), []
    for migration in since_the_release(executor):
        for each in migration.operations:
            if not isinstance(each, operations.AddField) or (migration.app_label, each.model_name_lower) in new:
                continue
            where = f"{migration.app_label}.{each.model_name}.{each.name}"
            assert each.field.null or each.field.db_default is not NOT_PROVIDED, where
            model = apps.get_model(migration.app_label, each.model_name)
            added.append((model._meta.db_table, model._meta.get_field(each.name).column))
    assert ("integrations_queueitem", "crashes") in added
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND (is_nullable = 'YES' OR column_default IS NOT NULL)"
        )
        optional = set(cursor.fetchall())
    assert [each for each in added if each not in optional] == []


def test_indexes_of_tables_with_rows_are_made_without_a_lock_and_before_the_old_ones_go(executor: MigrationExecutor) -> None:
    new, seen = new_tables(executor), 0
    for migration in since_the_release(executor):
        order = []
        for each in migration.operations:
            if isinstance(each, operations.AddIndex | operations.RemoveIndex):
                if (migration.app_label, each.model_name_lower) in new:
                    continue
                assert isinstance(each, AddIndexConcurrently | RemoveIndexConcurrently), (migration, each)
                order.append("add" if isinstance(each, AddIndexConcurrently) else "remove")
            elif isinstance(each, UnindexForeignKeyConcurrently):
                order.append("remove")
            elif isinstance(each, operations.AlterField) and isinstance(each.field, models.ForeignKey):
                key: Any = each.field
                assert not key.db_constraint, f"{migration}: {each.describe()} makes the constraint anew"
        assert order == sorted(order), migration
        assert not (order and migration.atomic), migration
        names = [each.index.name if hasattr(each, "index") else "" for each in migration.operations]
        assert not {each.name for each in migration.operations if isinstance(each, RemoveIndexConcurrently)} & set(names)
        seen += len(order)
    assert seen > 20


@pytest.mark.parametrize(("app", "name"), GROWTH)
def test_an_interrupted_migration_is_run_again(executor: MigrationExecutor, app: str, name: str) -> None:
    migration = executor.loader.get_migration(app, name)
    state = executor.loader.project_state(migration.dependencies)
    before = _indexes()
    made = [each.index.name for each in migration.operations if isinstance(each, AddIndexConcurrently)]
    with connection.cursor() as cursor:  # as if it had been cut off before its last index
        cursor.execute(f'DROP INDEX "{made[-1]}"')
    with connection.schema_editor(atomic=False) as editor:
        migration.apply(state, editor)
    after = _indexes()
    assert after.keys() == before.keys()
    assert [each for each in before if before[each] != after[each]] == [made[-1]], "the others were passed over"


def test_an_index_that_stands_is_passed_over_and_a_broken_one_replaced(executor: MigrationExecutor) -> None:
    index = models.Index(fields=["pid"], name="heartbeat_pid_sample")
    operation = AddIndexConcurrently(model_name="heartbeat", index=index)
    before = ProjectState.from_apps(apps)
    after = before.clone()
    operation.state_forwards("integrations", after)

    def run() -> Any:
        with connection.schema_editor(atomic=False) as editor:
            operation.database_forwards("integrations", editor, before, after)
        return _indexes()["heartbeat_pid_sample"]

    now = timezone.now()
    for each in "ab":
        Heartbeat.objects.create(name=each, kind="x", host="h", pid=7, started_at=now, beat_at=now)
    try:
        first = run()
        assert run() == first
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX heartbeat_pid_sample")
            with pytest.raises(IntegrityError):  # what an interrupted build leaves: a name, and nothing whole behind it
                cursor.execute("CREATE UNIQUE INDEX CONCURRENTLY heartbeat_pid_sample ON integrations_heartbeat (pid)")
        broken = _indexes()["heartbeat_pid_sample"]
        assert broken[1] is False
        replaced = run()
        assert replaced[1] is True
        assert replaced[0] != broken[0]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX IF EXISTS heartbeat_pid_sample")


def test_a_foreign_key_loses_its_index_and_keeps_its_constraint(executor: MigrationExecutor) -> None:
    unindexed = [
        apps.get_model(migration.app_label, each.model_name)._meta.get_field(each.name)
        for migration in since_the_release(executor)
        for each in migration.operations
        if isinstance(each, UnindexForeignKeyConcurrently)
    ]
    assert len(unindexed) >= 7
    for field in unindexed:
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, field.model._meta.db_table).values()
        mine = [each for each in found if each["columns"] == [field.column]]
        assert len([each for each in mine if each["foreign_key"]]) == 1, field
        assert [each for each in mine if each["index"]] == [], field


def test_taking_a_foreign_keys_index_away_can_be_taken_back(executor: MigrationExecutor) -> None:
    migration = executor.loader.get_migration("webhooks_inbound", "0005_growth_indexes")
    (operation,) = [each for each in migration.operations if isinstance(each, UnindexForeignKeyConcurrently)]
    after = executor.loader.project_state([("webhooks_inbound", migration.name)])
    before = executor.loader.project_state(migration.dependencies)
    was = _indexes()
    for _ in range(2):
        with connection.schema_editor(atomic=False) as editor:
            operation.database_backwards("webhooks_inbound", editor, after, before)
    (more,) = _indexes().keys() - was.keys()
    assert "tenant" in more
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("webhooks_inbound", editor, before, after)
    assert _indexes() == was


def _indexes() -> dict[str, tuple[int, bool]]:
    """Return each index's number in the database and whether it is whole, by its name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, c.oid, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE c.relnamespace = current_schema()::regnamespace"
        )
        return {name: (number, valid) for name, number, valid in cursor.fetchall()}
