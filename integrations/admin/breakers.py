"""Circuit breakers: how they stand, what happens to calls meanwhile, and an operator's hand on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RadioFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from integrations.adminbase.base import Button, OperatorAdmin
from integrations.adminbase.filters import ProviderFilter
from integrations.adminbase.render import badge, link, moment, one_line, table, when
from integrations.contracts import clock
from integrations.contracts.fallbacks import FALLBACKS, Way, in_words
from integrations.models import BreakerState, Config
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime import breaker

SPANS = (("15", "15 minutes"), ("60", "An hour"), ("240", "Four hours"), ("1440", "A day"), ("", "Until somebody lets go"))
COLOURS = {"held_open": "open", "held_closed": "held"}


ALL = "all"
"""Whose a circuit is that the provider's accounts share."""


class HoldForm(forms.Form):
    """For how long."""

    means: ClassVar[str]

    minutes = forms.ChoiceField(
        choices=SPANS, required=False, initial="60", label="For how long", widget=UnfoldAdminSelectWidget()
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["minutes"].help_text = self.means


class HoldOpenForm(HoldForm):
    means = "Until then nobody calls, not even to find out whether it is back: each call takes its fallback at once."


class HoldClosedForm(HoldForm):
    means = "Until then every call is made, however many fail."


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
        "shown_provider",
        "host",
        "shown_account",
        "shown_tenant",
        "shown_state",
        "counted",
        when("retry_at", "Next try"),
        when("updated", "Last written"),
    )
    list_display_links = ("shown_provider", "host")
    list_filter = (ProviderFilter, ("state", ChoicesDropdownFilter), HeldFilter)
    search_fields = ("key",)
    search_help_text = "Provider, host, account or tenant"
    buttons = (
        Button("hold_open", "Hold open", "block", "danger", form=HoldOpenForm),
        Button("hold_closed", "Hold closed", "lock_open", form=HoldClosedForm),
        Button("let_go", "Let go", "pan_tool", "primary"),
        Button("reset", "Close the circuit", "restart_alt", "primary"),
    )
    fields = (
        ("shown_provider", "host"),
        ("shown_account", "shown_tenant"),
        ("shown_state", "by_hand"),
        ("opened_since", "next_try"),
        ("counted_since", "written_at"),
        "shown_error",
    )
    readonly_fields = (
        "shown_provider",
        "shown_account",
        "shown_tenant",
        "shown_state",
        "by_hand",
        "opened_since",
        "next_try",
        "counted_since",
        "written_at",
        "shown_error",
    )
    panels = (("What happens to calls while it is open", "shown_fallbacks"),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BreakerState]:
        """With whose it is, asked along with the rows."""
        own = Config.unscoped.filter(pk=OuterRef("account"))
        rows = breaker.with_account(super().get_queryset(request))
        return rows.annotate(
            account_label=Subquery(own.values("label")[:1]),
            account_environment=Subquery(own.values("environment")[:1]),
            account_tenant=Subquery(own.values("tenant__name")[:1]),
        )

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        word = search_term.replace("\x00", "").strip()
        found = Q()
        for column in ("key", "account_label", "account_environment", "account_tenant"):
            found |= Q(**{f"{column}__icontains": word})
        return (queryset.filter(found) if word else queryset), False

    @display(description="Provider", ordering="provider")
    def shown_provider(self, obj: BreakerState) -> str:
        try:
            return get_provider(obj.provider).name
        except UnknownProvider:
            return obj.provider

    @display(description="Account", ordering="account")
    def shown_account(self, obj: BreakerState) -> SafeString | str:
        account, environment = obj.account, obj.account_environment  # type: ignore[attr-defined]
        if account is None:
            return ALL
        if environment is None:
            return "removed"
        return link(reverse("admin:integrations_config_change", args=[account]), obj.account_label or environment)  # type: ignore[attr-defined]

    @display(description="Tenant", ordering="account_tenant")
    def shown_tenant(self, obj: BreakerState) -> str:
        return ALL if obj.account is None else obj.account_tenant or "-"  # type: ignore[attr-defined]

    @display(description="Failed")
    def counted(self, obj: BreakerState) -> SafeString:
        failed, calls = breaker.counted(obj, clock.now())
        return one_line(f"{failed} of {calls}" if calls else "-")

    @display(description="Failed")
    def counted_since(self, obj: BreakerState) -> str:
        """Of one that is closed what counts this moment, which is less than what was written down."""
        failed, calls = breaker.counted(obj, clock.now())
        if obj.state != BreakerState.State.CLOSED:
            times = f", {obj.openings} times in a row" if obj.openings > 1 else ""
            return f"{failed} of {calls} calls when it opened{times}"
        return f"{failed} of {calls} calls that count now" if calls else "no call that counts now"

    @display(description="Open since")
    def opened_since(self, obj: BreakerState) -> SafeString:
        return moment(obj.opened_at)

    @display(description="Next try")
    def next_try(self, obj: BreakerState) -> SafeString:
        if obj.state == BreakerState.State.HALF_OPEN:
            return one_line("a call is finding out")
        return moment(obj.retry_at)

    @display(description="Last written")
    def written_at(self, obj: BreakerState) -> SafeString:
        return moment(obj.updated)

    @display(description="Last error")
    def shown_error(self, obj: BreakerState) -> str:
        return obj.last_error or "-"

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
            (each.capability.value, _plain(each.changing), _plain(each.asking), each.chosen_by or "-")
            for each in FALLBACKS.values()
            if each.capability in able
        ]
        return table(("Capability", "Calls with an effect", "Calls that only ask", "Chosen by"), rows)

    @staticmethod
    def _hold(obj: BreakerState, state: str, data: dict[str, Any]) -> None:
        minutes = int(data["minutes"]) if data["minutes"] else None
        breaker.hold(key=obj.key, state=state, until=clock.now() + timedelta(minutes=minutes) if minutes else None)


def _plain(ways: tuple[Way, ...]) -> str:
    """The words are those of the documentation, with its marks."""
    return in_words(ways).replace("`", "")
