"""Migration operation that backs relations between tenant-owned tables by composite foreign keys.

`(tenant_id, id)` of the referenced row: so that even a bug, a raw query or a wrong import can't tie one tenant's row to
another's.
"""

from __future__ import annotations

from django.db.migrations.operations import RunSQL


def tenant_foreign_key(table: str, column: str, referenced: str) -> RunSQL:
    """Return the operation for `table.column -> referenced.id`; the referenced table gets its unique (tenant_id, id) once."""
    unique = f"{referenced}_tenant_id_id_uniq"
    name = f"{table}_{column}_tenant_fk"[:63]
    return RunSQL(
        # S608: the names come from the migrations of this repository, never from a user.
        sql=f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = '{unique}') THEN
                ALTER TABLE "{referenced}" ADD CONSTRAINT "{unique}" UNIQUE (tenant_id, id);
            END IF;
        END $$;
        ALTER TABLE "{table}" ADD CONSTRAINT "{name}" FOREIGN KEY (tenant_id, "{column}")
            REFERENCES "{referenced}" (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
        """,  # noqa: S608
        reverse_sql=f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}";',
    )
