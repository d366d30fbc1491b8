"""The call log: every exchange with the outside, masked when it was written."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, FieldTextFilter
from unfold.decorators import display

from integrations.adminbase.base import Button
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import badge, block, pretty_json, reference, when
from integrations.models import CallLog
from integrations.runtime.erasing import erase_log

CREATED = when("created", "Created")


@admin.register(CallLog)
class CallLogAdmin(LargeTableAdmin):
    """Read-only: what was sent and answered is evidence. What it said can be erased."""

    order_of_all = ("-created", "-pk")
    served = frozenset({"provider"})
    found_by = ("reference_id", "external_reference", "request_id")
    read = ("operation", "url", "error", "request_body", "response_body")

    list_display = (CREATED, "provider", "operation", "direction", "shown_status", "status_code", "duration", "about")
    list_display_links = (CREATED, "operation")
    list_filter = (
        ProviderFilter,
        ("direction", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("operation", FieldTextFilter),
        ("created", RangeDateTimeFilter),
    )
    search_help_text = "A whole id or reference; else text in operation, URL, bodies or error of the newest"
    buttons = (
        Button(
            "erase",
            "Erase what it says",
            "delete_forever",
            "danger",
            confirm="Headers and bodies are gone for good, the stored request of a webhook too. That it happened stays.",
        ),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("provider", "config"),
                    ("operation", "direction"),
                    ("shown_status", "status_code"),
                    ("duration", "created"),
                    "error",
                    "erased_at",
                )
            },
        ),
        ("About", {"fields": (("about", "external_reference"), ("item", "request_id"), "ip")}),
    )
    readonly_fields = ("shown_status", "duration", "about")
    panels = (
        ("Request", "request_line"),
        ("Request headers", "shown_request_headers"),
        ("Request body", "shown_request_body"),
        ("Response headers", "shown_response_headers"),
        ("Response body", "shown_response_body"),
    )

    @display(description="Status", ordering="status")
    def shown_status(self, obj: CallLog) -> SafeString:
        return badge(obj.status)

    @display(description="Took", ordering="duration_ms")
    def duration(self, obj: CallLog) -> str:
        return "-" if obj.duration_ms is None else f"{obj.duration_ms:,} ms"

    @display(description="About")
    def about(self, obj: CallLog) -> SafeString:
        return reference(obj.reference_type, obj.reference_id)

    def offers(self, request: HttpRequest, obj: CallLog, button: Button) -> bool:
        return obj.erased_at is None

    def press_erase(self, request: HttpRequest, obj: CallLog) -> str:
        erase_log(log_id=obj.pk)
        return "What it said is erased."

    def get_queryset(self, request: HttpRequest) -> QuerySet[CallLog]:
        """Bodies may be long, and are not shown in lists."""
        rows: QuerySet[CallLog] = super().get_queryset(request)
        listed = request.resolver_match is not None and (request.resolver_match.url_name or "").endswith("_changelist")
        return rows.defer("request_body", "response_body", "request_headers", "response_headers") if listed else rows

    def request_line(self, request: HttpRequest, obj: CallLog) -> SafeString:
        return block(f"{obj.method} {obj.url}".strip())

    def shown_request_headers(self, request: HttpRequest, obj: CallLog) -> SafeString:
        return pretty_json(obj.request_headers)

    def shown_request_body(self, request: HttpRequest, obj: CallLog) -> SafeString:
        return pretty_json(obj.request_body)

    def shown_response_headers(self, request: HttpRequest, obj: CallLog) -> SafeString:
        return pretty_json(obj.response_headers)

    def shown_response_body(self, request: HttpRequest, obj: CallLog) -> SafeString:
        return pretty_json(obj.response_body)
