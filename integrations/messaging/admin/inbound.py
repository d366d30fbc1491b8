"""What people wrote to the tenant."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import block, table, when
from integrations.messaging.models import Channel, InboundMessage
from integrations.messaging.selectors import addresses_meant

RECEIVED = when("received_at", "Received")


@admin.register(InboundMessage)
class InboundMessageAdmin(LargeTableAdmin):
    """Read-only: it is answered through the API or the staff pages."""

    list_display = (RECEIVED, "address", "name", "beginning", "channel", "opted", "trusted")
    list_display_links = (RECEIVED, "address")
    list_filter = (
        ProviderFilter,
        ("channel", ChoicesDropdownFilter),
        ("opted", ChoicesDropdownFilter),
        ("received_at", RangeDateTimeFilter),
    )
    moment = "received_at"
    read = ("address", "name", "text", "provider_ref")
    search_help_text = "A whole id, number or address; else parts of them, text, name or provider id of the newest"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_id", "received_at"),
                    ("channel", "opted"),
                    ("provider", "config"),
                    ("address", "name"),
                    ("to", "trusted"),
                    ("provider_ref", "reply_to"),
                )
            },
        ),
    )
    readonly_fields = ("shown_id",)
    panels = (("Text", "shown_text"), ("Files", "shown_media"))

    def wholes(self, word: str) -> list[Q]:
        # All channels by name: they stand before the address in its index.
        return [*super().wholes(word), Q(channel__in=Channel.values, address__in=addresses_meant(word))]

    @display(description="Message", ordering="id")
    def shown_id(self, obj: InboundMessage) -> str:
        return obj.pk

    @display(description="Text")
    def beginning(self, obj: InboundMessage) -> str:
        return obj.text if len(obj.text) <= 60 else f"{obj.text[:60]}…"

    def shown_text(self, request: HttpRequest, obj: InboundMessage) -> SafeString:
        return block(obj.text)

    def shown_media(self, request: HttpRequest, obj: InboundMessage) -> SafeString:
        rows = [(str(index), each.get("type") or "-") for index, each in enumerate(obj.media)]
        return table(("Number", "Type"), rows, empty="None came along.")
