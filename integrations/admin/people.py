"""Tenants, users and memberships."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from integrations.adminbase.base import OperatorAdmin, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import badge, when
from integrations.contracts.capabilities import Capability
from integrations.models import Membership, Role, Tenant, User
from integrations.tenancy import audit
from integrations.tenancy.channels import channels_of

_MEMBER = ("role", "channels", "is_active")
_TENANT = ("name", "country", "time_zone", "currency", "is_active")


def _record_member(member: Membership, what: str, before: dict[str, Any]) -> None:
    """Write a change of who may what in a tenant into its audit."""
    after = {} if what == "removed" else {name: getattr(member, name) for name in _MEMBER}
    changes = audit.differences(before, after) if after else {name: [value, None] for name, value in before.items()}
    if changes:
        audit.record(
            tenant_id=member.tenant_id,
            action=f"member.{what}",
            object_type="member",
            object_id=str(member.pk),
            object_name=member.user.get_username(),
            changes=changes,
        )


def _stored(model: type[Any], pk: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return these fields as they stand in the database; none of a row that is not there yet."""
    found: dict[str, Any] | None = model._base_manager.filter(pk=pk).values(*names).first() if pk else None
    return found or {}


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

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        before = _stored(Tenant, obj.pk, _TENANT)
        super().save_model(request, obj, form, change)
        changes = audit.differences(before, {name: getattr(obj, name) for name in _TENANT})
        what = "updated" if change else "created"
        if change and "is_active" in changes:
            what = "switched_on" if obj.is_active else "switched_off"
        if changes:
            audit.record(
                tenant_id=obj.pk,
                action=f"tenant.{what}",
                object_type="tenant",
                object_id=str(obj.pk),
                object_name=obj.name,
                changes=changes,
            )


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

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if formset.model is not Membership:
            super().save_formset(request, form, formset, change)
            return
        before = {
            each.instance.pk: _stored(Membership, each.instance.pk, _MEMBER)
            for each in formset.initial_forms
            if each.instance.pk
        }
        gone = [(each, each.pk) for each in (form.instance for form in formset.deleted_forms) if each.pk]
        super().save_formset(request, form, formset, change)
        for member in formset.new_objects:
            _record_member(member, "added", {})
        for member, _fields in formset.changed_objects:
            _record_member(member, "updated", before.get(member.pk, {}))
        for member, pk in gone:
            member.pk = pk
            _record_member(member, "removed", before.get(pk, {}))


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

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        before = _stored(Membership, obj.pk, _MEMBER)
        super().save_model(request, obj, form, change)
        _record_member(obj, "updated" if change else "added", before)
