"""Types of events that a tenant defines for its own."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_scopes import scope
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from integrations.adminbase.base import Button, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import badge, when
from integrations.contracts.errors import ProviderError
from integrations.models import Tenant
from webhooks.outbound.admin.endpoint_forms import json_or_none
from webhooks.outbound.models import EventTypeDefinition
from webhooks.outbound.publishing import definitions


class EventTypeForm(TenantOwnedForm):
    """The service has the last word about a type, so a form that is right by itself hands it in as the last step of its
    checks: what the service refuses stands beside its field."""

    schema = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 10, "spellcheck": "false"}),
        help_text="JSON Schema (draft 2020-12) of data.object, without patterns. Empty: everything is taken.",
    )
    example = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="JSON that fulfils the schema.",
    )
    deprecation_note = forms.CharField(max_length=300, required=False, widget=UnfoldAdminTextInputWidget())

    class Meta:
        model = EventTypeDefinition
        fields = ("tenant", "name", "description", "schema", "example", "deprecated", "deprecation_note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored: EventTypeDefinition | None = None
        for name in ("schema", "example"):
            value = getattr(self.instance, name)
            self.initial[name] = "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)

    def clean_schema(self) -> Any:
        return json_or_none(self.cleaned_data["schema"])

    def clean_example(self) -> Any:
        return json_or_none(self.cleaned_data["example"])

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        tenant = Tenant.objects.filter(pk=self.instance.tenant_id).first()
        if self.errors or tenant is None:
            return
        given = {name: self.cleaned_data[name] for name in definitions.FIELDS}
        try:
            with scope(tenant=tenant):
                if self.instance._state.adding:
                    self.stored = definitions.define_type(tenant=tenant, name=self.cleaned_data["name"], **given)
                else:
                    self.stored = definitions.redefine_type(name=self.instance.name, **given)
        except ProviderError as error:
            field = error.attr.partition(".")[0] if error.attr else ""
            self.add_error(field if field in self.fields else None, error.message)

    def _get_validation_exclusions(self) -> set[str]:
        """The service has looked whether there is one of the name; now the form would find what was just made."""
        return {*super()._get_validation_exclusions(), "tenant"}


@admin.register(EventTypeDefinition)
class EventTypeAdmin(TenantScopedAdmin):
    """Defined, changed and archived through the services; the hub's own catalogue is in the code."""

    can_add = can_change = True
    form = EventTypeForm
    list_display = ("name", "description", "version", "state", when("updated", "Changed"))
    list_filter = (("deprecated", BooleanRadioFilter),)
    search_fields = ("name", "description")
    actions = None
    buttons = (
        Button("archive", "Archive", "archive", confirm="It can be published no more; its events stay."),
        Button("restore", "Bring back", "unarchive", "primary"),
    )
    readonly_fields = ("state", "version", "created", "updated")

    def get_readonly_fields(self, request: HttpRequest, obj: EventTypeDefinition | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "name"] if obj is not None else fields

    def declared_fieldsets(self, request: HttpRequest, obj: EventTypeDefinition | None = None) -> Any:
        own = ["name", "description", "schema", "example", "deprecated", "deprecation_note"]
        declared: list[Any] = [(None, {"fields": own})]
        if obj is not None:
            declared.append(("About", {"fields": (("state", "version"), ("created", "updated"))}))
        return declared

    def has_change_permission(self, request: HttpRequest, obj: EventTypeDefinition | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.archived_at is None)

    @display(description="State")
    def state(self, obj: EventTypeDefinition) -> SafeString:
        if obj.archived_at is not None:
            return badge("archived")
        return badge("warning", "deprecated") if obj.deprecated else badge("active")

    def save_model(self, request: HttpRequest, obj: EventTypeDefinition, form: Any, change: bool) -> None:
        obj.pk = form.stored.pk  # it is stored already: see the form

    def offers(self, request: HttpRequest, obj: EventTypeDefinition, button: Button) -> bool:
        return (obj.archived_at is not None) == (button.name == "restore")

    def press_archive(self, request: HttpRequest, obj: EventTypeDefinition) -> str:
        definitions.archive_type(name=obj.name)
        return "It is archived."

    def press_restore(self, request: HttpRequest, obj: EventTypeDefinition) -> str:
        given = {name: getattr(obj, name) for name in definitions.FIELDS}
        definitions.define_type(tenant=obj.tenant, name=obj.name, **given)
        return "It can be published again."
