"""The devices that apps have registered."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.render import badge, when
from integrations.messaging.models import Device
from integrations.messaging.push import devices


@admin.register(Device)
class DeviceAdmin(TenantScopedAdmin):
    """Apps register them through the API; an admin may let one go. Tokens are shown by their ends only."""

    can_delete = True
    list_display = ("shown_token", "user", "platform", "state", "provider", "language", when("registered_at", "Registered"))
    list_display_links = ("shown_token", "user")
    list_filter = (("platform", ChoicesDropdownFilter), ProviderFilter, ("registered_at", RangeDateTimeFilter))
    search_fields = ("user", "token")
    search_help_text = "User, or a part of the token"
    fields = (
        ("shown_token", "state"),
        ("user", "platform"),
        ("provider", "config"),
        ("environment", "app"),
        ("language", "time_zone"),
        "shown_topics",
        ("registered_at", "created"),
        ("gone_at", "gone_why"),
    )
    readonly_fields = ("shown_token", "state", "shown_topics")

    @display(description="Token")
    def shown_token(self, obj: Device) -> str:
        return devices.masked(obj.token)

    @display(description="State")
    def state(self, obj: Device) -> SafeString:
        return badge("active") if obj.gone_at is None else badge("dead", "gone")

    @display(description="Topics")
    def shown_topics(self, obj: Device) -> str:
        return ", ".join(obj.topics) or "-"

    def delete_model(self, request: HttpRequest, obj: Device) -> None:
        devices.remove(tenant_id=obj.tenant_id, token=obj.token)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for each in queryset:
            devices.remove(tenant_id=each.tenant_id, token=each.token)
