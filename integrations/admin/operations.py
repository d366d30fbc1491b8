"""What needs a person and what keeps the hub going: alerts, live processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RadioFilter
from unfold.decorators import action, display

from integrations.adminbase.base import Button, OperatorAdmin, TenantScopedAdmin
from integrations.adminbase.render import badge, pretty_json, when
from integrations.contracts import clock
from integrations.models import Alert, Heartbeat

ALIVE = timedelta(seconds=45)
UPDATED = when("updated", "Last seen")


class OpenFilter(RadioFilter):
    """Alerts by what became of them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [("open", "Open"), ("acknowledged", "Acknowledged"), ("resolved", "Resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "open":
                return queryset.filter(acknowledged_at__isnull=True, resolved_at__isnull=True)
            case "acknowledged":
                return queryset.filter(acknowledged_at__isnull=False, resolved_at__isnull=True)
            case "resolved":
                return queryset.filter(resolved_at__isnull=False)
        return queryset


@admin.register(Alert)
class AlertAdmin(TenantScopedAdmin):
    """A tenant's alerts for its admins; those of the installation (without a tenant) for the operator."""

    list_display = (UPDATED, "shown_level", "kind", "message", "count", "state")
    list_display_links = (UPDATED, "kind")
    list_filter = (OpenFilter, ("level", ChoicesDropdownFilter))
    search_fields = ("kind", "subject", "message")
    actions = ("acknowledge_selected",)
    buttons = (Button("acknowledge", "Acknowledge", "check", "primary"),)
    fields = (("kind", "shown_level"), ("subject", "state"), "message", "count", ("created", "updated"), "acknowledged_at")
    readonly_fields = ("shown_level", "state", "created", "updated")

    @display(description="Level", ordering="level")
    def shown_level(self, obj: Alert) -> SafeString:
        return badge(obj.level)

    @display(description="State")
    def state(self, obj: Alert) -> SafeString:
        if obj.resolved_at:
            return badge("closed", "resolved")
        return badge("pending", "acknowledged") if obj.acknowledged_at else badge("open")

    def offers(self, request: HttpRequest, obj: Alert, button: Button) -> bool:
        return obj.acknowledged_at is None and obj.resolved_at is None

    def press_acknowledge(self, request: HttpRequest, obj: Alert) -> str:
        Alert.objects.filter(pk=obj.pk, acknowledged_at__isnull=True).update(acknowledged_at=clock.now())
        return "Acknowledged."

    @action(description="Acknowledge selected alerts", permissions=["act"])
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        allowed = [alert.pk for alert in queryset if self.may_act(request, alert)]
        fresh = Alert.objects.filter(pk__in=allowed, acknowledged_at__isnull=True, resolved_at__isnull=True)
        count = fresh.update(acknowledged_at=clock.now())
        self.message_user(request, f"{count} {'alert' if count == 1 else 'alerts'} acknowledged.", messages.SUCCESS)


@admin.register(Heartbeat)
class HeartbeatAdmin(OperatorAdmin):
    """Who is alive: a process beats every few seconds while it is."""

    list_display = (
        "name",
        "kind",
        "state",
        "host",
        "pid",
        "group",
        when("started_at", "Started"),
        when("beat_at", "Last beat"),
    )
    list_filter = ("kind",)
    search_fields = ("name", "host", "group")
    fields = (("name", "kind"), ("host", "pid"), ("group", "state"), ("started_at", "beat_at"))
    readonly_fields = ("state",)
    panels = (("Detail", "shown_detail"),)

    @display(description="State")
    def state(self, obj: Heartbeat) -> SafeString:
        return badge("active", "alive") if clock.now() - obj.beat_at < ALIVE else badge("held", "silent")

    def shown_detail(self, request: HttpRequest, obj: Heartbeat) -> SafeString:
        return pretty_json(obj.detail)
