"""Filters of lists. None of them shows a value that the person may not see."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters import admin as unfold
from unfold.contrib.filters.admin import DropdownFilter
from unfold.utils import parse_datetime_str

from integrations.adminbase.access import tenants_with_role
from integrations.models import Provider, Role, Tenant


def tenants_of(request: HttpRequest) -> QuerySet[Tenant]:
    """Return the tenants that this person belongs to; all for the operator."""
    mine = tenants_with_role(request, Role.values)
    every = Tenant.objects.order_by("name")
    return every if mine is None else every.filter(pk__in=mine)


class TenantFilter(DropdownFilter):
    """Offers the person's own tenants; gone where there is only one."""

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        found = [(str(tenant.pk), tenant.name) for tenant in tenants_of(request)]
        return found if len(found) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        return queryset.filter(tenant_id=int(value)) if value.isdigit() else queryset


class ProviderFilter(DropdownFilter):
    """Offers the registry's providers, so that no list has to be searched for its distinct values."""

    title = "provider"
    parameter_name = "provider"
    field = "provider"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return list(Provider.objects.order_by("name").values_list("slug", "name"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.field: self.value()}) if self.value() else queryset


class RangeDateTimeFilter(unfold.RangeDateTimeFilter):
    """Takes the times that a person writes for times of the console's zone. Half a time, or what is none, is no condition."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for end, lookup in (("from", "gte"), ("to", "lte")):
            day, time = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") for part in (0, 1))
            moment = parse_datetime_str(f"{day} {time}") if day and time else None
            if moment is not None:
                queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": timezone.make_aware(moment)})
        return queryset
