"""Replays: what is being sent again, and how far that has come."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.render import badge, when
from webhooks.outbound.models import Replay, ReplayState
from webhooks.outbound.recovery.replays import cancel_replay

BADGES = {ReplayState.RUNNING: "processing", ReplayState.DONE: "completed", ReplayState.FAILED: "failed"}


@admin.register(Replay)
class ReplayAdmin(TenantScopedAdmin):
    """Started on an endpoint's page, by the API or in the portal; one that runs can be stopped."""

    list_display = (when("created", "Begun"), "shown_endpoint", "mode", "shown_state", "shown_progress", "queued")
    list_filter = (("state", ChoicesDropdownFilter), ("mode", ChoicesDropdownFilter))
    search_fields = ("id", "endpoint__name", "requested_by")
    related = ("endpoint",)
    buttons = (
        Button("cancel", "Stop it", "cancel", "danger", confirm="What it has queued so far is sent. It can't go on later."),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_endpoint", "shown_state"),
                    ("mode", "shown_types"),
                    ("since", "until"),
                    ("total", "looked_at"),
                    ("queued", "requested_by"),
                    ("created", "finished_at"),
                    "detail",
                )
            },
        ),
    )
    readonly_fields = ("shown_endpoint", "shown_state", "shown_types")

    @display(description="Endpoint", ordering="endpoint__name")
    def shown_endpoint(self, obj: Replay) -> str:
        return str(obj.endpoint)

    @display(description="State", ordering="state")
    def shown_state(self, obj: Replay) -> SafeString:
        return badge(BADGES.get(ReplayState(obj.state), obj.state), obj.get_state_display())

    @display(description="Looked at")
    def shown_progress(self, obj: Replay) -> str:
        return f"{obj.looked_at:,} of {obj.total:,}"

    @display(description="Event types")
    def shown_types(self, obj: Replay) -> str:
        return ", ".join(map(str, obj.types)) or "all"

    def offers(self, request: HttpRequest, obj: Replay, button: Button) -> bool:
        return obj.state == ReplayState.RUNNING

    def press_cancel(self, request: HttpRequest, obj: Replay) -> str:
        cancel_replay(endpoint=obj.endpoint, replay_id=obj.pk)
        return "It is stopped."
