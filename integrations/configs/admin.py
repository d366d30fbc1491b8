"""A tenant's provider accounts: choose the provider, fill in the form made from its schema, test, make primary."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.access import tenants_with_role
from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.adminbase.filters import ProviderFilter
from integrations.adminbase.render import badge, copyable, table, when
from integrations.adminbase.widgets import dress
from integrations.configs import checks, schemas, selectors, services
from integrations.configs.forms import CLEAR, LIMIT, PREFIX, config_form_class
from integrations.configs.routing import callback_urls, fixed_urls
from integrations.contracts.provider import Provider as Declaration
from integrations.models import Config, PrimaryConfig, Provider
from integrations.registry import UnknownProvider, get_provider
from integrations.secrets import SecretUnreadable
from integrations.tenancy.addresses import shown

LIMIT_FIELDS = [(f"{LIMIT}rate", f"{LIMIT}burst"), (f"{LIMIT}concurrency", f"{LIMIT}daily")]


class ProviderOfConfig(ProviderFilter):
    field = "provider_id"


@admin.register(Config)
class ConfigAdmin(TenantScopedAdmin):
    """Written through the services alone. Secrets go in and never come out: four letters of a long one are shown."""

    can_add = can_change = can_delete = True
    list_display = (
        "shown_provider",
        "label",
        "environment",
        "is_active",
        "shown_status",
        "primary_for",
        when("tested_at", "Tested"),
    )
    list_filter = (
        ProviderOfConfig,
        ("environment", ChoicesDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("is_active", BooleanRadioFilter),
    )
    search_fields = ("label", "provider__name")
    related = ("provider",)
    actions = None
    buttons = (
        Button("test", "Test connection", "network_check", "primary"),
        Button("primary", "Make primary", "star"),
        Button(
            "register",
            "Register our URLs",
            "link",
            confirm="Tell the provider to call our URLs from now on? It may replace URLs that are registered there.",
        ),
    )
    readonly_fields = (
        "shown_provider",
        "shown_status",
        "status_detail",
        "tested_at",
        "primary_for",
        "incomplete",
        "stored_values",
        "limits_now",
        "created",
        "updated",
    )

    panels = (("URLs to give to the provider", "urls_table"), ("URLs shared by all tenants", "shared_urls"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Config]:
        primaries = Prefetch("primaries", queryset=PrimaryConfig.objects.order_by("category"))
        return super().get_queryset(request).prefetch_related(primaries)

    # --- what is shown ------------------------------------------------------------------------------------------------

    @display(description="Provider", ordering="provider__name")
    def shown_provider(self, obj: Config) -> str:
        return obj.provider.name

    @display(description="Connection", ordering="status")
    def shown_status(self, obj: Config) -> SafeString:
        return badge(obj.status, obj.get_status_display())

    @display(description="Primary for")
    def primary_for(self, obj: Config) -> str:
        return ", ".join(primary.category for primary in obj.primaries.all()) or "-"

    @display(description="Still missing")
    def incomplete(self, obj: Config) -> SafeString | str:
        try:
            missing = schemas.missing(obj)
        except SecretUnreadable:
            return badge("failed", "the stored secrets can't be read")
        return table(("Field", "Problem"), list(missing.items()), empty="Nothing: it is complete.")

    def urls_table(self, request: HttpRequest, obj: Config) -> SafeString:
        try:
            urls = callback_urls(obj)
        except UnknownProvider:
            urls = []
        whole = self.may_act(request, obj)
        rows = [(each.what, copyable(each.url) if whole else shown(each.url, whole=False)) for each in urls]
        return table(("What for", "URL"), rows, empty="This provider calls nobody.")

    def shared_urls(self, request: HttpRequest, obj: Config) -> SafeString:
        declared = _declared(obj.provider_id)
        rows = [(each.what, each.purpose, copyable(each.url)) for each in fixed_urls(declared)] if declared else []
        return table(("What for", "Purpose", "URL"), rows, empty="None.")

    @display(description="Values")
    def stored_values(self, obj: Config) -> SafeString:
        """For those who may look and not change."""
        try:
            secrets = obj.masked_secrets()
        except SecretUnreadable:
            secrets = {}
        declared = _declared(obj.provider_id)
        fields = declared.config.describe() if declared else []
        rows = [
            (
                field["label"],
                secrets.get(field["name"], "not set") if field["secret"] else obj.values.get(field["name"], "-"),
            )
            for field in fields
        ]
        return table(("Field", "Value"), rows)

    @display(description="In force")
    def limits_now(self, obj: Config) -> SafeString:
        """For those who may look and not change."""
        found = selectors.limits_in_force(obj) or {}
        rows = [
            ("Calls a second", found.get("rate")),
            ("Burst", found.get("burst")),
            ("Calls at once", found.get("concurrency") or "no limit"),
            ("Calls a day", found.get("daily") or "no limit"),
        ]
        return table(("Limit", "Of this account"), rows if found else [])

    # --- add and change -----------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        """Ask for the provider first; the form follows from it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if self._chosen(request) is None:
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": "Choose a provider",
                "providers": Provider.objects.filter(enabled=True, installed=True),
            }
            return TemplateResponse(request, "admin/hub/choose_provider.html", context)
        return super().add_view(request, form_url, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        config = self.get_object(request, unquote(object_id))
        if config is not None and not self._has_form(request, config) and request.method == "POST":
            raise PermissionDenied
        return super().change_view(request, object_id, form_url, extra_context)

    @staticmethod
    def _chosen(request: HttpRequest) -> Declaration | None:
        slug = request.GET.get("provider", "")
        known = Provider.objects.filter(slug=slug, enabled=True, installed=True).exists()
        return _declared(slug) if known else None

    def _has_form(self, request: HttpRequest, obj: Config) -> bool:
        return super().has_change_permission(request, obj) and _declared(obj.provider_id) is not None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) if obj is None else self._has_form(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Config | None = None) -> Any:
        declared = self._chosen(request) if obj is None else _declared(obj.provider_id)
        own = ["tenant"] if self.chooses_tenant(request) else []
        if obj is None:
            account = _account_fields(declared)
            return [
                (declared.name if declared else None, {"fields": [*own, "label", "environment", "is_active"]}),
                ("Account", {"fields": account}),
                ("Limits", {"fields": LIMIT_FIELDS}),
            ]
        editable = self.has_change_permission(request, obj)
        account = _account_fields(declared, obj) if editable else ["stored_values"]
        return [
            (None, {"fields": [*own, "shown_provider", "label", "environment", "is_active"]}),
            (
                "Connection",
                {"fields": [("shown_status", "tested_at"), ("primary_for", "updated"), "status_detail", "incomplete"]},
            ),
            ("Account", {"fields": account}),
            ("Limits", {"fields": LIMIT_FIELDS if editable else ["limits_now"]}),
        ]

    def get_form(self, request: HttpRequest, obj: Config | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the provider's form, in the console's look, with the tenants this person may choose."""
        declared = self._chosen(request) if obj is None else _declared(obj.provider_id)
        if declared is None or (obj is not None and not self.has_change_permission(request, obj)):
            return super().get_form(request, obj, change=change, **{**kwargs, "fields": ("label",)})
        chooses, mine = self.chooses_tenant(request), tenants_with_role(request, self.editors)
        tenants = self.choices_of(Config._meta.get_field("tenant").remote_field.model, request)
        base = config_form_class(declared)

        class DressedConfigForm(base):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any, **kw: Any) -> None:
                super().__init__(*args, **kw)
                if obj is None:
                    self.instance.provider_id = declared.slug
                if obj is None and chooses:
                    self.fields["tenant"].queryset = tenants
                else:
                    del self.fields["tenant"]
                    if obj is None and mine:
                        self.instance.tenant_id = next(iter(mine))
                dress(self.fields)

            def clean(self) -> dict[str, Any]:
                if not Provider.objects.filter(slug=declared.slug, enabled=True, installed=True).exists():
                    raise forms.ValidationError("This provider is switched off in this installation.")
                cleaned: dict[str, Any] = super().clean()
                return cleaned

        return DressedConfigForm

    def save_model(self, request: HttpRequest, obj: Config, form: Any, change: bool) -> None:
        if not self.may_act(request, obj):
            raise PermissionDenied
        form.apply()

    # --- remove -------------------------------------------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What refers to it is asked by the service, which rather switches it off than lose anything."""
        return [str(obj) for obj in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: Config) -> None:
        if not services.delete_config(config=obj):
            text = "Payments, messages or queued work refer to it: it was switched off instead and still gets their callbacks."
            self.message_user(request, text, messages.WARNING)

    # --- buttons ------------------------------------------------------------------------------------------------------

    def offers(self, request: HttpRequest, obj: Config, button: Button) -> bool:
        declared = _declared(obj.provider_id)
        if declared is None or not obj.is_active:
            return False
        if button.name == "primary":
            return {primary.category for primary in obj.primaries.all()} != set(declared.categories)
        return button.name == "test" or bool(callback_urls(obj))

    def press_test(self, request: HttpRequest, obj: Config) -> str | None:
        outcome = checks.test_config(config=obj)
        if outcome.ok:
            return f"It works: {outcome.detail} ({outcome.duration_ms:,} ms)"
        self.message_user(request, f"It does not work: {outcome.detail} ({outcome.status})", messages.ERROR)
        return None

    def press_primary(self, request: HttpRequest, obj: Config) -> str:
        return f"It is primary for {', '.join(services.set_primary(config=obj))} now."

    def press_register(self, request: HttpRequest, obj: Config) -> str:
        return checks.register_webhooks(config=obj).detail


def _declared(slug: str) -> Declaration | None:
    try:
        return get_provider(slug)
    except UnknownProvider:
        return None


def _account_fields(declared: Declaration | None, obj: Config | None = None) -> list[str]:
    """Return the form's fields in the schema's order, each removable secret with its box."""
    if declared is None:
        return []
    try:
        stored = set(obj.masked_secrets()) if obj is not None else set()
    except SecretUnreadable:
        stored = set()
    names = []
    for field in declared.config:
        names.append(PREFIX + field.name)
        if field.secret and not field.required and field.name in stored:
            names.append(CLEAR + field.name)
    return names
