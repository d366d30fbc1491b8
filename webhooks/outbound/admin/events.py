"""Events: facts that were published, and to whom they are owed."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.decorators import display

from integrations.adminbase.base import Button
from integrations.adminbase.filters import RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import badge, pretty_json, reference, table, when
from webhooks.outbound.models import Delivery, Event
from webhooks.outbound.publishing.erasing import erase_payload

CREATED = when("created", "Created")


@admin.register(Event)
class EventAdmin(LargeTableAdmin):
    """Facts that were published; the payload is the very text that is sent."""

    list_display = (CREATED, "type", "shown_id", "about")
    list_display_links = (CREATED, "type")
    list_filter = (("type", FieldTextFilter), ("created", RangeDateTimeFilter))
    found_by = ("object_id",)
    read = ("type", "key")
    search_help_text = "A whole id of an event or what it is about; else text in type or key of the newest"
    fieldsets = ((None, {"fields": (("type", "shown_id"), ("about", "created"), "key", ("shown_channels", "shown_version"))}),)
    readonly_fields = ("shown_id", "about", "shown_channels", "shown_version")
    buttons = (
        Button(
            "erase",
            "Erase the payload",
            "delete_forever",
            "danger",
            confirm="What it says is gone for good, and what is owed of it is not sent. That it happened stays.",
        ),
    )
    panels = (("Deliveries", "deliveries_table"), ("Payload", "shown_payload"))

    @display(description="Event", ordering="id")
    def shown_id(self, obj: Event) -> str:
        return str(obj.pk)

    @display(description="About")
    def about(self, obj: Event) -> SafeString:
        return reference(obj.object_type, obj.object_id)

    @display(description="Channels")
    def shown_channels(self, obj: Event) -> str:
        return ", ".join(map(str, obj.channels)) or "-"

    @display(description="Version of its type")
    def shown_version(self, obj: Event) -> int:
        return obj.type_version

    def offers(self, request: HttpRequest, obj: Event, button: Button) -> bool:
        return obj.erased_at is None

    def press_erase(self, request: HttpRequest, obj: Event) -> str:
        erase_payload(event_id=obj.pk)
        return "The payload is erased."

    def shown_payload(self, request: HttpRequest, obj: Event) -> SafeString:
        if obj.erased_at is not None:
            return badge("erased", f"erased on {obj.erased_at:%Y-%m-%d}")
        return pretty_json(obj.payload) if obj.payload else badge("expired", "no longer kept")

    def deliveries_table(self, request: HttpRequest, obj: Event) -> SafeString:
        found = Delivery.objects.filter(event=obj).select_related("endpoint")
        rows = [
            (str(each.endpoint), reference("delivery", each.pk), badge(each.state), each.attempts, each.last_error or "-")
            for each in found
        ]
        empty = "Nobody subscribes to it." if obj.spread_at else "Its deliveries are being made."
        return table(("Endpoint", "Delivery", "State", "Attempts", "Last error"), rows, empty=empty)
