"""Stored payers: the cards and accounts that gateways keep for a tenant, and how storing them went."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.render import badge, reference, when
from payments.models import PayerMethod, SetupIntent
from payments.services.setup import forget_method

CREATED = when("created", "Created")


@admin.register(PayerMethod)
class PayerMethodAdmin(TenantScopedAdmin):
    """What charges the payer stays sealed: nobody sees it here."""

    list_display = (CREATED, "shown", "customer_id", "method_type", "expires", "is_active", "provider")
    list_display_links = (CREATED, "shown")
    list_filter = (("is_active", BooleanRadioFilter), ProviderFilter, ("created", RangeDateTimeFilter))
    search_fields = ("id", "customer_id", "customer_ref", "last4", "payer")
    search_help_text = "Id, your customer's id, the gateway's customer, last four digits or payer"
    fields = (
        ("shown", "method_type", "expires"),
        ("customer_id", "payer"),
        ("provider", "config", "customer_ref"),
        ("is_active", "removed_at"),
        ("id", "created"),
    )
    readonly_fields = ("shown",)
    buttons = (
        Button(
            "forget",
            "Remove",
            "delete",
            "danger",
            "Remove this stored method? It can't be charged any more, and the gateway is told to forget it.",
        ),
    )

    @display(description="Method", ordering="brand")
    def shown(self, obj: PayerMethod) -> str:
        return f"{obj.brand or obj.method_type} •••• {obj.last4}" if obj.last4 else obj.payer or str(obj)

    def offers(self, request: HttpRequest, obj: PayerMethod, button: Button) -> bool:
        return obj.is_active

    def press_forget(self, request: HttpRequest, obj: PayerMethod) -> str:
        forget_method(method_id=obj.pk)
        return "Removed: it can't be charged any more."


@admin.register(SetupIntent)
class SetupIntentAdmin(TenantScopedAdmin):
    """Each wish to store a payer, and what came of it."""

    list_display = (CREATED, "id", "shown_status", "method_type", "stored", "provider")
    list_display_links = (CREATED, "id")
    list_filter = (("status", ChoicesDropdownFilter), ProviderFilter, ("created", RangeDateTimeFilter))
    search_fields = ("id", "provider_ref", "customer_ref")
    search_help_text = "Id, the gateway's id or its customer"
    fields = (
        ("id", "shown_status"),
        ("method_type", "stored"),
        ("provider", "config", "provider_ref"),
        ("customer", "customer_ref"),
        "failure",
        ("not_after", "created", "updated"),
    )
    readonly_fields = ("shown_status", "stored")

    @display(description="Status", ordering="status")
    def shown_status(self, obj: SetupIntent) -> SafeString:
        return badge(obj.status, obj.get_status_display())

    @display(description="Stored method", ordering="payer_method")
    def stored(self, obj: SetupIntent) -> SafeString | str:
        return reference("payer_method", obj.payer_method_id) if obj.payer_method_id else "-"
