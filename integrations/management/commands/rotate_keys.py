"""`manage.py rotate_keys`: seal every stored secret anew with the newest key of ENCRYPTION_KEYS."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model, TextField

from integrations.secrets import SecretUnreadable, current_key_id, key_id_of, open_sealed, seal

BATCH = 200


class Command(BaseCommand):
    """Safe while the hub runs: a value changed meanwhile is left to its writer, who used the newest key. Resumable: what has
    the newest key already is passed over. Exit code 1 where some value could not be read; the others are rotated all the
    same. Once it reports nothing left, older keys may leave ENCRYPTION_KEYS."""

    help = "Re-encrypt every stored secret with the newest key of ENCRYPTION_KEYS."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count what would be rotated")

    def handle(self, *args: Any, **options: Any) -> None:
        newest = current_key_id()
        unreadable = 0
        for model, field in sealed_columns():
            counts = self._rotate(model, field, newest, dry_run=options["dry_run"])
            unreadable += counts["unreadable"]
            told = ", ".join(f"{number} {word}" for word, number in counts.items())
            self.stdout.write(f"{model._meta.label}.{field}: {told}")
        if unreadable:
            raise CommandError(f"{unreadable} values can't be read: their keys are not in ENCRYPTION_KEYS any more.")

    def _rotate(self, model: type[Model], field: str, newest: str, *, dry_run: bool) -> dict[str, int]:
        counts = {"current": 0, "to rotate" if dry_run else "rotated": 0, "changed meanwhile": 0, "unreadable": 0}
        for pk, tenant_id, token in _values(model, field):
            if key_id_of(token) == newest:
                counts["current"] += 1
                continue
            try:
                value = open_sealed(tenant_id, token)
            except SecretUnreadable:
                counts["unreadable"] += 1
                self.stderr.write(f"{model._meta.label} {pk}: key {key_id_of(token)!r} is missing, or the value was altered")
                continue
            if dry_run:
                counts["to rotate"] += 1
                continue
            # Only onto the value that was read: a writer who came in between has sealed with the newest key himself.
            same = model._base_manager.filter(pk=pk, **{field: token})
            counts["rotated" if same.update(**{field: seal(tenant_id, value)}) else "changed meanwhile"] += 1
        return counts


def sealed_columns() -> list[tuple[type[Model], str]]:
    """Return every column that holds sealed values: by its name (`sealed` or `sealed_...`), or named in the model's
    `sealed_fields`. A column that rotation forgot would be lost with the old key, so nothing needs to be declared."""
    found = []
    for model in apps.get_models():
        declared = getattr(model, "sealed_fields", ())
        for field in model._meta.concrete_fields:
            by_name = isinstance(field, TextField) and (field.name == "sealed" or field.name.startswith("sealed_"))
            if by_name or field.name in declared:
                found.append((model, field.name))
    return found


def _values(model: type[Model], field: str) -> Iterator[tuple[Any, int, str]]:
    """Yield (primary key, tenant id, sealed value) in batches by primary key; no transaction stays open in between."""
    rows = model._base_manager.exclude(**{field: ""}).order_by("pk").values_list("pk", "tenant_id", field)
    batch = list(rows[:BATCH])
    while batch:
        yield from batch
        batch = list(rows.filter(pk__gt=batch[-1][0])[:BATCH])
