"""Tenants, users, memberships and API keys."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from integrations.adminbase.base import Button, OperatorAdmin, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import badge, when
from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.models import ApiKey, Membership, Role, Tenant, User
from integrations.tenancy.authentication import create_api_key
from integrations.tenancy.channels import channels_of

# What a person may do follows from memberships; groups would suggest otherwise.
if admin.site.is_registered(Group):
    admin.site.unregister(Group)


@admin.register(Tenant)
class TenantAdmin(OperatorAdmin):
    """Tenants are never deleted here: switching one off stops its keys and people, and keeps its books."""

    can_add = can_change = True
    list_display = ("name", "slug", "country", "currency", "time_zone", "is_active")
    list_filter = ("is_active",)
    search_fields = ("name", "slug")
    readonly_fields = ("created",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), *(["slug"] if obj else [])]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return {} if obj else {"slug": ("name",)}


SEND_CHANNELS = [
    (Capability.SMS.value, "SMS"),
    (Capability.EMAIL.value, "E-mail"),
    (Capability.PUSH.value, "Push"),
    (Capability.WHATSAPP.value, "WhatsApp"),
]


class MembershipForm(TenantOwnedForm):
    """Role and channels of a member."""

    channels = forms.MultipleChoiceField(
        required=False,
        choices=SEND_CHANNELS,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="On which staff may send. Admins may on all, auditors on none.",
    )


class MembershipInline(TabularInline):
    """A user's places in tenants, on the operator's page of that user."""

    model = Membership
    form = MembershipForm
    extra = 0
    fields = ("tenant", "role", "channels", "is_active")
    hide_title = True


@admin.register(User)
class UserAdmin(DjangoUserAdmin, OperatorAdmin):  # type: ignore[type-arg, misc]
    """People. Who has left is switched off, not deleted: the history names them."""

    can_add = can_change = True
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = (MembershipInline,)
    list_display = ("username", "email", "first_name", "last_name", "is_active", "is_superuser")
    list_filter = ("is_active", "is_superuser")
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        (
            "Access",
            {
                "fields": ("is_active", "is_staff", "is_superuser"),
                "description": "“Staff status” opens this console; what is seen in it follows from the memberships below. "
                "A superuser operates the installation and sees all tenants.",
            },
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)


@admin.register(Membership)
class MembershipAdmin(TenantScopedAdmin):
    """A tenant's admin sets roles of the tenant's people, but not her own: nobody locks herself out or up."""

    can_change = True
    form = MembershipForm
    list_display = ("user", "shown_role", "shown_channels", "is_active", when("created", "Since"))
    list_filter = ("role", "is_active")
    search_fields = ("user__username", "user__email")
    fields = ("user", "role", "channels", "is_active")
    readonly_fields = ("user",)
    related = ("user",)

    @display(description="May send")
    def shown_channels(self, obj: Membership) -> str:
        if obj.role != Role.STAFF:
            return "all" if obj.role == Role.ADMIN else "none"
        named = channels_of(obj)
        return ", ".join(label for name, label in SEND_CHANNELS if name in named) or "none"

    @display(description="Role", ordering="role")
    def shown_role(self, obj: Membership) -> str:
        return badge(obj.role)

    def may_act(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().may_act(request, obj) and (obj is None or obj.user_id != request.user.pk)


KEY_TIMES = (when("created", "Created"), when("expires_at", "Expires"), when("last_used_at", "Last used"))


class ApiKeyForm(TenantOwnedForm):
    """What a key may do; the key itself is made when it is saved."""

    scopes = forms.CharField(
        required=False,
        help_text="Separated by commas, for example payments:write, messages:read. Empty: all that the role may.",
    )

    def clean_scopes(self) -> list[str]:
        return [scope.strip() for scope in self.cleaned_data["scopes"].split(",") if scope.strip()]


@admin.register(ApiKey)
class ApiKeyAdmin(TenantScopedAdmin):
    """Keys are made and revoked, never changed and never shown again."""

    can_add = True
    form = ApiKeyForm
    list_display = ("name", "shown_prefix", "role", "state", *KEY_TIMES)
    list_filter = ("role",)
    search_fields = ("name", "prefix")
    buttons = (Button("revoke", "Revoke", "block", "danger", "Revoke this key? Systems that use it are locked out at once."),)

    readonly_fields = ("shown_prefix", "state", "created", "last_used_at", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("tenant", "name", "role", "scopes", "expires_at")
        return ("name", "shown_prefix", "role", "scopes", "state", "created", "expires_at", "last_used_at", "revoked_at")

    @display(description="Key", ordering="prefix")
    def shown_prefix(self, obj: ApiKey) -> str:
        return f"{obj.prefix}…"

    @display(description="State")
    def state(self, obj: ApiKey) -> str:
        if obj.revoked_at:
            return badge("revoked")
        return badge("expired") if obj.expires_at and obj.expires_at <= clock.now() else badge("active")

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not self.may_act(request, obj):
            raise PermissionDenied
        made, key = create_api_key(
            tenant=obj.tenant, name=obj.name, role=obj.role, scopes=obj.scopes, expires_at=obj.expires_at
        )
        obj.pk = made.pk
        request._hub_key = key  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self.shown_once(
            request,
            obj,
            title="The new API key",
            label=obj.name,
            value=request._hub_key,  # type: ignore[attr-defined]
            hint="Copy the key now: only its fingerprint is stored, it can't be shown again.",
        )

    def offers(self, request: HttpRequest, obj: ApiKey, button: Button) -> bool:
        return obj.revoked_at is None

    def press_revoke(self, request: HttpRequest, obj: ApiKey) -> str:
        obj.revoked_at = clock.now()
        obj.save(update_fields=["revoked_at"])
        return f"The key {obj.name} is revoked."
