"""Migration operations that build and drop indexes of large tables while the hub works, and can be done again.

A migration that may not run in a transaction can be cut off in its middle: PostgreSQL then keeps what was built, and marks as
`INVALID` what was being built. Run again, such a migration passes over the former and builds the latter anew. Names are all
that is compared: an index that is defined otherwise gets a name of its own.
"""

from __future__ import annotations

from typing import Any

from django.contrib.postgres import operations
from django.db.migrations.operations import AlterField


class AddIndexConcurrently(operations.AddIndexConcurrently):
    """Django's, but safe to repeat."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not _stands(schema_editor, self.index.name):
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class RemoveIndexConcurrently(operations.RemoveIndexConcurrently):
    """Django's, which is safe to repeat; so is taking it back."""

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not _stands(schema_editor, self.name):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class UnindexForeignKeyConcurrently(operations.NotInTransactionMixin, AlterField):
    """A foreign key loses its own index, and nothing else is done.

    Django's `AlterField` would drop the key's constraint too and make it again: which reads the whole table while nobody may
    write to it or to the referenced one, and is lost for good where the migration is cut off in between.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._ensure_not_in_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        column = model._meta.get_field(self.name).column
        declared = {index.name for index in model._meta.indexes}
        with schema_editor.connection.cursor() as cursor:
            found = schema_editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
        for name, each in found.items():
            if each["index"] and not each["unique"] and each["columns"] == [column] and name not in declared:
                schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._ensure_not_in_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        for statement in schema_editor._field_indexes_sql(model, model._meta.get_field(self.name)):
            if not _stands(schema_editor, str(statement.parts["name"]).strip('"')):
                schema_editor.execute(str(statement).replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1))


def _stands(schema_editor: Any, name: str) -> bool:
    """Tell whether an index of that name is there and whole; drop what an interrupted build left of it."""
    if schema_editor.collect_sql:  # it is only asked which statements there would be
        return False
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [schema_editor.quote_name(name)])
        found = cursor.fetchone()
    if found is not None and not found[0]:
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")
        return False
    return found is not None
