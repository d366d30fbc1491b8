"""How a tenant's messages go on where the first way fails."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from integrations.adminbase.base import HubAdmin, TenantScopedAdmin
from integrations.messaging.fallback.policies import step_problem
from integrations.messaging.models import FallbackPolicy, FallbackStep


class StepFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """Steps belong to their policy's tenant and lead somewhere."""

    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            given = getattr(form, "cleaned_data", {})
            if not given.get("channel") or given.get("DELETE"):
                continue
            problem = step_problem(self.instance.channel, given["channel"], given.get("provider") or "")
            if problem:
                form.add_error("provider" if given.get("provider") else "channel", problem)
            if given.get("number") == 0:
                form.add_error("number", "Steps are counted from 1.")

    def save_new(self, form: Any, commit: bool = True) -> Any:
        form.instance.tenant_id = self.instance.tenant_id
        return super().save_new(form, commit=commit)


class StepInline(TabularInline):
    """The ways of a policy, in their order. Who may change the policy may change its steps."""

    model = FallbackStep
    formset = StepFormSet
    extra = 0
    fields = ("number", "channel", "provider")
    ordering = ("number",)
    hide_title = True
    verbose_name = "way"
    verbose_name_plural = "Ways, in their order"

    @property
    def _page(self) -> HubAdmin:
        page = self.admin_site._registry[FallbackPolicy]
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


@admin.register(FallbackPolicy)
class FallbackPolicyAdmin(TenantScopedAdmin):
    """The policy of a message's own category comes before the channel's; its ways are tried in the order of their numbers."""

    can_add = can_change = can_delete = True
    list_display = ("name", "channel", "category", "is_active", "after_minutes", "ways")
    list_display_links = ("name",)
    list_filter = (("channel", ChoicesDropdownFilter), "is_active")
    search_fields = ("name", "category")
    fields = ("tenant", ("name", "is_active"), ("channel", "category"), ("after_minutes", "tries"))
    inlines = (StepInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[FallbackPolicy]:
        return super().get_queryset(request).prefetch_related(Prefetch("steps", queryset=FallbackStep.objects.all()))

    @display(description="Goes on by")
    def ways(self, obj: FallbackPolicy) -> str:
        return " → ".join(str(step) for step in obj.steps.all()) or "-"
