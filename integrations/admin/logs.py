"""The call log: every exchange with the outside, masked when it was written."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, FieldTextFilter, RangeDateTimeFilter
from unfold.decorators import display

from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter
from integrations.adminbase.render import badge, block, pretty_json, reference, when
from integrations.models import CallLog

CREATED = when("created", "Created")


@admin.register(CallLog)
class CallLogAdmin(TenantScopedAdmin):
    """Read-only: what was sent and answered is evidence."""

    list_display = (CREATED, "provider", "operation", "direction", "shown_status", "status_code", "duration", "about")
    list_display_links = (CREATED, "operation")
    list_filter = (
        ProviderFilter,
        ("direction", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("operation", FieldTextFilter),
        ("created", RangeDateTimeFilter),
    )
    search_fields = (
        "operation",
        "url",
        "reference_id",
        "external_reference",
        "request_id",
        "request_body",
        "response_body",
        "error",
    )
    search_help_text = "Text in operation, URL, bodies, error, or one of the ids"
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
