"""Disputes: read-only, since they are answered at the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.render import badge, money, one_line, reference, when
from payments.models import Dispute, DisputeStatus

_LIKE: Mapping[str, str] = {
    DisputeStatus.INQUIRY: "warning",
    DisputeStatus.NEEDS_RESPONSE: "critical",
    DisputeStatus.UNDER_REVIEW: "pending",
    DisputeStatus.WON: "success",
    DisputeStatus.LOST: "failed",
}
"""Dispute's status -> the state that has its colour."""

CREATED = when("created", "Created")


def dispute_badge(dispute: Dispute) -> SafeString:
    """Return the status, coloured by whether somebody must do something."""
    return badge(_LIKE.get(dispute.status, dispute.status), dispute.get_status_display())


@admin.register(Dispute)
class DisputeAdmin(TenantScopedAdmin):
    """What payers' banks question, as the gateways have it."""

    list_display = (CREATED, "amount_text", "shown_status", when("respond_by", "Answer by"), "withdrawn", "about", "provider")
    list_display_links = (CREATED, "amount_text")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ProviderFilter,
        ("withdrawn", BooleanRadioFilter),
        ("created", RangeDateTimeFilter),
    )
    search_fields = ("id", "provider_ref", "payment__id", "payment__reference_id")
    search_help_text = "Id, the gateway's id, payment or reference"
    fields = (
        ("amount_text", "shown_status"),
        ("about", "provider"),
        ("reason", "withdrawn"),
        ("respond_by", "provider_ref"),
        ("created", "updated"),
    )
    readonly_fields = ("amount_text", "shown_status", "about")

    @display(description="Amount", ordering="amount")
    def amount_text(self, obj: Dispute) -> SafeString:
        return one_line(money(obj.amount, obj.currency))

    @display(description="Status", ordering="status")
    def shown_status(self, obj: Dispute) -> SafeString:
        return dispute_badge(obj)

    @display(description="Payment", ordering="payment")
    def about(self, obj: Dispute) -> SafeString:
        return reference("payment", obj.payment_id)
