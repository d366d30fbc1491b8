"""Messages and what became of them; templates; delivery reports that nobody could place."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase import large
from integrations.adminbase.access import READERS, tenants_with_role
from integrations.adminbase.base import TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter, RangeDateTimeFilter
from integrations.adminbase.large import LargeTableAdmin
from integrations.adminbase.render import badge, block, moment, pretty_json, reference, table, when
from integrations.contracts import clock
from integrations.messaging.admin.settling import SettleButton
from integrations.messaging.admin.template_test import TryTemplateMixin
from integrations.messaging.models import Message, MessageEvent, MessageTemplate, Recipient, UnmatchedReport
from integrations.messaging.selectors import addresses_meant, count_states, overall_status
from integrations.messaging.transitions import shown_address
from integrations.models import Role, Tenant

RECIPIENTS_SHOWN = 200
CREATED = when("created", "Created")


@admin.register(Message)
class MessageAdmin(SettleButton, LargeTableAdmin):
    """Read-only, for staff too: a message is sent through the API or by an event, never edited."""

    viewers = READERS | {Role.STAFF}
    list_display = (CREATED, "status", "recipient_count", "beginning", "provider", "category", "about")
    list_display_links = (CREATED, "beginning")
    list_filter = (ProviderFilter, ("channel", ChoicesDropdownFilter), ("created", RangeDateTimeFilter))
    found_by = ("reference_id",)
    read = ("subject", "body")
    search_help_text = "A whole number, address, reference or id; else text in subject or body of the newest"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_id", "status"),
                    ("channel", "provider"),
                    ("sender", "config"),
                    ("segments", "encoding"),
                    ("about", "category"),
                    ("created", "send_at"),
                    "created_by",
                )
            },
        ),
    )
    readonly_fields = ("shown_id", "status", "about")
    panels = (("Text", "shown_body"), ("Recipients", "recipient_table"), ("Story", "story"))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count the recipients of the page's messages, in one query: a single one may have a hundred thousand."""
        shown = super().get_changelist_instance(request)
        shown.result_list = list(shown.result_list)
        counts = count_states([each.pk for each in shown.result_list])
        for each in shown.result_list:
            each.state_counts = counts[each.pk]
        return shown

    def keys_of(self, request: HttpRequest, word: str) -> tuple[list[Any], Q]:
        """With the messages to an address, and those that have a recipient by this id of the provider's."""
        mine = tenants_with_role(request, self.viewers)
        tenants = list(Tenant.objects.values_list("pk", flat=True)) if mine is None else sorted(mine)
        people = Recipient.unscoped.filter(tenant_id__in=tenants).order_by()
        asked: list[dict[str, Any]] = [{"address__in": addresses_meant(word)}, {"provider_ref": word}]
        found, common = super().keys_of(request, word)
        for each in asked:
            keys = people.filter(**each).values_list("message_id", flat=True)[: large.LOOKED_AT + 1]
            if len(keys) > large.LOOKED_AT:
                common |= Q(Exists(Recipient.unscoped.filter(message=OuterRef("pk"), **each)))
            else:
                found += keys
        return found, common

    @display(description="Text")
    def beginning(self, obj: Message) -> str:
        return obj.body if len(obj.body) <= 60 else f"{obj.body[:60]}…"

    @display(description="Message", ordering="id")
    def shown_id(self, obj: Message) -> str:
        return obj.pk

    @display(description="Status")
    def status(self, obj: Message) -> SafeString:
        return badge(overall_status(obj, self._counts(obj)))

    @display(description="To")
    def recipient_count(self, obj: Message) -> str:
        counts = sorted(self._counts(obj).items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(f"{count} {state}" for state, count in counts)

    @staticmethod
    def _counts(obj: Message) -> dict[str, int]:
        """Return {state: recipients}; the page of one message has none counted beforehand."""
        found: dict[str, int] | None = getattr(obj, "state_counts", None)
        return count_states([obj.pk])[obj.pk] if found is None else found

    @display(description="About")
    def about(self, obj: Message) -> SafeString:
        return reference(obj.reference_type, obj.reference_id)

    def shown_body(self, request: HttpRequest, obj: Message) -> SafeString:
        return block(obj.body)

    def recipient_table(self, request: HttpRequest, obj: Message) -> SafeString:
        rows = [
            (
                shown_address(each),
                badge(each.state),
                each.provider_status or "-",
                each.detail or "-",
                each.provider_ref or "-",
                f"{each.currency} {each.cost:f}" if each.cost is not None else "-",
                moment(each.delivered_at),
            )
            for each in Recipient.objects.filter(message=obj).select_related("message").order_by("id")[:RECIPIENTS_SHOWN]
        ]
        return table(("Number", "State", "Provider says", "Detail", "Provider id", "Cost", "Delivered"), rows)

    def story(self, request: HttpRequest, obj: Message) -> SafeString:
        events = MessageEvent.objects.filter(recipient__message=obj).select_related("recipient__message").order_by("at", "id")
        rows = [
            (moment(event.at), shown_address(event.recipient), badge(event.state), event.detail or "-", event.source)
            for event in events[:RECIPIENTS_SHOWN]
        ]
        return table(("When", "Number", "State", "Detail", "Source"), rows)


@admin.register(MessageTemplate)
class MessageTemplateAdmin(TryTemplateMixin, TenantScopedAdmin):
    """Texts with variables. What is wrong with the braces is said when it is saved, never when it is sent."""

    can_add = can_change = can_delete = True
    list_display = ("name", "channel", "language", "is_active", "needs", when("updated", "Changed"))
    list_display_links = ("name",)
    list_filter = (("channel", ChoicesDropdownFilter), "is_active")
    search_fields = ("name", "subject", "body", "description")
    fields = ("tenant", ("channel", "name", "language"), "subject", "body", "html", ("description", "is_active"))

    @display(description="Variables")
    def needs(self, obj: MessageTemplate) -> str:
        return ", ".join(obj.variables) or "-"

    def save_model(self, request: HttpRequest, obj: MessageTemplate, form: Any, change: bool) -> None:
        obj.updated, obj.updated_by = clock.now(), f"user {request.user.get_username()}"[:150]
        super().save_model(request, obj, form, change)


@admin.register(UnmatchedReport)
class UnmatchedReportAdmin(TenantScopedAdmin):
    """Delivery reports for ids that no message of ours has, or had when they came."""

    list_display = (CREATED, "provider", "address", "provider_ref", when("matched_at", "Matched"))
    list_filter = (ProviderFilter, ("created", RangeDateTimeFilter))
    search_fields = ("address", "provider_ref")
    fields = (("provider", "config"), ("address", "provider_ref"), ("created", "matched_at"))
    panels = (("Report", "shown_payload"),)

    def shown_payload(self, request: HttpRequest, obj: UnmatchedReport) -> SafeString:
        return pretty_json(obj.payload)
