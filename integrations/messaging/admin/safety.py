"""Who is not written to, what recipients want, and the tenant's rules for each channel."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.adminbase.base import Button, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import when
from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.messaging.models import BalanceReading, MessageCategory, Preference, SendingPolicy, Suppression
from integrations.messaging.safety.screening import listing, normalised, release
from integrations.models import Tenant

CREATED = when("created", "Created")


class AddressForm(TenantOwnedForm):
    """Reads an address as its channel writes it, numbers as those of the tenant's country."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        channel, address, tenant = cleaned.get("channel"), cleaned.get("address"), self._tenant(cleaned)
        if channel and address and tenant is not None:
            try:
                cleaned["address"] = normalised(channel, address, country=tenant.country)
            except InvalidRequest as error:
                self.add_error("address", error.message)
        return cleaned

    def _tenant(self, cleaned: dict[str, Any]) -> Tenant | None:
        given: Tenant | None = cleaned.get("tenant")
        return given or Tenant.objects.filter(pk=self.instance.tenant_id).first()


class SuppressionForm(AddressForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        tenant = self._tenant(cleaned)
        if tenant is not None and not self.errors and listing(tenant.pk, cleaned["channel"], cleaned["address"]) is not None:
            self.add_error("address", "This address is on the list already.")
        return cleaned


class ReleaseForm(forms.Form):
    reason = forms.CharField(
        max_length=200, label="Why it is written to again", widget=UnfoldAdminTextInputWidget, help_text="Kept with the entry."
    )


@admin.register(Suppression)
class SuppressionAdmin(TenantScopedAdmin):
    """Addresses that are not written to any more; an admin may add one, and release one when its owner agrees again."""

    can_add = True
    form = SuppressionForm
    list_display = ("address", "channel", "reason", "source", CREATED, when("released_at", "Released"))
    list_filter = (("channel", ChoicesDropdownFilter), ("reason", ChoicesDropdownFilter))
    search_fields = ("address", "detail")
    readonly_fields = ("source", "created", "released_at", "released_by", "release_reason")
    buttons = (Button("release", "Release", icon="lock_open", form=ReleaseForm),)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ("channel", "address", "reason", "detail")
        return (*own, *self.readonly_fields) if obj is not None else ("tenant", *own)

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        obj.source = f"admin {request.user.get_username()}"[:50]
        super().save_model(request, obj, form, change)

    def offers(self, request: HttpRequest, obj: Suppression, button: Button) -> bool:
        return obj.released_at is None

    def press_release(self, request: HttpRequest, obj: Suppression, data: dict[str, Any]) -> str:
        release(obj, by=f"user {request.user.get_username()}", reason=data["reason"])
        return f"{obj.address} is written to again."


@admin.register(Preference)
class PreferenceAdmin(TenantScopedAdmin):
    """What owners of addresses want. The narrower one counts; critical messages go out all the same."""

    can_add = can_change = True
    form = AddressForm
    list_display = ("address", "channel", "category", "allowed", "source", when("updated", "Said"))
    list_filter = (("channel", ChoicesDropdownFilter), "allowed")
    search_fields = ("address", "category")
    fields = ("tenant", "channel", "address", "category", "allowed")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else [*fixed, "channel", "address", "category"]

    def save_model(self, request: HttpRequest, obj: Preference, form: Any, change: bool) -> None:
        obj.source, obj.updated = f"admin {request.user.get_username()}"[:50], clock.now()
        super().save_model(request, obj, form, change)


@admin.register(MessageCategory)
class MessageCategoryAdmin(TenantScopedAdmin):
    """Kinds of messages. Ones that no row describes are ordinary, except those that come with the hub."""

    can_add = can_change = can_delete = True
    list_display = ("name", "label", "is_critical", "can_unsubscribe", "priority")
    search_fields = ("name", "label")
    fields = ("tenant", ("name", "label"), ("is_critical", "can_unsubscribe"), "priority")


@admin.register(SendingPolicy)
class SendingPolicyAdmin(TenantScopedAdmin):
    """Quiet hours, prices and caps of a channel."""

    can_add = can_change = can_delete = True
    list_display = ("channel", "quiet_hours", "unit_cost", "currency", "spend_cap", "spend_period", "low_balance")
    list_filter = (("channel", ChoicesDropdownFilter),)
    fields = (
        "tenant",
        "channel",
        ("quiet_from", "quiet_until"),
        ("unit_cost", "currency"),
        ("spend_cap", "spend_period"),
        "low_balance",
    )

    @display(description="Quiet hours")
    def quiet_hours(self, obj: SendingPolicy) -> str:
        if obj.quiet_from is None or obj.quiet_until is None:
            return "-"
        return f"{obj.quiet_from:%H:%M}-{obj.quiet_until:%H:%M}"


@admin.register(BalanceReading)
class BalanceReadingAdmin(TenantScopedAdmin):
    """What the accounts had left when last asked; asked every hour."""

    related = ("config",)
    list_display = ("config", "channel", "amount", "currency", "unit", when("at", "Asked"))
    list_filter = (("channel", ChoicesDropdownFilter),)
    fields = (("config", "channel"), ("amount", "currency", "unit"), "at")
