"""The registry of providers, and who may use the installation's own accounts."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.adminbase.access import READERS, has_role_somewhere
from integrations.adminbase.base import OperatorAdmin, TenantScopedAdmin
from integrations.adminbase.render import badge, link, table
from integrations.contracts.provider import Provider as Declaration
from integrations.models import Provider, ProviderGrant
from integrations.registry import UnknownProvider, get_provider


@admin.register(Provider)
class ProviderAdmin(OperatorAdmin):
    """What the hub can talk to. Rows come from the provider folders; only `enabled` is a person's to change."""

    can_change = True
    list_display = ("name", "slug", "shown_categories", "enabled", "is_global", "installed")
    list_filter = ("enabled", "installed")
    search_fields = ("name", "slug", "description")
    fieldsets = ((None, {"fields": ("enabled", ("name", "slug"), "description", "shown_categories", "docs", "installed")}),)

    panels = (
        ("What you need first", "requirements"),
        ("Fields of an account", "config_fields"),
        ("Environments", "environments"),
        ("Fixed webhook paths", "webhook_paths"),
    )

    def may_view(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role_somewhere(request, READERS)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field for field in _fields(self.fieldsets) if field != "enabled"]

    @display(description="Categories")
    def shown_categories(self, obj: Provider) -> str:
        return ", ".join(obj.categories)

    @display(description="Documentation")
    def docs(self, obj: Provider) -> str:
        return link(obj.docs_url, obj.docs_url) if obj.docs_url.startswith("https://") else obj.docs_url or "-"

    def requirements(self, request: HttpRequest, obj: Provider) -> SafeString:
        declared = _declaration(obj)
        return table(("Have at hand",), [(text,) for text in declared.requirements] if declared else [])

    def config_fields(self, request: HttpRequest, obj: Provider) -> SafeString:
        declared = _declaration(obj)
        fields = declared.config.describe() if declared else []
        rows = [
            (
                field["label"],
                field["name"],
                badge("held", "secret") if field["secret"] else field["type"],
                "required" if field["required"] else "optional",
                field["help"],
            )
            for field in fields
        ]
        return table(("Field", "Name", "Type", "Need", "Help"), rows)

    def environments(self, request: HttpRequest, obj: Provider) -> SafeString:
        declared = _declaration(obj)
        return table(("Environment", "Address"), [(e.value, url) for e, url in declared.base_urls.items()] if declared else [])

    def webhook_paths(self, request: HttpRequest, obj: Provider) -> SafeString:
        declared = _declaration(obj)
        adapter = declared.webhook_adapter() if declared else None
        rows = [(" ".join(each.methods), each.path, each.purpose) for each in adapter.fixed_paths] if adapter else []
        return table(("Method", "Path", "Purpose"), rows, empty="This provider calls no fixed path.")


def _fields(fieldsets: Any) -> list[str]:
    found: list[str] = []
    for _title, options in fieldsets:
        for entry in options["fields"]:
            found += [entry] if isinstance(entry, str) else list(entry)
    return found


def _declaration(obj: Provider) -> Declaration | None:
    try:
        return get_provider(obj.slug)
    except UnknownProvider:
        return None


@admin.register(ProviderGrant)
class ProviderGrantAdmin(TenantScopedAdmin):
    """Which tenant may use the installation's account of a provider; the operator alone gives and takes it."""

    can_add = can_delete = True
    editors = frozenset()
    list_display = ("provider", "tenant")
    fields = ("tenant", "provider")
    related = ("provider",)
