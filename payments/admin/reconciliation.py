"""Reconciliations: what the gateways' books say against ours, started and explained here, and otherwise read-only."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django_scopes import scope
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSingleDateWidget, UnfoldAdminTextareaWidget

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.render import badge, link, moment, money, one_line, reference, table, when
from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import ProviderError
from integrations.models import Config
from integrations.registry import providers_of
from payments.models import LineKind, ReconciliationLine, ReconciliationRun, RunStatus
from payments.reconciliation import DIFFERENCES, count_kinds, in_words, totals
from payments.services import resolve_line, start_reconciliation

LINES_SHOWN = 100
STARTED = when("started_at", "Started")
OCCURRED = when("occurred_at", "Happened")
_LIKE = {
    LineKind.MATCHED.value: "success",
    LineKind.FEE.value: "",
    LineKind.UNCHECKED.value: "warning",
    **dict.fromkeys([kind.value for kind in DIFFERENCES], "failed"),
}
_COLUMNS = (
    "kind", "transaction_kind", "payment", "provider_ref", "currency", "gateway_amount", "ledger_amount", "fee", "net",
    "settlement_currency", "occurred_at", "detail", "resolved_at", "resolved_by", "resolution",
)  # fmt: skip
_START = Button("reconcile_now", "Reconcile now", "balance", "primary")


class StartForm(forms.Form):
    """Which account, and which days of it."""

    config = forms.ModelChoiceField(queryset=Config.unscoped.none(), widget=UnfoldAdminSelectWidget(), label="Account")
    since = forms.DateField(
        widget=UnfoldAdminSingleDateWidget(), label="First day", help_text="Days are those of the tenant's time zone."
    )
    until = forms.DateField(
        widget=UnfoldAdminSingleDateWidget(), label="Last day", help_text="This day is included; today ends now."
    )


class ResolveForm(forms.Form):
    """Why a difference is all right."""

    reason = forms.CharField(
        max_length=300,
        label="Why it is all right",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It is kept with your name.",
    )


_RANK = Case(
    When(kind__in=DIFFERENCES, resolved_at__isnull=True, then=Value(0)),
    When(kind__in=DIFFERENCES, then=Value(1)),
    When(kind=LineKind.UNCHECKED, then=Value(2)),
    default=Value(3),
    output_field=IntegerField(),
)
"""In front what differs and nobody has explained, then what was explained."""


def differences_first(lines: QuerySet[ReconciliationLine]) -> QuerySet[ReconciliationLine]:
    return lines.order_by(_RANK.asc(), "pk")


def kind_badge(line: ReconciliationLine) -> SafeString:
    """Return what kind of line it is, red while it differs and nobody has explained it."""
    like = "success" if line.resolved_at is not None else _LIKE[line.kind]
    return badge(like or line.kind, line.get_kind_display())


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(TenantScopedAdmin):
    """Runs, by hand and by the daily schedule."""

    related = ("config",)
    actions_list = ("reconcile_now",)
    list_display = (STARTED, "window", "shown_status", "provider", "config", "found", "open_differences", "actor")
    list_display_links = (STARTED, "window")
    list_filter = (ProviderFilter, ("status", ChoicesDropdownFilter), ("since", RangeDateTimeFilter))
    fields = (
        ("window", "shown_status"),
        ("provider", "config"),
        ("found", "open_differences"),
        ("started_at", "finished_at"),
        ("actor", "download"),
        "detail",
    )
    readonly_fields = ("window", "shown_status", "found", "open_differences", "download")
    panels = (("Totals", "totals_table"), ("Lines, differences first", "lines_table"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReconciliationRun]:
        differs = Q(lines__kind__in=DIFFERENCES)
        rows: QuerySet[ReconciliationRun] = super().get_queryset(request)
        return rows.annotate(
            differing=Count("lines", filter=differs),
            unexplained=Count("lines", filter=differs & Q(lines__resolved_at__isnull=True)),
        )

    # --- what is shown ------------------------------------------------------------------------------------------------

    @display(description="Window", ordering="since")
    def window(self, obj: ReconciliationRun) -> SafeString:
        zone = obj.tenant.zone
        since, until = obj.since.astimezone(zone), obj.until.astimezone(zone)
        return one_line(f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M %Z}")

    @display(description="Status", ordering="status")
    def shown_status(self, obj: ReconciliationRun) -> SafeString:
        return badge("processing" if obj.status == RunStatus.RUNNING else obj.status, obj.get_status_display())

    @display(description="Differences", ordering="differing")
    def found(self, obj: Any) -> str:
        return str(obj.differing)

    @display(description="Not explained", ordering="unexplained")
    def open_differences(self, obj: Any) -> SafeString:
        return badge("failed", str(obj.unexplained)) if obj.unexplained else SafeString("0")

    @display(description="All lines")
    def download(self, obj: ReconciliationRun) -> SafeString:
        return link(reverse("admin:payments_reconciliationrun_csv", args=[quote(obj.pk)]), "Download as CSV")

    def totals_table(self, request: HttpRequest, obj: ReconciliationRun) -> SafeString:
        rows = [
            tuple(money(amount, each.currency) for amount in (each.charged, each.refunded, each.disputed, each.fees, each.net))
            for each in totals(obj)
        ]
        headers = ("Charged", "Refunded", "Disputed", "Fees", "Net")
        return table(headers, rows, empty="Nothing moved at the gateway in this window.")

    def lines_table(self, request: HttpRequest, obj: ReconciliationRun) -> SafeString:
        wanted = request.GET.get("kind", "")
        lines = differences_first(obj.lines.filter(kind=wanted) if wanted in LineKind.values else obj.lines.all())
        rows = [
            (
                moment(each.occurred_at),
                link(reverse("admin:payments_reconciliationline_change", args=[each.pk]), each.get_kind_display()),
                kind_badge(each),
                each.transaction_kind,
                one_line(money(each.gateway_amount, each.currency)),
                one_line(money(each.ledger_amount, each.currency)),
                one_line(money(each.fee, each.settlement_currency)),
                reference("payment", each.payment_id or "", request=request),
                each.resolution or each.detail or "-",
            )
            for each in lines[:LINES_SHOWN]
        ]
        headers = ("Happened", "Line", "State", "What", "Gateway", "Ledger", "Fee", "Payment", "Detail")
        return SafeString(self._kinds(obj) + table(headers, rows, empty="None."))

    def _kinds(self, obj: ReconciliationRun) -> SafeString:
        """Return the counts of each kind, each a link to its lines, all of them in the list of lines."""
        counts = count_kinds(obj)
        rows = [
            (link(f"{self.page_of(obj)}?kind={kind.value}", in_words(counts, [kind])), link(_list_of(obj, kind), "All of them"))
            for kind in LineKind
            if counts.get(kind.value)
        ]
        return table(("Found", "List"), rows, empty="No lines.")

    # --- what can be done ---------------------------------------------------------------------------------------------

    @action(description="Reconcile now", icon="balance", permissions=["act"], url_path="reconcile-now")
    def reconcile_now(self, request: HttpRequest) -> HttpResponse:
        """Ask for an account and its days, then start; whoever may act in the account's tenant."""
        last_day = (clock.now() - timedelta(days=1)).date()
        form = StartForm(request.POST if request.method == "POST" else None, initial={"since": last_day, "until": last_day})
        slugs = [provider.slug for provider in providers_of(Capability.PAYMENT.value)]
        field = form.fields["config"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 tells the type checker what is declared above
        field.queryset = self.choices_of(Config, request).filter(provider_id__in=slugs).select_related("tenant", "provider")
        if form.is_bound and form.is_valid():
            run = self._start(request, form)
            if run is not None:
                self.log_addition(request, run, f"Started for {run}.")
                messages.success(request, "Started; this page shows what has come of it so far.")
                return HttpResponseRedirect(self.page_of(run))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _START.label,
            "subtitle": "The gateway's own books are held against the ledger; no money is moved by it.",
            "form": form,
            "button": _START,
            "back": reverse("admin:payments_reconciliationrun_changelist"),
        }
        return TemplateResponse(request, "admin/hub/button_form.html", context)

    @staticmethod
    def _start(request: HttpRequest, form: forms.Form) -> ReconciliationRun | None:
        config: Config = form.cleaned_data["config"]
        zone = config.tenant.zone
        since = datetime.combine(form.cleaned_data["since"], time.min, tzinfo=zone)
        end = datetime.combine(form.cleaned_data["until"] + timedelta(days=1), time.min, tzinfo=zone)
        now = clock.now()
        # Only today is cut short: a later day is a mistake, and told as one.
        until = min(end, now) if end - now <= timedelta(days=1) else end
        with scope(tenant=config.tenant):
            try:
                return start_reconciliation(
                    config=config, since=since, until=until, actor=f"user {request.user.get_username()}"
                )
            except ProviderError as error:
                form.add_error(error.attr if error.attr in form.fields else None, error.message)
        return None

    # --- the lines as a file ------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        name = "payments_reconciliationrun_csv"
        return [path("<path:object_id>/lines.csv", self.admin_site.admin_view(self.lines_csv), name=name), *super().get_urls()]

    def lines_csv(self, request: HttpRequest, object_id: str) -> StreamingHttpResponse:
        run: ReconciliationRun | None = self.get_object(request, unquote(object_id))
        if run is None or not self.may_view(request, run):
            raise Http404("There is no such reconciliation.")
        rows = list(differences_first(run.lines.all()))
        answer = StreamingHttpResponse(_csv(rows), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="reconciliation-{run.pk}.csv"'
        return answer


def _list_of(run: ReconciliationRun, kind: LineKind) -> str:
    page = reverse("admin:payments_reconciliationline_changelist")
    return f"{page}?run__id__exact={run.pk}&kind__exact={kind.value}"


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, value: str) -> str:
        return value


def _csv(lines: list[ReconciliationLine]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS)
    for line in lines:
        values = [line.payment_id if name == "payment" else getattr(line, name) for name in _COLUMNS]
        yield writer.writerow([_cell(value) for value in values])


def _cell(value: Any) -> str | int:
    """Return the value for a spreadsheet. Text that one would take for a formula gets an apostrophe: the gateway, and so a
    payer, has a say in it. Amounts are minor units, times ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, int):
        return value
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") or text[:1] in ("\t", "\r", "\n") else text


@admin.register(ReconciliationLine)
class ReconciliationLineAdmin(TenantScopedAdmin):
    """The lines of all runs; a person says why a difference is all right."""

    related = ("run", "payment")
    list_display = (
        OCCURRED, "kind_text", "transaction_kind", "at_the_gateway", "here", "fee_text", "about", "provider_ref", "explained",
    )  # fmt: skip
    list_display_links = (OCCURRED, "kind_text")
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        "transaction_kind",
        ("occurred_at", RangeDateTimeFilter),
    )
    search_fields = ("provider_ref", "payment__id", "payment__reference_id", "detail")
    search_help_text = "The gateway's id, payment or reference"
    fields = (
        ("kind_text", "transaction_kind"),
        ("at_the_gateway", "here"),
        ("fee_text", "net_text"),
        ("about", "run_link"),
        ("provider_ref", "occurred_at"),
        "detail",
        ("resolved_by", "resolved_at"),
        "resolution",
    )
    readonly_fields = ("kind_text", "at_the_gateway", "here", "fee_text", "net_text", "about", "run_link")
    buttons = (Button("resolve", "Mark resolved", "task_alt", "primary", form=ResolveForm),)

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return (_RANK.asc(), "-pk")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "run__id__exact" or bool(super().lookup_allowed(lookup, value, request))

    @display(description="Line", ordering="kind")
    def kind_text(self, obj: ReconciliationLine) -> SafeString:
        return kind_badge(obj)

    @display(description="At the gateway", ordering="gateway_amount")
    def at_the_gateway(self, obj: ReconciliationLine) -> SafeString:
        return one_line(money(obj.gateway_amount, obj.currency))

    @display(description="In the ledger", ordering="ledger_amount")
    def here(self, obj: ReconciliationLine) -> SafeString:
        return one_line(money(obj.ledger_amount, obj.currency))

    @display(description="Fee", ordering="fee")
    def fee_text(self, obj: ReconciliationLine) -> SafeString:
        return one_line(money(obj.fee, obj.settlement_currency))

    @display(description="Net")
    def net_text(self, obj: ReconciliationLine) -> SafeString:
        return one_line(money(obj.net, obj.settlement_currency))

    @display(description="Payment", ordering="payment")
    def about(self, obj: ReconciliationLine) -> SafeString:
        return reference("payment", obj.payment_id or "")

    @display(description="Reconciliation")
    def run_link(self, obj: ReconciliationLine) -> SafeString:
        return link(reverse("admin:payments_reconciliationrun_change", args=[quote(obj.run_id)]), str(obj.run))

    @display(description="Explained", ordering="resolved_at")
    def explained(self, obj: ReconciliationLine) -> str:
        return f"{obj.resolved_by}: {obj.resolution}" if obj.resolved_at is not None else "-"

    def offers(self, request: HttpRequest, obj: ReconciliationLine, button: Button) -> bool:
        return obj.kind in DIFFERENCES and obj.resolved_at is None

    def press_resolve(self, request: HttpRequest, obj: ReconciliationLine, data: dict[str, Any]) -> str:
        resolve_line(line=obj, reason=data["reason"], actor=f"user {request.user.get_username()}")
        return "Marked as resolved."
