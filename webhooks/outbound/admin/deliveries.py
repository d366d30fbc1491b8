"""Deliveries and their attempts: what is owed to whom, how each try went, and sending again."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_scopes import scope
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter, FieldTextFilter
from unfold.decorators import action, display

from integrations.adminbase.access import READERS, tenants_with_role
from integrations.adminbase.base import Button
from integrations.adminbase.filters import RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import badge, block, moment, one_line, pretty_json, reference, table, when
from integrations.models import Tenant
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint
from webhooks.outbound.publishing.formats import render
from webhooks.outbound.recovery import dead_letters
from webhooks.outbound.recovery.resending import retry_delivery, send_again

CREATED = when("created", "Created")
ENDPOINTS_OFFERED = 200
ACTED_ON_AT_ONCE = 500


class EndpointFilter(DropdownFilter):
    """Offers the endpoints that the person may see, deleted ones last."""

    title = "endpoint"
    parameter_name = "endpoint"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        rows = Endpoint.unscoped.select_related("tenant").order_by("-is_active", "name", "id")
        mine = tenants_with_role(request, READERS)
        rows = rows if mine is None else rows.filter(tenant_id__in=mine)
        several = mine is None or len(mine) > 1
        return [(each.pk, f"{each} ({each.tenant})" if several else str(each)) for each in rows[:ENDPOINTS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(endpoint_id=self.value()) if self.value() else queryset


@admin.register(Delivery)
class DeliveryAdmin(LargeTableAdmin):
    """One event owed to one endpoint, with each try; any may be sent once more."""

    list_display = (
        CREATED,
        "shown_type",
        "shown_endpoint",
        "shown_state",
        "shown_reason",
        "attempts",
        "last_status",
        when("due_at", "Due"),
    )
    list_display_links = (CREATED, "shown_type")
    list_filter = (
        EndpointFilter,
        ("state", ChoicesDropdownFilter),
        ("dead_reason", ChoicesDropdownFilter),
        ("event__type", FieldTextFilter),
        ("created", RangeDateTimeFilter),
    )
    found_by = ("event_id", "event__object_id")
    read = ("event__type", "last_error")
    search_help_text = "A whole id of a delivery, an event or what it is about; else text in event type or error of the newest"
    related = ("event", "endpoint")
    actions = ("retry_selected", "discard_selected")
    buttons = (Button("retry", "Send again", "replay", "primary"),)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_type", "shown_state"),
                    ("shown_endpoint", "about"),
                    ("attempts", "attempts_allowed"),
                    ("due_at", "expires_at"),
                    ("delivered_at", "finished_at"),
                    ("last_status", "shown_reason"),
                    "last_error",
                    ("shown_carrier", "created"),
                )
            },
        ),
    )
    readonly_fields = ("shown_type", "shown_endpoint", "shown_state", "shown_reason", "shown_carrier", "about")
    panels = (("Attempts", "tries_table"), ("Goes out together with", "passengers_table"), ("Body", "shown_payload"))

    @display(description="Event type", ordering="event__type")
    def shown_type(self, obj: Delivery) -> str:
        return obj.event.type

    @display(description="Endpoint", ordering="endpoint__name")
    def shown_endpoint(self, obj: Delivery) -> str:
        return str(obj.endpoint)

    @display(description="State", ordering="state")
    def shown_state(self, obj: Delivery) -> SafeString:
        return badge(obj.state)

    @display(description="Dead because", ordering="dead_reason")
    def shown_reason(self, obj: Delivery) -> str:
        return obj.get_dead_reason_display() or "-"

    @display(description="Sent within the batch of")
    def shown_carrier(self, obj: Delivery) -> SafeString:
        return reference("delivery", obj.carrier_id or "")

    @display(description="About")
    def about(self, obj: Delivery) -> SafeString:
        return reference(obj.event.object_type, obj.event.object_id)

    # --- the order: of an endpoint an index has the ids, which are in the order of time ---------------------------------

    def _by_id(self, request: HttpRequest) -> bool:
        timed = {f"created_{end}_{part}" for end in ("from", "to") for part in (0, 1)}
        return bool(request.GET.get("endpoint")) and not any(request.GET.get(name) for name in timed)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-pk",) if self._by_id(request) else super().get_ordering(request)

    def served_by(self, request: HttpRequest) -> frozenset[str]:
        if self._by_id(request):
            return frozenset({"tenant", "endpoint"})
        failed = self.is_narrow(request) and request.GET.get("state__exact") == DeliveryState.FAILED
        return super().served_by(request) | ({"state__exact"} if failed else set())

    # --- panels -------------------------------------------------------------------------------------------------------

    def panels_for(self, request: HttpRequest, obj: Any) -> list[tuple[str, Any]]:
        """A panel that says nothing about this delivery is left out."""
        return [(title, content) for title, content in super().panels_for(request, obj) if content]

    def tries_table(self, request: HttpRequest, obj: Delivery) -> SafeString:
        rows = [
            (
                each.number,
                moment(each.started_at),
                _milliseconds(each.lag_ms),
                each.status_code or "-",
                _milliseconds(each.duration_ms),
                each.error_class or badge("delivered"),
                each.error or "-",
                each.address or "-",
                _exchange(each),
            )
            for each in obj.tries.order_by("number")
        ]
        headers = ("#", "Started", "Late by", "Status", "Took", "Result", "Error", "Address", "Exchange")
        return table(headers, rows, empty="Not tried yet.")

    def passengers_table(self, request: HttpRequest, obj: Delivery) -> SafeString:
        rows = [
            (reference("delivery", each.pk), each.event.type, badge(each.state))
            for each in Delivery.objects.filter(carrier=obj).select_related("event").order_by("position")
        ]
        return table(("Delivery", "Type", "State"), rows) if rows else SafeString("")

    def shown_payload(self, request: HttpRequest, obj: Delivery) -> SafeString:
        if not obj.event.payload:
            return badge("expired", "erased" if obj.event.erased_at else "no longer kept")
        return pretty_json(render(obj.event.payload, obj.endpoint.payload_format))

    # --- what a person may do -----------------------------------------------------------------------------------------

    def offers(self, request: HttpRequest, obj: Delivery, button: Button) -> bool:
        return obj.state not in (DeliveryState.HELD, DeliveryState.BATCHED)

    def press_retry(self, request: HttpRequest, obj: Delivery) -> str:
        retry_delivery(endpoint=obj.endpoint, delivery_id=obj.pk)
        return "It is due now and will be sent at once."

    @action(description="Send selected deliveries again", permissions=["act"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = 0
        for tenant, ids in self._by_tenant(request, queryset).items():
            with scope(tenant=tenant):
                done = send_again(ids)
            count += len(done.queued)
            self._tell_refused(request, done.refused)
        self.message_user(request, f"{count} {'delivery is' if count == 1 else 'deliveries are'} due now.", messages.SUCCESS)

    @action(description="Discard selected deliveries", permissions=["act"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = 0
        for tenant, ids in self._by_tenant(request, queryset).items():
            with scope(tenant=tenant):
                handled = dead_letters.discard(ids=ids)
            count += handled.done
            self._tell_refused(request, handled.refused)
        self.message_user(request, f"{count} {'delivery is' if count == 1 else 'deliveries are'} discarded.", messages.SUCCESS)

    def _by_tenant(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> dict[Tenant, list[str]]:
        found: dict[Tenant, list[str]] = defaultdict(list)
        for delivery in queryset[:ACTED_ON_AT_ONCE]:
            if self.may_act(request, delivery):
                found[delivery.tenant].append(delivery.pk)
        return found

    def _tell_refused(self, request: HttpRequest, refused: dict[str, str]) -> None:
        for pk, why in refused.items():
            self.message_user(request, f"{pk}: {why}", messages.ERROR)


def _milliseconds(value: int | None) -> SafeString:
    return one_line(f"{value:,} ms" if value is not None else "-")


def _exchange(attempt: DeliveryAttempt) -> SafeString:
    """Return both sides' headers and the answer's first bytes, folded."""
    parts: list[tuple[str, SafeString]] = [
        (title, pretty_json(headers))
        for title, headers in (("Sent headers", attempt.request_headers), ("Answered headers", attempt.response_headers))
        if headers
    ]
    if attempt.response_head:
        parts.append(("Answer", block(attempt.response_head)))
    if not parts:
        return SafeString("-")
    inner = format_html_join("", "<p>{}</p>{}", parts)
    return format_html('<details class="hub-fold"><summary>Show</summary>{}</details>', inner)
