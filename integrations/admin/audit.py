"""Who changed what: to be read, never to be changed."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.decorators import display

from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.filters import RangeDateTimeFilter
from integrations.adminbase.render import reference, table, when
from integrations.models import AuditEntry

CREATED = when("created", "When")


@admin.register(AuditEntry)
class AuditEntryAdmin(TenantScopedAdmin):
    """Each change to keys, accounts, endpoints, members and links; values that are secret stand masked."""

    list_display = (CREATED, "actor", "action", "shown_object", "ip")
    list_display_links = (CREATED, "action")
    list_filter = (
        ("actor", FieldTextFilter),
        ("action", FieldTextFilter),
        ("object_type", FieldTextFilter),
        ("created", RangeDateTimeFilter),
    )
    search_fields = ("actor", "action", "object_id", "object_name")
    actions = None
    fields = (("actor", "ip"), ("action", "created"), ("object_type", "object_id"), "object_name")
    readonly_fields = ("created",)
    panels = (("Changes", "shown_changes"),)

    @display(description="Object", ordering="object_id")
    def shown_object(self, obj: AuditEntry) -> str | SafeString:
        return obj.object_name or reference(obj.object_type, obj.object_id)

    def shown_changes(self, request: HttpRequest, obj: AuditEntry) -> SafeString:
        rows = []
        for name, value in sorted(obj.changes.items()):
            before, after = value if isinstance(value, list) and len(value) == 2 else (None, value)
            rows.append((name, _text(before), _text(after)))
        return table(("Field", "Before", "After"), rows, empty="Nothing more is known of it.")


def _text(value: object) -> str:
    if value in (None, "", [], {}):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
