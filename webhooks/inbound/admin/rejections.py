"""What was turned away: counted by day, source and reason. Their bodies were not kept."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateFilter
from unfold.decorators import display

from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.render import when
from webhooks.inbound.admin.texts import source_of_rejection
from webhooks.inbound.models import Rejection


@admin.register(Rejection)
class RejectionAdmin(TenantScopedAdmin):
    """Read-only. What could be laid to no tenant is seen by the operator alone."""

    list_display = ("day", "shown_source", "reason", "count", when("last_at", "Last"), "last_ip", "last_detail")
    list_filter = (("day", RangeDateFilter), ("reason", FieldTextFilter))
    search_fields = ("source", "reason", "last_detail", "endpoint__name")
    search_help_text = "Source, reason or detail"
    related = ("endpoint",)
    fieldsets = ((None, {"fields": (("day", "shown_source"), ("reason", "count"), ("last_at", "last_ip"), "last_detail")}),)
    readonly_fields = ("shown_source",)

    @display(description="Source", ordering="source")
    def shown_source(self, obj: Rejection) -> SafeString | str:
        return source_of_rejection(obj)
