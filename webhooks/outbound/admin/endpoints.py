"""Endpoints, events, deliveries and attempts: what is told to whom, and how that went."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter, FieldTextFilter, RangeDateTimeFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from integrations.adminbase.base import Button, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import badge, moment, pretty_json, reference, table, when
from integrations.contracts.errors import Conflict
from webhooks.outbound.endpoints import services
from webhooks.outbound.endpoints.serializers import EndpointInput
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event
from webhooks.outbound.recovery.resending import retry_delivery

ROWS_SHOWN = 50
CREATED = when("created", "Created")


class EndpointForm(TenantOwnedForm):
    """The API's own checks of URL and event types, as a form."""

    url = forms.CharField(max_length=2000, label="URL", widget=UnfoldAdminTextInputWidget())
    events = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="One on each line: a type such as payment.completed, a group such as payment.*, or * for everything.",
    )

    class Meta:
        model = Endpoint
        fields = ("tenant", "name", "url", "events", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.events and "events" in self.fields:
            self.initial["events"] = "\n".join(self.instance.events)

    def clean_events(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["events"].replace(",", "\n").splitlines() if line.strip()]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        given = {name: cleaned[name] for name in ("url", "events") if name in cleaned}
        checked = EndpointInput(data=given, partial=True)
        if not checked.is_valid():
            for name, problems in checked.errors.items():
                self.add_error(name, [str(problem) for problem in _flat(problems)])
        return cleaned


def _flat(problems: Any) -> list[Any]:
    if isinstance(problems, dict):
        return [each for value in problems.values() for each in _flat(value)]
    return [each for value in problems for each in _flat(value)] if isinstance(problems, list) else [problems]


@admin.register(Endpoint)
class EndpointAdmin(TenantScopedAdmin):
    """Made and changed through the services; the signing secret is shown once, header values never."""

    can_add = can_change = can_delete = True
    form = EndpointForm
    list_display = ("shown_name", "url", "shown_events", "state", CREATED)
    list_filter = (("is_active", BooleanRadioFilter),)
    search_fields = ("name", "url", "id")
    buttons = (Button("test", "Send a test event", "send", "primary"),)
    actions = None
    readonly_fields = ("state", "header_names", "created", "updated")
    panels = (("Last deliveries", "last_deliveries"),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Endpoint]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        own = ["name", "url", "events", "is_active"]
        self.fieldsets = [(None, {"fields": own})]
        if obj is not None:
            about = {"fields": ("state", "header_names", ("created", "updated"))}
            self.fieldsets = [*self.fieldsets, ("About", about)]
        return super().get_fieldsets(request, obj)

    @display(description="Endpoint", ordering="name")
    def shown_name(self, obj: Endpoint) -> str:
        return obj.name or obj.pk

    @display(description="Events")
    def shown_events(self, obj: Endpoint) -> str:
        return ", ".join(map(str, obj.events))

    @display(description="State", ordering="is_active")
    def state(self, obj: Endpoint) -> SafeString:
        if obj.is_active:
            return badge("active")
        return badge("failed", f"switched off: {obj.disabled_reason}") if obj.disabled_reason else badge("off")

    @display(description="Own headers")
    def header_names(self, obj: Endpoint) -> str:
        masked = obj.masked_headers()
        return "can't be read" if masked is None else ", ".join(masked) or "none"

    def last_deliveries(self, request: HttpRequest, obj: Endpoint) -> SafeString:
        found = Delivery.objects.filter(endpoint=obj).select_related("event")[:ROWS_SHOWN]
        rows = [
            (moment(each.created), each.event.type, reference("delivery", each.pk), badge(each.state), each.attempts)
            for each in found
        ]
        return table(("Created", "Type", "Delivery", "State", "Attempts"), rows)

    def save_model(self, request: HttpRequest, obj: Endpoint, form: Any, change: bool) -> None:
        if not self.may_act(request, obj):
            raise PermissionDenied
        given = {name: form.cleaned_data[name] for name in ("name", "url", "events", "is_active")}
        if change:
            services.update_endpoint(endpoint_id=obj.pk, changes=given)
            return
        made, secret = services.create_endpoint(tenant=obj.tenant, **given)
        obj.pk = made.pk
        request._hub_secret = secret  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Endpoint) -> None:
        services.delete_endpoint(endpoint_id=obj.pk)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nothing is removed with it: deleting is soft, its deliveries stay readable."""
        return [str(obj) for obj in objs], {}, set(), []

    def response_add(self, request: HttpRequest, obj: Endpoint, post_url_continue: str | None = None) -> HttpResponse:
        return self.shown_once(
            request,
            obj,
            title="The endpoint's signing secret",
            label=str(obj),
            value=request._hub_secret,  # type: ignore[attr-defined]
            hint="Give it to the receiving system now: it checks our signatures with it. It can't be shown again.",
        )

    def offers(self, request: HttpRequest, obj: Endpoint, button: Button) -> bool:
        return obj.is_active

    def press_test(self, request: HttpRequest, obj: Endpoint) -> str:
        delivery = services.send_test(endpoint=obj)
        return f"A test event is on its way: delivery {delivery.pk}."


@admin.register(Event)
class EventAdmin(TenantScopedAdmin):
    """Facts that were published; the payload is the very text that is sent."""

    list_display = (CREATED, "type", "shown_id", "about")
    list_display_links = (CREATED, "type")
    list_filter = (("type", FieldTextFilter), ("created", RangeDateTimeFilter))
    search_fields = ("id", "type", "object_id")
    fieldsets = ((None, {"fields": (("type", "shown_id"), ("about", "created"), "key")}),)
    readonly_fields = ("shown_id", "about")
    panels = (("Deliveries", "deliveries_table"), ("Payload", "shown_payload"))

    @display(description="Event", ordering="id")
    def shown_id(self, obj: Event) -> str:
        return obj.pk

    @display(description="About")
    def about(self, obj: Event) -> SafeString:
        return reference(obj.object_type, obj.object_id)

    def shown_payload(self, request: HttpRequest, obj: Event) -> SafeString:
        return pretty_json(obj.payload)

    def deliveries_table(self, request: HttpRequest, obj: Event) -> SafeString:
        found = Delivery.objects.filter(event=obj).select_related("endpoint")
        rows = [
            (str(each.endpoint), reference("delivery", each.pk), badge(each.state), each.attempts, each.last_error or "-")
            for each in found
        ]
        return table(("Endpoint", "Delivery", "State", "Attempts", "Last error"), rows, empty="Nobody subscribes to it.")


@admin.register(Delivery)
class DeliveryAdmin(TenantScopedAdmin):
    """One event owed to one endpoint, with each try; any may be sent once more."""

    list_display = (CREATED, "shown_type", "shown_endpoint", "shown_state", "attempts", "last_status", when("due_at", "Due"))
    list_display_links = (CREATED, "shown_type")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("event__type", FieldTextFilter),
        ("created", RangeDateTimeFilter),
    )
    search_fields = ("id", "event__id", "event__type", "event__object_id", "endpoint__name", "endpoint__url")
    related = ("event", "endpoint")
    actions = ("retry_selected",)
    buttons = (Button("retry", "Send again", "replay", "primary"),)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_type", "shown_state"),
                    ("shown_endpoint", "about"),
                    ("attempts", "attempts_allowed"),
                    ("due_at", "finished_at"),
                    ("last_status", "created"),
                    "last_error",
                )
            },
        ),
    )
    readonly_fields = ("shown_type", "shown_endpoint", "shown_state", "about")
    panels = (("Attempts", "tries_table"), ("Body", "shown_payload"))

    @display(description="Event type", ordering="event__type")
    def shown_type(self, obj: Delivery) -> str:
        return obj.event.type

    @display(description="Endpoint", ordering="endpoint__name")
    def shown_endpoint(self, obj: Delivery) -> str:
        return str(obj.endpoint)

    @display(description="State", ordering="state")
    def shown_state(self, obj: Delivery) -> SafeString:
        return badge(obj.state)

    @display(description="About")
    def about(self, obj: Delivery) -> SafeString:
        return reference(obj.event.object_type, obj.event.object_id)

    def tries_table(self, request: HttpRequest, obj: Delivery) -> SafeString:
        rows = [
            (
                each.number,
                moment(each.started_at),
                each.status_code or "-",
                f"{each.duration_ms:,} ms" if each.duration_ms is not None else "-",
                each.error_class or badge("delivered"),
                each.error or "-",
                each.response_head or "-",
                each.address or "-",
            )
            for each in obj.tries.order_by("number")
        ]
        return table(("#", "Started", "Status", "Took", "Result", "Error", "Answer", "Address"), rows, empty="Not tried yet.")

    def shown_payload(self, request: HttpRequest, obj: Delivery) -> SafeString:
        return pretty_json(obj.event.payload)

    def offers(self, request: HttpRequest, obj: Delivery, button: Button) -> bool:
        return obj.state != DeliveryState.HELD

    def press_retry(self, request: HttpRequest, obj: Delivery) -> str:
        retry_delivery(endpoint=obj.endpoint, delivery_id=obj.pk)
        return "It is due now and will be sent at once."

    @action(description="Send selected deliveries again", permissions=["act"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = 0
        for delivery in queryset:
            try:
                if self.may_act(request, delivery):
                    retry_delivery(endpoint=delivery.endpoint, delivery_id=delivery.pk)
                    count += 1
            except Conflict as error:
                self.message_user(request, f"{delivery.pk}: {error.message}", messages.ERROR)
        self.message_user(request, f"{count} {'delivery is' if count == 1 else 'deliveries are'} due now.", messages.SUCCESS)
