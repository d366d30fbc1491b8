"""Ways in: the addresses to give out, what came and what was turned away; sources of the tenant's own are made here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.filters import tenants_of
from integrations.adminbase.render import badge, copyable, moment, reference, table, when
from integrations.secrets import SecretUnreadable
from webhooks.inbound.admin.forms import OPTION, RotateForm, form_for, option_names
from webhooks.inbound.endpoints import services
from webhooks.inbound.endpoints.api import NEW_PATH, NEW_SECRET
from webhooks.inbound.endpoints.serializers import urls_of
from webhooks.inbound.locate import ENDPOINT
from webhooks.inbound.models import InboundEndpoint, Receipt, Scheme

ROWS_SHOWN = 30
HINT = "Give it to the sender now, with the address: it signs its requests with it. It can't be shown again."


@admin.register(InboundEndpoint)
class InboundEndpointAdmin(TenantScopedAdmin):
    """Written through the services. A provider account's row can't be removed, it goes with the account."""

    can_add = can_change = can_delete = True
    list_display = ("shown_name", "kind", "state", "received", when("last_received_at", "Last received"), "rejected")
    list_filter = (("is_active", BooleanRadioFilter), ("scheme", ChoicesDropdownFilter))
    search_fields = ("name", "id", "config__provider__name")
    related = ("config",)
    actions = None
    readonly_fields = (
        "kind",
        "state",
        "shown_secrets",
        "received",
        "last_received_at",
        "rejected",
        "last_rejected_at",
        "created",
        "updated",
    )
    buttons = (Button("rotate", "Rotate", "autorenew", form=RotateForm),)
    panels = (("Addresses to give out", "addresses"), ("Last requests", "last_requests"), ("Turned away", "turned_away"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboundEndpoint]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if self.has_view_permission(request):
            services.ensure_rows(tenants=tenants_of(request))
        return super().changelist_view(request, extra_context)

    # --- what is shown ------------------------------------------------------------------------------------------------

    @display(description="Endpoint", ordering="name")
    def shown_name(self, obj: InboundEndpoint) -> str:
        return obj.name or obj.pk

    @display(description="Kind", ordering="scheme")
    def kind(self, obj: InboundEndpoint) -> SafeString | str:
        return reference("config", obj.config_id) if obj.config_id else obj.get_scheme_display()

    @display(description="State", ordering="is_active")
    def state(self, obj: InboundEndpoint) -> SafeString:
        return badge("active" if obj.is_active else "off")

    @display(description="Secrets")
    def shown_secrets(self, obj: InboundEndpoint) -> SafeString | str:
        if obj.config_id:
            until = f"; the former address works until {moment(obj.previous_until)}" if obj.previous_until else ""
            return f"part of the provider account{until}"
        try:
            rows = [(moment(each["created"]), moment(each["expires_at"])) for each in obj.secrets()]
        except SecretUnreadable:
            return badge("failed", "can't be read")
        return table(("Made", "Ends"), rows)

    def addresses(self, request: HttpRequest, obj: InboundEndpoint) -> SafeString:
        if not self.may_act(request, obj):
            return table(("What for", "URL"), [], empty="For those who may change it: whoever knows it can send.")
        return table(("What for", "URL"), [(each["what"], copyable(each["url"])) for each in urls_of(obj)])

    def last_requests(self, request: HttpRequest, obj: InboundEndpoint) -> SafeString:
        mine = {"config_id": obj.config_id} if obj.config_id else {"token_object": f"{ENDPOINT}:{obj.pk}"}
        found = Receipt.unscoped.filter(tenant_id=obj.tenant_id, **mine).defer("body").order_by("-id")[:ROWS_SHOWN]
        rows = [
            (
                moment(each.received_at),
                reference("receipt", each.pk),
                each.provider_event_type or each.purpose or "-",
                badge(each.status),
                each.duplicates,
                each.detail or "-",
            )
            for each in found
        ]
        return table(("Received", "Request", "Type", "Status", "Repeated", "Detail"), rows)

    def turned_away(self, request: HttpRequest, obj: InboundEndpoint) -> SafeString:
        rows = [
            (str(each.day), each.reason, each.count, moment(each.last_at), each.last_ip or "-", each.last_detail or "-")
            for each in obj.rejections.all()[:ROWS_SHOWN]
        ]
        return table(("Day", "Reason", "Requests", "Last", "From", "Detail"), rows, empty="None.")

    # --- add and change -----------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        """Ask for the scheme first; the form follows from it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if self._scheme(request, None) is None:
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": "Choose how the source signs",
                "schemes": Scheme.choices,
            }
            return TemplateResponse(request, "admin/hub/choose_scheme.html", context)
        return super().add_view(request, form_url, extra_context)

    @staticmethod
    def _scheme(request: HttpRequest, obj: InboundEndpoint | None) -> Scheme | None:
        text = request.GET.get("scheme", "") if obj is None else obj.scheme
        return Scheme(text) if text in Scheme.values else None

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = form_for(self._scheme(request, obj), adding=obj is None)
        return super().get_form(request, obj, change=change, **kwargs)

    def declared_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        scheme = self._scheme(request, obj)
        signed: list[Any] = []
        if scheme is not None:
            signed = [*(["secret"] if obj is None else []), *(OPTION + name for name in option_names(scheme)), "tolerance"]
        told = ["dedupe_path", "type_path", "event_types", "fields"] if scheme is not None else []
        shown = [
            (None, {"fields": ["name", "is_active"]}),
            ("Signature", {"fields": signed}),
            ("What it tells", {"fields": ["events", *told]}),
            ("Who may send", {"fields": ["allowed_ips"]}),
        ]
        if obj is not None:
            counts = (("received", "last_received_at"), ("rejected", "last_rejected_at"))
            shown.insert(1, ("About", {"fields": [("kind", "state"), *counts, "shown_secrets", ("created", "updated")]}))
        if obj is not None and not self.has_change_permission(request, obj):
            shown = shown[:2]  # for those who may look, the settings stand in the API alone
        return [each for each in shown if each[1]["fields"]]

    def save_model(self, request: HttpRequest, obj: InboundEndpoint, form: Any, change: bool) -> None:
        if not self.may_act(request, obj):
            raise PermissionDenied
        if change:
            services.update_endpoint(endpoint_id=obj.pk, changes=form.settings())
            return
        secret = form.cleaned_data.get("secret", "")
        made, fresh = services.create_source(tenant=obj.tenant, scheme=obj.scheme, secret=secret, **form.settings())
        obj.pk = made.pk
        request._hub_secret = fresh  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: InboundEndpoint, post_url_continue: str | None = None) -> HttpResponse:
        fresh: str = request._hub_secret  # type: ignore[attr-defined]
        if not fresh:
            response: HttpResponse = super().response_add(request, obj, post_url_continue)
            return response
        return self.shown_once(request, obj, title="The source's secret", label=str(obj), value=fresh, hint=HINT)

    # --- remove -------------------------------------------------------------------------------------------------------

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.config_id is None)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nothing is removed with it: deleting is soft, its requests stay readable."""
        return [str(obj) for obj in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: InboundEndpoint) -> None:
        services.delete_endpoint(endpoint_id=obj.pk)

    # --- buttons ------------------------------------------------------------------------------------------------------

    def press_rotate(self, request: HttpRequest, obj: InboundEndpoint, data: dict[str, Any]) -> HttpResponse | str:
        done = services.rotate(endpoint_id=obj.pk, overlap=RotateForm.span(data["overlap"]), secret=data["secret"])
        if not done.secret:
            return NEW_PATH if obj.config_id else NEW_SECRET
        return self.shown_once(request, obj, title="The source's new secret", label=str(obj), value=done.secret, hint=HINT)
