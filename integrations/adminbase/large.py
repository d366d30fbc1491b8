"""Lists over tables of millions of rows: what a page costs does not depend on how many there are.

Such a list is in the order of time and of nothing else, no row is counted beyond the first `LISTED`, and nothing is sorted.
Whose conditions an index can't answer in that order looks at the newest rows only, and says how far back it looked; a range of
time takes it further. Words are found as wholes by columns that have an index, the newest of them, else as parts of what is
among the newest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.views import ChangeList

from integrations.adminbase.access import tenants_with_role
from integrations.adminbase.base import TenantScopedAdmin
from integrations.models import Tenant

LISTED = 10_000
"""Rows of one list that can be paged through; who wants older ones narrows the time."""
LOOKED_AT = 10_000
"""Rows that a list looks at where no index answers its conditions."""
READ = 1_000
"""The same for parts of words, for which whole bodies are read."""
FOUND = 200
"""Rows that are listed of those that have a whole word. Of more than `LOOKED_AT` that have it, those among the newest are."""
_NO_CONDITIONS = frozenset({PAGE_VAR, ORDER_VAR, SEARCH_VAR, ERROR_FLAG, IS_POPUP_VAR, "all"})


class FirstRows(Paginator):  # type: ignore[type-arg]
    """Counts up to `LISTED` rows and lists no others."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        # In their order: without it PostgreSQL may read the table from its beginning until it has so many of one tenant's.
        return min(rows[: LISTED + 1].count(), LISTED)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a list tells of its limits: how many rows there are about, how far back it looked, and where to go on."""

    listed: int
    about: int | None = None
    looked_back_to: datetime | None = None
    further: str = ""
    within_tenant: bool = True
    by_word: bool = False

    @property
    def text(self) -> str:
        """Return it in words."""
        if self.looked_back_to is not None:
            until = f"{timezone.localtime(self.looked_back_to):%Y-%m-%d %H:%M:%S}"
            elsewhere = "" if self.within_tenant or self.further else " Choose a tenant to look further back."
            return f"Looked at the newest {self.listed:,} only, back to {until}.{elsewhere}"
        if self.by_word:
            return f"The newest {self.listed:,} that have it are listed. Narrow the time to see older ones."
        about = f" of about {self.about:,}" if self.about and self.about > self.listed else ""
        return f"The newest {self.listed:,}{about} are listed. Narrow the time to see older ones."


class LargeChangeList(ChangeList):
    """Cuts off what would cost more the more rows there are."""

    reach: Reach | None = None
    model_admin: LargeTableAdmin

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        return list(self.model_admin.get_ordering(request))

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        page = self.model_admin
        served = page.served_by(request)
        given = {name for name, value in request.GET.items() if value} - _NO_CONDITIONS
        found = getattr(request, "_hub_search", "")
        if found == "many":
            self.reach = Reach(FOUND, by_word=True)
        if found in ("whole", "many") or (not found and given <= served):
            return rows
        base = self.root_queryset
        for each in self.filter_specs:
            if served.issuperset(each.expected_parameters()):
                narrowed = each.queryset(request, base)
                base = base if narrowed is None else narrowed
        order = self.get_ordering(request, rows)
        size = READ if found == "parts" else LOOKED_AT
        # Only columns of the index: the step over so many rows reads nothing else.
        columns = [name.lstrip("-") for name in order]
        last = base.select_related(None).order_by(*order).values_list(*columns)[size - 1 : size].first()
        if last is None:
            return rows
        rows = rows.filter(_down_to(columns, last))
        moment = base.filter(pk=last[-1]).values_list(page.moment, flat=True).first()
        self.reach = Reach(
            size, looked_back_to=moment, further=self._further(request, moment, served), within_tenant=page.is_narrow(request)
        )
        return rows

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.reach is None and self.result_count >= LISTED:
            self.reach = Reach(LISTED, about=estimated(self.queryset))

    def _further(self, request: HttpRequest, moment: datetime | None, served: frozenset[str]) -> str:
        name = f"{self.model_admin.moment}_to"
        if moment is None or f"{name}_0" not in served:
            return ""
        local = timezone.localtime(moment)
        query = {key: value for key, value in request.GET.items() if key != PAGE_VAR}
        # To the very row: of those within the same second some may not have been looked at.
        return f"?{urlencode({**query, f'{name}_0': f'{local:%Y-%m-%d}', f'{name}_1': f'{local:%H:%M:%S.%f}'})}"


class LargeTableAdmin(TenantScopedAdmin):
    """A list over a large table. Every attribute names something that has an index; `tests` hold them against the planner."""

    moment: ClassVar[str] = "created"
    """The column of time: `(tenant, -moment, -pk)` has an index."""
    order_of_all: ClassVar[tuple[str, ...]] = ("-pk",)
    """The order over several tenants: one that an index without the tenant has."""
    served: ClassVar[frozenset[str]] = frozenset()
    """Query parameters of filters that an index answers in the order of time within one tenant."""
    found_by: ClassVar[tuple[str, ...]] = ()
    """Columns by which rows are found as a whole: `(tenant, column)` begins an index. The primary key always is one."""
    read: ClassVar[tuple[str, ...]] = ()
    """Columns whose parts are looked for in the newest rows, where nothing was found as a whole."""

    paginator = FirstRows
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    search_fields = ("pk",)  # that there is a search; `get_search_results` is the one
    list_before_template = "admin/hub/reach.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LargeChangeList

    def is_narrow(self, request: HttpRequest) -> bool:
        """Tell whether the list is of one tenant."""
        mine = tenants_with_role(request, self.viewers)
        return request.GET.get("tenant", "").isdigit() or (mine is not None and len(mine) == 1)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return (f"-{self.moment}", "-pk") if self.is_narrow(request) else self.order_of_all

    def served_by(self, request: HttpRequest) -> frozenset[str]:
        """Return the query parameters that cost nothing beyond the rows they find."""
        times = {f"{self.moment}_{end}_{part}" for end in ("from", "to") for part in (0, 1)}
        if self.is_narrow(request):
            return frozenset({"tenant", *times, *self.served})
        return frozenset({"tenant", *(times if self.order_of_all[0] == f"-{self.moment}" else ())})

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Return the rows that have the word as a whole where an index finds it, the newest of many; where none has, those of
        the newest with it as a part of what is `read`."""
        word = search_term.replace("\x00", "").strip()
        if not word:
            return queryset, False
        keys, common = self.keys_of(request, word)
        if common:
            request._hub_search = "common"  # type: ignore[attr-defined]
            return queryset.filter(common | Q(pk__in=keys)), False
        if keys:
            request._hub_search = "whole"  # type: ignore[attr-defined]
            if len(keys) > FOUND:
                newest = queryset.filter(pk__in=keys).order_by(f"-{self.moment}", "-pk").values_list("pk", flat=True)
                keys = list(newest[: FOUND + 1])
                if len(keys) > FOUND:
                    request._hub_search = "many"  # type: ignore[attr-defined]
            return queryset.filter(pk__in=keys[:FOUND]), False
        request._hub_search = "parts"  # type: ignore[attr-defined]
        parts = Q()
        for column in self.read:
            parts |= Q(**{f"{column}__icontains": word})
        return (queryset.filter(parts) if parts else queryset.none()), False

    def keys_of(self, request: HttpRequest, word: str) -> tuple[list[Any], Q]:
        """Return the primary keys of the person's rows that have the whole word (`wholes`), or are it; and what finds those
        that are too many to be named."""
        mine = tenants_with_role(request, self.viewers)
        # Named one by one, so that the indexes serve, all of which begin with the tenant.
        tenants = list(Tenant.objects.values_list("pk", flat=True)) if mine is None else sorted(mine)
        rows: QuerySet[Any] = self.model._base_manager.order_by()
        whose = Q(tenant_id__in=tenants)
        found: list[Any] = []
        common = Q()
        key = self._key(word)
        if key is not None:
            own = rows.filter(pk=key) if mine is None else rows.filter(whose, pk=key)
            found += own.values_list("pk", flat=True)
        for whole in self.wholes(word):
            # Without an order, so that this column's index serves, whatever the planner believes of the word.
            have_it = rows.filter(whose, whole).values_list("pk", flat=True)[: LOOKED_AT + 1]
            if len(have_it) > LOOKED_AT:
                common |= whole
            else:
                found += have_it
        return found, common

    def wholes(self, word: str) -> list[Q]:
        """Return the conditions for rows that have the whole word; with the tenant before it each has an index."""
        return [Q(**{column: word}) for column in self.found_by]

    def _key(self, word: str) -> Any:
        field = self.model._meta.pk
        if field.get_internal_type() in ("CharField", "PrefixedIdField"):
            return word[:40]
        number = word.lstrip("#")
        return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None


def estimated(rows: QuerySet[Any]) -> int | None:
    """Return how many rows PostgreSQL thinks there are: nothing is counted."""
    try:
        plan = json.loads(rows.select_related(None).order_by().values("pk").explain(format="json"))
        return int(plan[0]["Plan"]["Plan Rows"])
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def _down_to(columns: list[str], last: tuple[Any, ...]) -> Q:
    """Return the condition for rows that come no later than the last one in descending order."""
    first = Q(**{f"{columns[0]}__gte": last[0]})
    return first if len(columns) == 1 else first & (Q(**{f"{columns[0]}__gt": last[0]}) | Q(**{f"{columns[1]}__gte": last[1]}))


__all__ = ["LISTED", "LOOKED_AT", "READ", "FirstRows", "LargeChangeList", "LargeTableAdmin", "estimated"]
