"""Payments: what was asked for, what came in, and the whole story of each."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.access import READERS
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.render import badge, link, moment, money, one_line, pretty_json, reference, table, when
from integrations.events import TimelineEntry
from integrations.models import Role
from integrations.runtime.mailer import is_set_up
from payments import receipts
from payments.admin.buttons import PaymentButtons
from payments.admin.disputes import dispute_badge
from payments.models import Payment, Status
from payments.selectors import payment_timeline

CREATED = when("created", "Created")


@admin.register(Payment)
class PaymentAdmin(PaymentButtons):
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
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("amount_text", "shown_status"),
                    ("payer", "about"),
                    ("provider", "config"),
                    ("receipt", "receipt_number"),
                    ("held", "released"),
                    ("captured", "refunded"),
                    ("disputed", "fee"),
                    ("paid_with", "expires_at"),
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
        "held",
        "released",
        "captured",
        "refunded",
        "disputed",
        "fee",
        "paid_with",
        "reported",
        "failure_text",
        "receipt_links",
        "shown_id",
    )
    panels = (
        ("Timeline", "timeline"),
        ("Operations", "operations_table"),
        ("Disputes", "disputes_table"),
        ("Receipts sent", "receipts_table"),
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

    @display(description="Held, to be captured")
    def held(self, obj: Payment) -> str:
        return money(obj.amount_capturable, obj.currency)

    @display(description="Released")
    def released(self, obj: Payment) -> str:
        return money(obj.amount_voided, obj.currency)

    @display(description="Disputed")
    def disputed(self, obj: Payment) -> str:
        return money(obj.amount_disputed, obj.currency)

    @display(description="Gateway's fee")
    def fee(self, obj: Payment) -> str:
        return money(obj.fee_amount, obj.fee_currency)

    @display(description="Paid with")
    def paid_with(self, obj: Payment) -> str:
        return " · ".join(filter(None, [obj.method_type.replace("_", " "), obj.method_name, obj.method_detail])) or "-"

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
                each.provider or obj.provider,
                each.get_origin_display(),
                each.receipt or each.provider_ref or "-",
                each.reason or (each.failure or {}).get("message", "") or "-",
            )
            for each in obj.operations.order_by("created")
        ]
        return table(("Created", "Kind", "Amount", "Status", "Gateway", "Origin", "Provider's id", "Why"), rows)

    def disputes_table(self, request: HttpRequest, obj: Payment) -> SafeString:
        rows = [
            (
                moment(each.created),
                money(each.amount, each.currency),
                dispute_badge(each),
                "yes" if each.withdrawn else "no",
                moment(each.respond_by),
                each.reason or "-",
                each.provider_ref,
            )
            for each in obj.disputes.order_by("created")
        ]
        headers = ("Created", "Amount", "Status", "Money withdrawn", "Answer by", "Why", "Provider's id")
        return table(headers, rows, empty="None.")

    def receipts_table(self, request: HttpRequest, obj: Payment) -> SafeString:
        rows = [
            (
                moment(each.created),
                each.get_channel_display(),
                each.to,
                badge(each.state),
                each.get_reason_display(),
                each.detail or "-",
                each.actor,
                moment(each.finished),
            )
            for each in obj.receipt_deliveries.order_by("created", "pk")
        ]
        shown = table(("Queued", "By", "To", "Status", "Why", "Answer", "Asked for by", "Ended"), rows)
        if is_set_up():
            return shown
        return format_html('<p class="mb-3">{}</p>{}', "No mail server is set up: no receipts go out by e-mail.", shown)

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


def _details(request: HttpRequest, entry: TimelineEntry) -> SafeString:
    return reference(entry.object_type, entry.object_id, request=request, short=True)
