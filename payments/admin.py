"""Payments: what was asked for, what came in, and the whole story of each."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from integrations.adminbase.access import READERS
from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter
from integrations.adminbase.render import badge, link, moment, money, one_line, pretty_json, reference, table, when
from integrations.events import TimelineEntry
from integrations.models import Role
from payments import receipts, services
from payments.models import Payment, Status
from payments.selectors import payment_timeline
from payments.transitions import is_open

CREATED = when("created", "Created")


class AllocateForm(forms.Form):
    """What money is for that came in by itself."""

    reference_type = forms.CharField(
        max_length=40, label="Kind", initial="invoice", widget=UnfoldAdminTextInputWidget(), help_text="For example invoice."
    )
    reference_id = forms.CharField(
        max_length=100, label="Number", widget=UnfoldAdminTextInputWidget(), help_text="For example INV-0042."
    )


class DecideForm(forms.Form):
    """What a person found in the provider's own statement."""

    paid = forms.ChoiceField(
        choices=[("yes", "The money arrived"), ("no", "No money arrived")],
        label="What the provider's statement says",
        widget=UnfoldAdminRadioSelectWidget(),
    )
    receipt = forms.CharField(
        max_length=60, required=False, label="Provider's receipt number", widget=UnfoldAdminTextInputWidget()
    )
    note = forms.CharField(
        max_length=250,
        label="On what grounds",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It goes into the payment's ledger with your name.",
    )


@admin.register(Payment)
class PaymentAdmin(TenantScopedAdmin):
    """Read-only, for staff too. Money moves by the services behind the buttons, and only admins press them."""

    viewers = READERS | {Role.STAFF}
    list_display = (CREATED, "amount_text", "shown_status", "payer", "about", "receipt", "provider")
    list_display_links = (CREATED, "amount_text")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ProviderFilter,
        ("origin", ChoicesDropdownFilter),
        ("allocated", BooleanRadioFilter),
        ("created", RangeDateTimeFilter),
    )
    search_fields = (
        "id",
        "reference_id",
        "account_number",
        "receipt",
        "receipt_number",
        "provider_ref",
        "phone",
        "payer_name",
    )
    search_help_text = "Reference, receipt, phone, payer or an id"
    buttons = (
        Button("sync", "Ask the provider now", "sync", "primary"),
        Button("allocate", "Allocate", "assignment_turned_in", "primary", form=AllocateForm),
        Button("decide", "Decide by hand", "gavel", form=DecideForm),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("amount_text", "shown_status"),
                    ("payer", "about"),
                    ("provider", "config"),
                    ("receipt", "receipt_number"),
                    ("captured", "refunded"),
                    ("reported", "failure_text"),
                    ("account_number", "origin"),
                    ("created", "completed_at"),
                    ("description", "receipt_links"),
                    "shown_id",
                    "provider_ref",
                )
            },
        ),
    )
    readonly_fields = (
        "amount_text",
        "shown_status",
        "payer",
        "about",
        "captured",
        "refunded",
        "reported",
        "failure_text",
        "receipt_links",
        "shown_id",
    )
    panels = (
        ("Timeline", "timeline"),
        ("Operations", "operations_table"),
        ("Ledger", "ledger_table"),
        ("Metadata", "shown_metadata"),
    )

    # --- what is shown ------------------------------------------------------------------------------------------------

    @display(description="Payment", ordering="id")
    def shown_id(self, obj: Payment) -> str:
        return obj.pk

    @display(description="Amount", ordering="amount")
    def amount_text(self, obj: Payment) -> SafeString:
        return one_line(money(obj.amount, obj.currency))

    @display(description="Status", ordering="status")
    def shown_status(self, obj: Payment) -> SafeString:
        return badge(obj.status)

    @display(description="Payer", ordering="phone")
    def payer(self, obj: Payment) -> str:
        return " ".join(filter(None, [obj.payer_name, obj.phone])) or "-"

    @display(description="For", ordering="reference_id")
    def about(self, obj: Payment) -> SafeString:
        if not obj.allocated:
            return badge("warning", "unallocated")
        return one_line(f"{obj.reference_type} {obj.reference_id}".strip() or "-")

    @display(description="Received")
    def captured(self, obj: Payment) -> str:
        return money(obj.amount_captured, obj.currency)

    @display(description="Refunded")
    def refunded(self, obj: Payment) -> str:
        return money(obj.amount_refunded, obj.currency)

    @display(description="The provider says")
    def reported(self, obj: Payment) -> str:
        return money(obj.reported_amount, obj.reported_currency)

    @display(description="Failure")
    def failure_text(self, obj: Payment) -> str:
        if not obj.failure:
            return "-"
        return f"{obj.failure.get('message', '')} ({obj.failure.get('code', '')})"

    @display(description="Receipt to print")
    def receipt_links(self, obj: Payment) -> SafeString | str:
        if obj.status != Status.SUCCEEDED:
            return "-"
        html, pdf = (reverse(f"admin:payments_payment_receipt_{kind}", args=[quote(obj.pk)]) for kind in ("html", "pdf"))
        return format_html("{} · {}", link(html, "Page"), link(pdf, "PDF"))

    def timeline(self, request: HttpRequest, obj: Payment) -> SafeString:
        rows = [
            (
                moment(entry.at),
                entry.kind,
                entry.text,
                badge(entry.status),
                one_line(f"{entry.duration_ms:,} ms") if entry.duration_ms is not None else "",
                "" if entry.object_type == "payment" else _details(request, entry),
            )
            for entry in payment_timeline(obj)
        ]
        return table(("When", "Kind", "What", "Status", "Took", "Details"), rows)

    def operations_table(self, request: HttpRequest, obj: Payment) -> SafeString:
        rows = [
            (
                moment(each.created),
                each.kind,
                money(each.amount, obj.currency),
                badge(each.status),
                each.receipt or each.provider_ref or "-",
                each.reason or (each.failure or {}).get("message", "") or "-",
            )
            for each in obj.operations.order_by("created")
        ]
        return table(("Created", "Kind", "Amount", "Status", "Provider's id", "Why"), rows)

    def ledger_table(self, request: HttpRequest, obj: Payment) -> SafeString:
        rows = [
            (
                moment(each.at),
                f"{each.from_status} → {each.to_status}" if each.from_status else each.to_status,
                one_line(money(each.amount, obj.currency)),
                one_line(money(each.amount_captured, obj.currency)),
                one_line(money(each.amount_refunded, obj.currency)),
                each.reason,
                each.actor,
            )
            for each in obj.ledger.order_by("id")
        ]
        return table(("When", "Change", "Amount", "Received", "Refunded", "Reason", "By"), rows)

    def shown_metadata(self, request: HttpRequest, obj: Payment) -> SafeString:
        return pretty_json(obj.metadata)

    # --- receipts -----------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<path:object_id>/receipt.{kind}",
                self.admin_site.admin_view(view),
                name=f"payments_payment_receipt_{kind}",
            )
            for kind, view in (("html", self.receipt_html), ("pdf", self.receipt_pdf))
        ]
        return [*own, *super().get_urls()]

    def receipt_html(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponse(receipts.render_receipt_html(self._paid(request, object_id)))

    def receipt_pdf(self, request: HttpRequest, object_id: str) -> HttpResponse:
        payment = self._paid(request, object_id)
        answer = HttpResponse(receipts.render_receipt_pdf(payment), content_type="application/pdf")
        answer["Content-Disposition"] = f'inline; filename="receipt-{payment.receipt_number or payment.pk}.pdf"'
        return answer

    def _paid(self, request: HttpRequest, object_id: str) -> Payment:
        payment: Payment | None = self.get_object(request, unquote(object_id))
        if payment is None or payment.status != Status.SUCCEEDED:
            raise Http404("There is no receipt for this.")
        return payment

    # --- what can be done ---------------------------------------------------------------------------------------------

    def offers(self, request: HttpRequest, obj: Payment, button: Button) -> bool:
        match button.name:
            case "sync":
                return is_open(obj.status)
            case "allocate":
                return not obj.allocated
            case _:
                return obj.status in (Status.NEEDS_REVIEW, Status.CONFLICTED, Status.UNKNOWN)

    def press_sync(self, request: HttpRequest, obj: Payment) -> str:
        found = services.sync_payment(payment=obj, actor=_actor(request))
        return f"The provider was asked: the payment is {found.get_status_display().lower()}."

    def press_allocate(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> str:
        services.allocate_payment(
            tenant=obj.tenant,
            payment_id=obj.pk,
            reference_type=data["reference_type"],
            reference_id=data["reference_id"],
            actor=_actor(request),
        )
        return f"Allocated to {data['reference_type']} {data['reference_id']}."

    def press_decide(self, request: HttpRequest, obj: Payment, data: dict[str, Any]) -> str:
        found = services.resolve_payment(
            tenant=obj.tenant,
            payment_id=obj.pk,
            paid=data["paid"] == "yes",
            receipt=data["receipt"],
            note=data["note"],
            actor=_actor(request),
        )
        return f"Decided: the payment is {found.get_status_display().lower()}."


def _details(request: HttpRequest, entry: TimelineEntry) -> SafeString:
    return reference(entry.object_type, entry.object_id, request=request, short=True)


def _actor(request: HttpRequest) -> str:
    return f"user {request.user.get_username()}"
