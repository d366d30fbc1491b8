"""Who is not written to, and the tenant's rules for each channel."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.render import when
from integrations.messaging.models import Suppression

CREATED = when("created", "Created")


@admin.register(Suppression)
class SuppressionAdmin(TenantScopedAdmin):
    """Addresses that are not written to any more; an admin may add one, and take one off when its owner agrees again."""

    can_add = can_delete = True
    list_display = ("address", "channel", "reason", "source", CREATED)
    list_filter = (("channel", ChoicesDropdownFilter),)
    search_fields = ("address", "reason")
    readonly_fields = ("source", "created")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ("channel", "address", "reason")
        return (*own, "source", "created") if obj is not None else ("tenant", *own)

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        obj.source = f"admin {request.user.get_username()}"[:50]
        super().save_model(request, obj, form, change)
