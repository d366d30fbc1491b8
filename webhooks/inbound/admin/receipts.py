"""The inbox: requests that providers and other sources sent us, as they came, with secrets masked."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, FieldTextFilter
from unfold.decorators import display

from integrations.adminbase.base import Button
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import badge, pretty_json, reference, when
from integrations.http.masking import Mask
from integrations.registry import UnknownProvider, get_provider
from integrations.secrets import SecretUnreadable
from webhooks.inbound.erasing import erase_receipt, is_erased
from webhooks.inbound.locate import ENDPOINT, GENERIC
from webhooks.inbound.models import InboundEndpoint, Receipt, ReceiptStatus
from webhooks.inbound.services import reprocess

RECEIVED = when("received_at", "Received")


@admin.register(Receipt)
class ReceiptAdmin(LargeTableAdmin):
    """Read-only; a stored request can be processed once more, and erased. What belongs to no tenant is for the
    operator alone."""

    list_display = (RECEIVED, "source", "purpose", "provider_event_type", "shown_status", "trust", "about", "duplicates")
    list_display_links = (RECEIVED, "purpose")
    list_filter = (
        ProviderFilter,
        ("status", ChoicesDropdownFilter),
        ("purpose", FieldTextFilter),
        ("received_at", RangeDateTimeFilter),
    )
    moment = "received_at"
    order_of_all = ("-received_at", "-pk")
    found_by = ("token_object",)
    read = ("provider_event_type", "token_object", "dedupe_key", "detail")
    search_help_text = (
        "A whole number, or object (payment:pay_...); else text in event type, object, key or detail of the newest"
    )
    buttons = (
        Button("reprocess", "Process again", "replay", "primary"),
        Button(
            "erase",
            "Erase what it says",
            "delete_forever",
            "danger",
            confirm="Query, headers and body are gone for good, with the event or the message that was made of them, and it"
            " can't be processed again. That it came stays.",
        ),
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("source", "config"),
                    ("purpose", "provider_event_type"),
                    ("shown_status", "trust"),
                    ("about", "duplicates"),
                    ("received_at", "processed_at"),
                    ("method", "remote_ip"),
                    "erased_at",
                    "detail",
                )
            },
        ),
    )
    readonly_fields = ("shown_status", "about", "source")
    panels = (("Query", "shown_query"), ("Headers", "shown_headers"), ("Body", "shown_body"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Receipt]:
        """With the name of the generic source, whose id stands behind the kind of the object."""
        named = InboundEndpoint.unscoped.filter(pk=Substr(OuterRef("token_object"), len(ENDPOINT) + 2))
        rows: QuerySet[Receipt] = super().get_queryset(request)
        return rows.annotate(source_name=Subquery(named.values("name")[:1]))

    @display(description="Source", ordering="provider")
    def source(self, obj: Receipt) -> str:
        name: str | None = getattr(obj, "source_name", None)
        return name or "own source" if obj.provider == GENERIC else obj.provider

    @display(description="Status", ordering="status")
    def shown_status(self, obj: Receipt) -> SafeString:
        return badge(obj.status)

    @display(description="About")
    def about(self, obj: Receipt) -> SafeString:
        kind, _, object_id = obj.token_object.partition(":")
        return reference(kind, object_id)

    def shown_query(self, request: HttpRequest, obj: Receipt) -> SafeString:
        return pretty_json(_mask(obj).tree(obj.query))

    def shown_headers(self, request: HttpRequest, obj: Receipt) -> SafeString:
        return pretty_json(_mask(obj).headers(obj.headers))

    def shown_body(self, request: HttpRequest, obj: Receipt) -> SafeString:
        kind = next((value for name, value in obj.headers.items() if name.lower() == "content-type"), "")
        return pretty_json(_mask(obj).body(bytes(obj.body), kind))

    def offers(self, request: HttpRequest, obj: Receipt, button: Button) -> bool:
        if button.name == "erase":
            return obj.status != ReceiptStatus.RECEIVED and not is_erased(obj)
        return obj.tenant_id is not None and obj.status != ReceiptStatus.RECEIVED and not is_erased(obj)

    def press_reprocess(self, request: HttpRequest, obj: Receipt) -> str:
        reprocess(receipt=obj)
        return "It is queued to be processed again; what it reports is applied only once."

    def press_erase(self, request: HttpRequest, obj: Receipt) -> str:
        erase_receipt(receipt=obj)
        return "What it said is erased."


def _mask(obj: Receipt) -> Mask:
    """Return a mask that knows the provider's secret names and the config's secrets, as far as both can be read."""
    keys: set[str] = set()
    secrets: list[str] = []
    try:
        provider = get_provider(obj.provider)
        keys = {*provider.masked_keys, *provider.config.secret_names}
        secrets = [str(value) for value in obj.config.secrets().values() if value] if obj.config else []
    except (UnknownProvider, SecretUnreadable):
        pass
    return Mask(keys=keys, secrets=secrets)
