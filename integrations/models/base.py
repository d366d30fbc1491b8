"""What tenant-owned tables have in common: scoped reads, guarded writes, prefixed ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.db import models
from django_scopes import ScopedManager, get_scope

from integrations.contracts.ids import new_id


class ForeignWrite(Exception):
    """A row of one tenant was about to be written inside another tenant's scope, or to point at another tenant's row."""


def scoped_tenant_ids() -> set[int] | None:
    """Return the ids of the tenants in the active scope; None where none is active or scopes are off."""
    scope = get_scope()
    tenants = scope.get("tenant")
    if tenants is None or not scope.get("_enabled", True):
        return None
    return {t.pk for t in tenants} if isinstance(tenants, list | tuple) else {tenants.pk}


class TenantOwned(models.Model):
    """A row that belongs to one tenant. Reading without an active scope raises; writing another tenant's row raises."""

    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+")

    objects = ScopedManager(tenant="tenant")
    unscoped: ClassVar[models.Manager[Any]] = models.Manager()
    """For the runtime's own cross-tenant work (claiming, purging); views never use it."""

    class Meta:
        abstract = True
        base_manager_name = "unscoped"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._guard()
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        self._guard()
        return super().delete(*args, **kwargs)

    def _guard(self) -> None:
        allowed = scoped_tenant_ids()
        if allowed is not None and self.tenant_id not in allowed:
            raise ForeignWrite(f"{type(self).__name__} of tenant {self.tenant_id} written in the scope of {sorted(allowed)}")
        for field in self._meta.concrete_fields:
            if field.is_relation and field.is_cached(self):
                related = field.get_cached_value(self)
                if isinstance(related, TenantOwned) and related.tenant_id != self.tenant_id:
                    raise ForeignWrite(f"{type(self).__name__}.{field.name} points at a row of another tenant")


class PrefixedIdField(models.CharField):  # type: ignore[type-arg]
    """Primary key `<prefix>_<26 characters>`, made when the row is."""

    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs.update(max_length=40, primary_key=True, editable=False)
        kwargs.pop("default", None)
        super().__init__(**kwargs)

    def get_default(self) -> str:
        return new_id(self.prefix)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        for key in ("max_length", "primary_key", "editable"):
            kwargs.pop(key, None)
        kwargs["prefix"] = self.prefix
        return name, path, list(args), kwargs


def tenant_relations(app_models: Iterable[type[models.Model]]) -> list[tuple[str, str, str]]:
    """Return (table, column, referenced table) of each foreign key between tenant-owned tables."""
    found = []
    for model in app_models:
        if not issubclass(model, TenantOwned):
            continue
        for field in model._meta.concrete_fields:
            related = field.remote_field.model if field.is_relation else None
            if isinstance(related, type) and issubclass(related, TenantOwned):
                found.append((model._meta.db_table, field.column, related._meta.db_table))
    return found


__all__ = ["ForeignWrite", "PrefixedIdField", "TenantOwned", "scoped_tenant_ids", "tenant_relations"]
