"""Circuit breakers: how they stand, what happens to calls meanwhile, and an operator's hand on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RadioFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from integrations.adminbase.base import Button, OperatorAdmin
from integrations.adminbase.filters import ProviderFilter
from integrations.adminbase.render import badge, table, when
from integrations.contracts import clock
from integrations.contracts.fallbacks import FALLBACKS, in_words
from integrations.models import BreakerState
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime import breaker

SPANS = (("15", "15 minutes"), ("60", "An hour"), ("240", "Four hours"), ("1440", "A day"), ("", "Until somebody lets go"))
COLOURS = {"held_open": "open", "held_closed": "held"}


class HoldForm(forms.Form):
    """For how long."""

    minutes = forms.ChoiceField(
        choices=SPANS, required=False, initial="60", label="For how long", widget=UnfoldAdminSelectWidget()
    )


class HeldFilter(RadioFilter):
    """Circuits by whether a person holds them."""

    title = "by hand"
    parameter_name = "held"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [("yes", "Held"), ("no", "Not held")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        held = ~Q(forced="") & (Q(forced_until__isnull=True) | Q(forced_until__gt=clock.now()))
        match self.value():
            case "yes":
                return queryset.filter(held)
            case "no":
                return queryset.exclude(held)
        return queryset


@admin.register(BreakerState)
class BreakerStateAdmin(OperatorAdmin):
    """Circuits are shared by all tenants of a provider's host: they are the operator's to hold."""

    list_display = (
        "key",
        "shown_state",
        "failures",
        "successes",
        "openings",
        when("retry_at", "Retry at"),
        when("updated", "Last seen"),
    )
    list_filter = (ProviderFilter, ("state", ChoicesDropdownFilter), HeldFilter)
    search_fields = ("key",)
    buttons = (
        Button("hold_open", "Hold open", "block", "danger", form=HoldForm),
        Button("hold_closed", "Hold closed", "lock_open", form=HoldForm),
        Button("let_go", "Let go", "pan_tool", "primary"),
        Button("reset", "Close the circuit", "restart_alt", "primary"),
    )
    fields = (
        ("provider", "host"),
        ("shown_state", "by_hand"),
        ("failures", "successes"),
        ("opened_at", "retry_at"),
        ("openings", "last_error"),
        ("window_started_at", "updated"),
    )
    readonly_fields = ("shown_state", "by_hand", "updated")
    panels = (("What happens to calls while it is open", "shown_fallbacks"),)

    @display(description="State", ordering="state")
    def shown_state(self, obj: BreakerState) -> SafeString:
        state = breaker.shown(obj, clock.now())
        return badge(COLOURS.get(state, state), state.replace("_", "-"))

    @display(description="By hand")
    def by_hand(self, obj: BreakerState) -> str:
        held = breaker.held(obj, clock.now())
        if not held:
            return "-"
        until = f"until {timezone.localtime(obj.forced_until):%Y-%m-%d %H:%M}" if obj.forced_until else "until somebody lets go"
        return f"held {held} by {obj.forced_by or 'the hub'} {until}"

    def offers(self, request: HttpRequest, obj: BreakerState, button: Button) -> bool:
        held = breaker.held(obj, clock.now())
        match button.name:
            case "let_go":
                return bool(held)
            case "reset":
                return obj.state != BreakerState.State.CLOSED and held != "open"
        return button.name != f"hold_{held}"

    def press_hold_open(self, request: HttpRequest, obj: BreakerState, data: dict[str, Any]) -> str:
        self._hold(obj, "open", data)
        return "Held open: nobody calls this provider here, and what can wait is queued."

    def press_hold_closed(self, request: HttpRequest, obj: BreakerState, data: dict[str, Any]) -> str:
        self._hold(obj, "closed", data)
        return "Held closed: calls go through, whatever comes of them."

    def press_let_go(self, request: HttpRequest, obj: BreakerState) -> str:
        breaker.let_go(key=obj.key)
        return "Let go: the calls decide again."

    def press_reset(self, request: HttpRequest, obj: BreakerState) -> str:
        breaker.reset(key=obj.key)
        return "The circuit is closed: calls go through again."

    def shown_fallbacks(self, request: HttpRequest, obj: BreakerState) -> SafeString:
        try:
            able = get_provider(obj.provider).categories
        except UnknownProvider:
            able = []
        rows = [
            (each.capability.value, in_words(each.changing), in_words(each.asking), each.chosen_by or "-")
            for each in FALLBACKS.values()
            if each.capability in able
        ]
        return table(("Capability", "Calls with an effect", "Calls that only ask", "Chosen by"), rows)

    @staticmethod
    def _hold(obj: BreakerState, state: str, data: dict[str, Any]) -> None:
        minutes = int(data["minutes"]) if data["minutes"] else None
        breaker.hold(key=obj.key, state=state, until=clock.now() + timedelta(minutes=minutes) if minutes else None)
