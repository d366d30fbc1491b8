"""Lists by cursor: stable while rows arrive, no counting, and no page dearer than another however many rows there are."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import QueryDict
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

LOOKED_AT = 10_000
"""Rows that one page looks at where no index answers its filters."""
JOINED = 5_000
"""The same where each row is asked for another table's, which costs several times as much as the row itself."""
READ = 1_000
"""The same for parts of words, for which whole bodies are read."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which filters of a list over a large table an index answers. A page with any other one looks at `LOOKED_AT` rows at
    most: it may hold fewer rows than asked for, even none, and yet have a `next` one, which looks further."""

    served: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """Filters that cost nothing beyond the rows they find, in the list's order; of some only for one of certain values."""
    few: frozenset[str] = frozenset()
    """Filters that an index narrows to few rows: whatever else is asked of those costs little."""
    joined: frozenset[str] = frozenset()
    """Filters that look up rows of another table."""
    read: frozenset[str] = frozenset()
    """Filters that read long texts."""

    def rows(self, given: Mapping[str, list[str]]) -> int | None:
        """Return how many rows a page with these filters looks at; None where it need not be limited."""
        if given.keys() & self.few or all(self.is_served(*each) for each in given.items()):
            return None
        if given.keys() & self.read:
            return READ
        return JOINED if given.keys() & self.joined else LOOKED_AT

    def is_served(self, name: str, values: list[str]) -> bool:
        if name not in self.served:
            return False
        only = self.served[name]
        return only is None or (len(values) == 1 and values[0] in only)


class NewestFirstPagination(CursorPagination):
    """`{"next","previous","results"}`, newest first by the view's `default_ordering` (by primary key where it has none), which
    ends with the primary key and goes in one direction. A cursor holds the values of the row that it stands at: rows of equal
    time are neither lost nor told twice. A view with a `reach` never looks at more rows for a page than that says."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-pk"

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        allowed: dict[str, tuple[str, ...]] = getattr(view, "orderings", {})
        asked = request.query_params.get("ordering", "")
        default: tuple[str, ...] = getattr(view, "default_ordering", ("-pk",))
        return allowed.get(asked) or default

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request = request
        size = self.get_page_size(request) or type(self).page_size
        self.base_url = request.build_absolute_uri()
        forwards = self.get_ordering(request, queryset, view)
        self.fields = [name.lstrip("-") for name in forwards]
        at, backwards = self._decoded(queryset)
        order = _turned(forwards) if backwards else forwards
        found = queryset.order_by(*order)
        if at is not None:
            found = found.filter(beyond(order, at))
        limit = self._limit(queryset, request, view, order, at)
        if limit is not None:
            found = found.filter(until(order, limit))
        rows = list(found[: size + 1])
        more = len(rows) > size
        rows = rows[:size]
        ahead = self._at(rows[-1]) if more else limit
        behind = self._at(rows[0]) if rows and at is not None else None
        self.page = rows[::-1] if backwards else rows
        self.next_at, self.previous_at = (behind, ahead) if backwards else (ahead, behind)
        self.has_next, self.has_previous = self.next_at is not None, self.previous_at is not None
        return self.page

    def _limit(self, queryset: Any, request: Request, view: Any, order: tuple[str, ...], at: Any) -> tuple[Any, ...] | None:
        """Return where this page stops looking, the last row it looks at; None where it need not."""
        reach: Reach | None = getattr(view, "reach", None)
        filters = getattr(view, "filterset_class", None)
        if reach is None or filters is None:
            return None
        params = request.query_params
        given = {name: params.getlist(name) for name in filters.base_filters if any(params.getlist(name))}
        size = reach.rows(given)
        if size is None:
            return None
        # What the index answers is left out of the count: so many rows of the provider, of the time, that was asked for.
        served = QueryDict(mutable=True)
        for name, values in given.items():
            if reach.is_served(name, values):
                served.setlist(name, values)
        base = filters(served, queryset=view.get_queryset(), request=request).qs.select_related(None).order_by(*order)
        if at is not None:
            base = base.filter(beyond(order, at))
        last: tuple[Any, ...] | None = base.values_list(*self.fields)[size - 1 : size].first()
        return last

    def get_next_link(self) -> str | None:
        return self._link(self.next_at, backwards=False)

    def get_previous_link(self) -> str | None:
        return self._link(self.previous_at, backwards=True)

    def _link(self, at: Iterable[Any] | None, *, backwards: bool) -> str | None:
        if at is None:
            return None
        tokens = [("p", str(value)) for value in at]
        if backwards:
            tokens.append(("r", "1"))
        encoded = b64encode(urlencode(tokens).encode()).decode()
        return str(replace_query_param(self.base_url or "", self.cursor_query_param, encoded))

    def _at(self, row: Any) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self.fields)

    def _decoded(self, queryset: QuerySet[Any]) -> tuple[tuple[Any, ...] | None, bool]:
        """Return where the cursor stands, and whether it leads back; a cursor that we did not make is not found."""
        encoded = self.request.query_params.get(self.cursor_query_param)
        if encoded is None:
            return None, False
        meta = queryset.model._meta
        try:
            tokens = parse_qs(b64decode(encoded.encode("ascii"), validate=True).decode(), keep_blank_values=True)
            columns = [meta.pk if name == "pk" else meta.get_field(name) for name in self.fields]
            values = tokens.get("p", [])
            # Those that were given out before they named the row as well as its time: they go on at the time.
            at = tuple(column.to_python(value) for column, value in zip(columns, values, strict=False))
        except (TypeError, ValueError, ValidationError) as error:
            raise NotFound(self.invalid_cursor_message) from error
        if not at or any(value is None or "\x00" in str(value) or _is_naive(value) for value in at):
            raise NotFound(self.invalid_cursor_message)
        return at, tokens.get("r", ["0"])[0] == "1"


def beyond(order: tuple[str, ...], at: tuple[Any, ...]) -> Q:
    """Return the condition for rows that come after the values in this order. The first column's bound is one that an index can
    begin at; a position of fewer columns than the order leaves out its equals."""
    found, _equal = _after(order, at)
    return _begins(order[0], at[0]) & found


def until(order: tuple[str, ...], at: tuple[Any, ...]) -> Q:
    """Return the condition for rows that come no later than the row with the values in this order, that row included."""
    back = _turned(order)
    found, equal = _after(back, at)
    return _begins(back[0], at[0]) & (found | Q(**equal))


def _after(order: tuple[str, ...], at: tuple[Any, ...]) -> tuple[Q, dict[str, Any]]:
    found = Q()
    equal: dict[str, Any] = {}
    for name, value in zip(order, at, strict=False):
        column, after = name.lstrip("-"), "lt" if name.startswith("-") else "gt"
        found |= Q(**equal, **{f"{column}__{after}": value})
        equal[column] = value
    return found, equal


def _begins(name: str, value: Any) -> Q:
    return Q(**{f"{name.lstrip('-')}__{'lte' if name.startswith('-') else 'gte'}": value})


def _is_naive(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is None


def _turned(order: Iterable[str]) -> tuple[str, ...]:
    return tuple(name[1:] if name.startswith("-") else f"-{name}" for name in order)
