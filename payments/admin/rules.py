"""A tenant's own rules: which gateway takes a payment, and what account numbers stand for."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from integrations.adminbase.base import HubAdmin, TenantScopedAdmin
from integrations.adminbase.render import money
from integrations.contracts.capabilities import Capability
from integrations.models import Config
from integrations.registry import providers_of
from payments.models import AllocationRule, RoutingRule, RoutingStep


class StepFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """Steps belong to their rule's tenant, and so do the accounts they name."""

    def clean(self) -> None:
        super().clean()
        tenant_id = self.instance.tenant_id
        for form in self.forms:
            config = getattr(form, "cleaned_data", {}).get("config")
            # Without a tenant the rule itself is refused, and nothing is saved.
            if config is not None and tenant_id is not None and config.tenant_id != tenant_id:
                form.add_error("config", "This belongs to another tenant.")

    def save_new(self, form: Any, commit: bool = True) -> Any:
        form.instance.tenant_id = self.instance.tenant_id
        return super().save_new(form, commit=commit)


class RoutingStepInline(TabularInline):
    """The gateways of a rule, in their order. Who may change the rule may change its steps."""

    model = RoutingStep
    formset = StepFormSet
    extra = 0
    fields = ("position", "config")
    ordering = ("position", "id")
    hide_title = True
    verbose_name = "gateway"
    verbose_name_plural = "Gateways, in their order"

    @property
    def _page(self) -> HubAdmin:
        page = self.admin_site._registry[RoutingRule]
        assert isinstance(page, HubAdmin)  # noqa: S101 tells the type checker what is registered below
        return page

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._page.may_view(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._page.may_act(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._page.may_act(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._page.may_act(request, obj)

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return the formset that offers payment accounts alone: of the rule's tenant, or where this person is an editor."""
        formset = super().get_formset(request, obj, **kwargs)
        field = formset.form.base_fields.get("config")
        if field is not None:
            able = [provider.slug for provider in providers_of(Capability.PAYMENT.value)]
            rows = self._page.choices_of(Config, request).filter(provider_id__in=able)  # type: ignore[attr-defined]
            field.queryset = rows if obj is None else rows.filter(tenant_id=obj.tenant_id)
            widget = field.widget
            widget.can_add_related = widget.can_change_related = widget.can_delete_related = widget.can_view_related = False
        return formset


@admin.register(RoutingRule)
class RoutingRuleAdmin(TenantScopedAdmin):
    """The first active rule that a payment fits names its gateways; without one the primary account takes it."""

    can_add = can_change = can_delete = True
    list_display = ("name", "position", "is_active", "fits", "gateways")
    list_filter = ("is_active",)
    search_fields = ("name",)
    fields = ("tenant", ("name", "is_active"), "position", ("currency", "method_type"), ("minimum", "maximum"))
    inlines = (RoutingStepInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RoutingRule]:
        steps = Prefetch("steps", queryset=RoutingStep.objects.select_related("config"))
        return super().get_queryset(request).prefetch_related(steps)

    @display(description="Payments that fit")
    def fits(self, obj: RoutingRule) -> str:
        said = [obj.get_method_type_display(), obj.currency]
        if obj.minimum is not None:
            said.append(f"from {money(obj.minimum, obj.currency)}")
        if obj.maximum is not None:
            said.append(f"up to {money(obj.maximum, obj.currency)}")
        return ", ".join(filter(None, said)) or "all"

    @display(description="Gateways")
    def gateways(self, obj: RoutingRule) -> str:
        return " → ".join(str(step.config) for step in obj.steps.all()) or "-"


@admin.register(AllocationRule)
class AllocationRuleAdmin(TenantScopedAdmin):
    """The first rule that an account number fits says what the money is for."""

    can_add = can_change = can_delete = True
    list_display = ("pattern", "reference_type", "position")
    search_fields = ("pattern", "reference_type")
    fields = ("tenant", "pattern", "reference_type", "position")
