"""Links that open the portal without a login: who holds one, and taking it away."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Case, QuerySet, Value, When
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.render import badge, when
from integrations.contracts import clock
from webhooks.outbound.models import PortalLink
from webhooks.outbound.portal.links import are_good, revoke_link


@admin.register(PortalLink)
class PortalLinkAdmin(TenantScopedAdmin):
    """Made by the API or in the portal, where the link is shown once; nobody can see its token here."""

    list_display = (
        when("created", "Created"),
        "shown_label",
        "shown_endpoint",
        "shown_state",
        "can_write",
        when("expires_at", "Expires"),
        when("last_used_at", "Last used"),
    )
    search_fields = ("id", "label", "created_by")
    related = ("endpoint",)
    buttons = (Button("revoke", "Revoke", "block", "danger", confirm="Who holds the link is shut out at once."),)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("shown_label", "shown_state"),
                    ("shown_endpoint", "can_write"),
                    ("created", "created_by"),
                    ("expires_at", "last_used_at"),
                    "shown_ancestors",
                )
            },
        ),
    )
    readonly_fields = ("shown_label", "shown_state", "shown_endpoint", "shown_ancestors")

    def get_queryset(self, request: HttpRequest) -> QuerySet[PortalLink]:
        found = super().get_queryset(request)
        return found.annotate(good=Case(When(are_good(), then=Value(True)), default=Value(False)))

    @display(description="Label", ordering="label")
    def shown_label(self, obj: PortalLink) -> str:
        return obj.label or obj.pk

    @display(description="Endpoint", ordering="endpoint__name")
    def shown_endpoint(self, obj: PortalLink) -> str:
        return str(obj.endpoint) if obj.endpoint else "all"

    @display(description="State")
    def shown_state(self, obj: PortalLink) -> SafeString:
        if obj.revoked_at is not None:
            return badge("revoked")
        if obj.expires_at <= clock.now():
            return badge("expired")
        return badge("active") if getattr(obj, "good", True) else badge("expired", "ended with its key")

    @display(description="May be embedded by")
    def shown_ancestors(self, obj: PortalLink) -> str:
        return ", ".join(map(str, obj.frame_ancestors)) or "nobody"

    def offers(self, request: HttpRequest, obj: PortalLink, button: Button) -> bool:
        return obj.revoked_at is None and obj.expires_at > clock.now()

    def press_revoke(self, request: HttpRequest, obj: PortalLink) -> str:
        revoke_link(link_id=obj.pk)
        return "It opens nothing any more."
