"""The base classes of all admin pages: an operator sees every tenant, others the rows of the tenants where they have a role.

A row of another tenant is not found; it is never "forbidden", which would tell that it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import ForeignKey, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django_scopes import scope
from unfold.admin import ModelAdmin

from integrations.adminbase.access import READERS, has_role_somewhere, is_operator, tenants_with_role
from integrations.adminbase.filters import TenantFilter
from integrations.contracts.errors import ProviderError
from integrations.models import Role, Tenant
from integrations.models.base import TenantOwned


@dataclass(frozen=True, slots=True)
class Button:
    """Something to do with the object on its page: `press_<name>(request, obj)` of the admin class does it.

    With a `form` a page asks for its fields first, and the cleaned data are passed as `data`.
    """

    name: str
    label: str
    icon: str = ""
    variant: str = "default"
    confirm: str = ""
    form: type[forms.Form] | None = None


class _ShownInForm(Exception):
    """What went wrong stands in the form."""


class HubAdmin(ModelAdmin):
    """Read-only unless a subclass says otherwise; has buttons, and a page for values that are shown once.

    A button is a POST with CSRF to a view of its own, outside of any transaction, since the http client refuses to call out
    while one is open (and Django saves its forms inside one). `press_<name>` returns the message for the person, or a
    response; a `ProviderError` it raises is shown as an error.
    """

    can_add: ClassVar[bool] = False
    can_change: ClassVar[bool] = False
    can_delete: ClassVar[bool] = False
    buttons: ClassVar[Sequence[Button]] = ()
    panels: ClassVar[Sequence[tuple[str, str]]] = ()
    """(title, method): what stands below the fields over the whole width; the method takes request and object."""

    show_full_result_count = False
    list_per_page = 50
    compressed_fields = True
    list_filter_submit = True
    change_form_outer_before_template = "admin/hub/buttons.html"
    change_form_outer_after_template = "admin/hub/panels.html"

    # --- permissions: from the person's memberships -------------------------------------------------------------------

    def may_view(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_operator(request)

    def may_act(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this person may press buttons, run actions and save forms (of this object)."""
        return is_operator(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.may_view(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_view(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.can_add and self.may_act(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.can_change and self.may_act(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.can_delete and self.may_act(request, obj)

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For `@action(permissions=["act"])`."""
        return self.may_act(request, obj)

    # --- buttons ------------------------------------------------------------------------------------------------------

    def offers(self, request: HttpRequest, obj: Any, button: Button) -> bool:
        """Tell whether this button makes sense for the object as it is."""
        return True

    def buttons_for(self, request: HttpRequest, obj: Any) -> list[dict[str, Any]]:
        """Return the buttons of the object's page, with their addresses."""
        if obj is None or not self.may_act(request, obj):
            return []
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_press"
        return [
            {"button": button, "url": reverse(name, args=[quote(obj.pk), button.name])}
            for button in self.buttons
            if self.offers(request, obj, button)
        ]

    def panels_for(self, request: HttpRequest, obj: Any) -> list[tuple[str, Any]]:
        """Return the object's panels, drawn; none for whom may not see the object."""
        if obj is None or not self.may_view(request, obj):
            return []
        return [(title, getattr(self, method)(request, obj)) for title, method in self.panels]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_press"
        press = path("<path:object_id>/press/<slug:button>/", self.admin_site.admin_view(self.press_view), name=name)
        return [press, *super().get_urls()]

    def press_view(self, request: HttpRequest, object_id: str, button: str) -> HttpResponse:
        """Do what a button says, then show the object's page with the result; ask for the button's form first if it has one."""
        pressed = next((each for each in self.buttons if each.name == button), None)
        if pressed is None:
            raise Http404
        if request.method != "POST" and not (pressed.form and request.method == "GET"):
            return HttpResponseNotAllowed(["GET", "POST"] if pressed.form else ["POST"])
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        if not self.may_act(request, obj):
            raise PermissionDenied
        if not self.offers(request, obj, pressed):
            messages.warning(request, f"“{pressed.label}” is not possible: {obj} has changed meanwhile.")
            return HttpResponseRedirect(self.page_of(obj))
        if pressed.form is None:
            return self._press(request, obj, pressed, {}) or HttpResponseRedirect(self.page_of(obj))
        form = pressed.form(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            try:
                return self._press(request, obj, pressed, {"data": form.cleaned_data}, form) or HttpResponseRedirect(
                    self.page_of(obj)
                )
            except _ShownInForm:
                pass
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": pressed.label,
            "subtitle": str(obj),
            "form": form,
            "button": pressed,
            "back": self.page_of(obj),
        }
        return TemplateResponse(request, "admin/hub/button_form.html", context)

    def _press(
        self, request: HttpRequest, obj: Any, button: Button, arguments: dict[str, Any], form: forms.Form | None = None
    ) -> HttpResponse | None:
        tenant = getattr(obj, "tenant", None)
        with scope(tenant=tenant) if isinstance(tenant, Tenant) else nullcontext():
            try:
                answer: HttpResponse | str | None = getattr(self, f"press_{button.name}")(request, obj, **arguments)
            except ProviderError as error:
                if form is None:
                    messages.error(request, error.message)
                    return None
                form.add_error(error.attr if error.attr in form.fields else None, error.message)
                raise _ShownInForm from error
            self.log_change(request, obj, f"Pressed “{button.label}”.")
        if isinstance(answer, HttpResponse):
            return answer
        if answer:
            messages.success(request, answer)
        return None

    def page_of(self, obj: Any) -> str:
        """Return the address of the object's page."""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[quote(obj.pk)])

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        obj = self.get_object(request, unquote(object_id)) if object_id else None
        extra = {
            "hub_buttons": self.buttons_for(request, obj),
            "hub_panels": self.panels_for(request, obj),
            "show_save_and_add_another": False,
            **(extra_context or {}),
        }
        return super().changeform_view(request, object_id, form_url, extra)

    # --- shown once ---------------------------------------------------------------------------------------------------

    def shown_once(self, request: HttpRequest, obj: Any, *, title: str, label: str, value: str, hint: str) -> HttpResponse:
        """Return a page that shows `value` now and never again: it goes through no cookie, session or redirect."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "label": label,
            "value": value,
            "hint": hint,
            "back": self.page_of(obj),
        }
        response = TemplateResponse(request, "admin/hub/shown_once.html", context)
        response["Cache-Control"] = "no-store"
        return response


class OperatorAdmin(HubAdmin):
    """Pages of the installation itself: for operators alone."""


class TenantOwnedForm(forms.ModelForm):  # type: ignore[type-arg]
    """Refuses relations to another tenant's row as a mistake in the form, before the model's guard would raise."""

    def _get_validation_exclusions(self) -> set[str]:
        """Check uniqueness within the tenant also where the tenant is set for the person and is no field of the form."""
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"tenant"} if self.instance.tenant_id else excluded

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        tenant = cleaned.get("tenant")
        tenant_id = tenant.pk if tenant is not None else self.instance.tenant_id
        for name, value in cleaned.items():
            if isinstance(value, TenantOwned) and value.tenant_id != tenant_id:
                self.add_error(name, "This belongs to another tenant.")
        return cleaned


class TenantScopedAdmin(HubAdmin):
    """Pages of tenant-owned rows. `viewers` see them, `editors` also act; both are roles in the row's tenant.

    A person with one tenant never sees the field or column `tenant`: it is set for her. With several she picks among those
    where she is an editor. The tenant of a row never changes once it is there.
    """

    viewers: ClassVar[frozenset[Role]] = READERS
    editors: ClassVar[frozenset[Role]] = frozenset({Role.ADMIN})
    related: ClassVar[tuple[str, ...]] = ()
    """Relations that the list shows, fetched with the rows; `list_select_related` has no say beside the tenant's."""

    form = TenantOwnedForm

    # --- permissions --------------------------------------------------------------------------------------------------

    def may_view(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has(request, obj, self.viewers)

    def may_act(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._has(request, obj, self.editors)

    @staticmethod
    def _has(request: HttpRequest, obj: Any, wanted: frozenset[Role]) -> bool:
        if obj is None:
            return has_role_somewhere(request, wanted)
        found = tenants_with_role(request, wanted)
        return found is None or obj.tenant_id in found

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        visible = tenants_with_role(request, self.viewers)
        rows = rows if visible is None else rows.filter(tenant_id__in=visible)
        return rows.select_related("tenant", *self.related)

    # --- the tenant in lists and forms --------------------------------------------------------------------------------

    def chooses_tenant(self, request: HttpRequest) -> bool:
        """Tell whether the tenant is a question at all for this person."""
        found = tenants_with_role(request, Role.values)
        return found is None or len(found) > 1

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = list(super().get_list_display(request))
        if self.chooses_tenant(request) and "tenant" not in columns:
            columns.insert(1, "tenant")
        return columns

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = list(super().get_list_filter(request))
        return [TenantFilter, *filters] if self.chooses_tenant(request) else filters

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = list(super().get_readonly_fields(request, obj))
        return [*fields, "tenant"] if obj is not None and "tenant" not in fields else fields

    def declared_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the page's fieldsets: a page whose fields depend on the row overrides this. One admin object serves all
        threads, so nothing of it may be kept on `self`."""
        return super().get_fieldsets(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the declared fieldsets with the tenant as first field where it is a question, and without it otherwise."""
        declared = self.declared_fieldsets(request, obj)
        shown = []
        for number, (title, options) in enumerate(declared):
            fields = [field for field in options["fields"] if field != "tenant"]
            if number == 0 and self.chooses_tenant(request):
                fields = ["tenant", *fields]
            shown.append((title, {**options, "fields": fields}))
        return shown

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if obj is None and not self.chooses_tenant(request):
            mine = tenants_with_role(request, self.editors)
            own = next(iter(mine)) if mine else None

            class WithTenant(form):  # type: ignore[misc, valid-type]
                def __init__(self, *args: Any, **kw: Any) -> None:
                    super().__init__(*args, **kw)
                    if self.instance.tenant_id is None:
                        self.instance.tenant_id = own

            return WithTenant
        return form

    def formfield_for_foreignkey(self, db_field: ForeignKey[Any], request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", self.choices_of(db_field.remote_field.model, request))
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and hasattr(field.widget, "can_add_related"):
            widget = field.widget
            widget.can_add_related = widget.can_change_related = widget.can_delete_related = widget.can_view_related = False
        return field

    def choices_of(self, model: type[Model], request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that a relation may be pointed at by this person."""
        mine = tenants_with_role(request, self.editors)
        if model is Tenant:
            tenants: QuerySet[Any] = Tenant.objects.filter(is_active=True)
            return tenants if mine is None else tenants.filter(pk__in=mine)
        if issubclass(model, TenantOwned):
            rows: QuerySet[Any] = model.objects.all()
            return rows if mine is None else rows.filter(tenant_id__in=mine)
        manager: models.Manager[Any] = model._default_manager
        return manager.all()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        # A tenant that the form did not offer can't come this far; whoever gets here by another way must not save.
        if not self.may_act(request, obj):
            raise PermissionDenied
        super().save_model(request, obj, form, change)
