"""API keys: made, changed, rotated and revoked through the services; the key itself is shown once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import RadioFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from integrations.adminbase.base import Button, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import badge, moment, table, when
from integrations.adminbase.widgets import dress
from integrations.contracts.errors import InvalidRequest
from integrations.models import ApiKey
from integrations.tenancy import keys
from integrations.tenancy.scopes import OWNER, READ, WRITE, resources
from integrations.tenancy.usage import Line, usage_of

DAYS = 30
KEY_TIMES = (when("created", "Created"), when("expires_at", "Expires"), when("last_used_at", "Last used"))
HINT = "Copy the key now: only its fingerprint is stored, it can't be shown again."
GRACES = [
    ("86400", "24 hours"),
    ("3600", "one hour"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
    ("0", "not at all: it stops at once"),
]


def scope_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return reading and writing of each resource of the API, as groups of choices."""
    return [(each.name, [(f"{each.name}:{READ}", "read"), (f"{each.name}:{WRITE}", "write")]) for each in resources()]


class ApiKeyForm(TenantOwnedForm):
    """What a key may do, by the API's own checks; the key itself is made when it is saved."""

    scopes = forms.MultipleChoiceField(
        required=False,
        choices=scope_choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What it may read and write. None ticked: all that the role may.",
    )
    allowed_ips = forms.CharField(
        required=False,
        label="Allowed addresses",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Addresses and networks (10.0.0.0/8), one on each line. Empty: it works from anywhere.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "allowed_ips" in self.fields:
            self.initial["allowed_ips"] = "\n".join(self.instance.allowed_ips)

    def clean_allowed_ips(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["allowed_ips"].replace(",", "\n").splitlines() if line.strip()]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        try:
            cleaned |= keys.clean(self.asked(cleaned))
        except InvalidRequest as error:
            self.add_error(error.attr if error.attr in self.fields else None, error.message)
        return cleaned

    def asked(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Return what the services are asked for: all of a new key, of another one what is to be changed."""
        names = ("role", "scopes", *keys.CHANGEABLE) if self.instance._state.adding else tuple(self.changed_data)
        return {name: cleaned[name] for name in names if name in cleaned}


class RotationForm(forms.Form):
    """How long the key before works on."""

    grace = forms.ChoiceField(
        choices=GRACES, initial=GRACES[0][0], label="The present key works on for", help_text="A key still older stops at once."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields)


class StateFilter(RadioFilter):
    """Keys by whether they still work."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(each, each.capitalize()) for each in keys.STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        return keys.in_state(queryset, state) if state in keys.STATES else queryset


@admin.register(ApiKey)
class ApiKeyAdmin(TenantScopedAdmin):
    """What a key may do is settled when it is made; its name, addresses, rate and end can be changed."""

    can_add = can_change = True
    form = ApiKeyForm
    list_display = ("name", "shown_prefix", "role", "state", *KEY_TIMES)
    list_filter = (StateFilter, "role")
    search_fields = ("name", "prefix")
    actions = None
    buttons = (
        Button("rotate", "Rotate", "autorenew", "primary", form=RotationForm),
        Button("revoke", "Revoke", "block", "danger", "Revoke this key? Systems that use it are locked out at once."),
    )
    panels = ((f"Requests in {DAYS} days", "usage_chart"), ("Routes", "usage_table"))

    shown_only = (
        "shown_prefix",
        "state",
        "role",
        "shown_scopes",
        "previous",
        "created",
        "created_by",
        "rotated_at",
        "revoked_at",
        "last_used_at",
        "last_used_ip",
    )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("tenant", "name", "role", "scopes", "expires_at", "allowed_ips", "rate_per_minute")
        return (
            "name",
            ("shown_prefix", "state"),
            ("role", "shown_scopes"),
            "previous",
            "expires_at",
            "allowed_ips",
            "rate_per_minute",
            ("last_used_at", "last_used_ip"),
            ("created", "created_by"),
            ("rotated_at", "revoked_at"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = super().get_readonly_fields(request, obj)
        return own if obj is None else [*own, *self.shown_only, "scopes"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.revoked_at is None)

    @display(description="Key", ordering="prefix")
    def shown_prefix(self, obj: ApiKey) -> str:
        return f"{obj.prefix}…"

    @display(description="State")
    def state(self, obj: ApiKey) -> SafeString:
        return badge(keys.state_of(obj))

    @display(description="Scopes")
    def shown_scopes(self, obj: ApiKey) -> str:
        return ", ".join(map(str, obj.scopes)) or "all of the role"

    @display(description="Key before")
    def previous(self, obj: ApiKey) -> str:
        if not keys.previous_works(obj):
            return "-"
        return f"{obj.previous_prefix}… works until {moment(obj.previous_until)}"

    # --- use ----------------------------------------------------------------------------------------------------------

    def usage_chart(self, request: HttpRequest, obj: ApiKey) -> SafeString:
        usage = usage_of(obj, DAYS)
        highest = max((line.count for line in usage.days), default=0)
        bars = [_bar(number, line, highest) for number, line in enumerate(usage.days)]
        context = {"bars": bars, "usage": usage, "highest": highest, "width": DAYS * 20}
        return SafeString(render_to_string("admin/hub/usage_chart.html", context))

    def usage_table(self, request: HttpRequest, obj: ApiKey) -> SafeString:
        usage = usage_of(obj, DAYS)
        rows = [(line.name, f"{line.count:,}", f"{line.errors:,}") for line in usage.routes]
        return table(("Route", "Requests", "Answered with an error"), rows, empty="Not used in this time.")

    # --- making and changing ------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not self.may_act(request, obj):
            raise PermissionDenied
        given = form.asked(form.cleaned_data)
        if change:
            keys.change_key(key=obj, grant=OWNER, changes=given)
            return
        made, key = keys.issue_key(tenant=obj.tenant, grant=OWNER, values=given)
        obj.pk = made.pk
        request._hub_key = key  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        value: str = request._hub_key  # type: ignore[attr-defined]
        return self.shown_once(request, obj, title="The new API key", label=obj.name, value=value, hint=HINT)

    def offers(self, request: HttpRequest, obj: ApiKey, button: Button) -> bool:
        if button.name == "rotate":
            return keys.state_of(obj) == "active"
        return obj.revoked_at is None

    def press_rotate(self, request: HttpRequest, obj: ApiKey, data: dict[str, Any]) -> HttpResponse:
        grace = timedelta(seconds=int(data["grace"]))
        row, key = keys.rotate_key(key=obj, grant=OWNER, grace=grace)
        return self.shown_once(request, row, title="The key's new value", label=row.name, value=key, hint=HINT)

    def press_revoke(self, request: HttpRequest, obj: ApiKey) -> str:
        keys.revoke_key(key=obj)
        return f"The key {obj.name} is revoked."


def _bar(number: int, line: Line, highest: int) -> dict[str, Any]:
    """Return where a day's bar stands: 100 high the highest, errors at the foot; what is there can be seen."""
    bad = max(1, round(line.errors * 100 / highest)) if line.errors else 0
    good = max(1, round((line.count - line.errors) * 100 / highest)) if line.count > line.errors else 0
    good = min(good, 100 - bad)
    return {
        "x": number * 20 + 2,
        "line": line,
        "good": 100 - good - bad,
        "good_height": good,
        "bad": 100 - bad,
        "bad_height": bad,
    }
