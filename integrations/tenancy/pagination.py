"""Lists by cursor: stable while rows arrive, no counting."""

from __future__ import annotations

from typing import Any

from rest_framework.pagination import CursorPagination
from rest_framework.request import Request


class NewestFirstPagination(CursorPagination):
    """`{"next","previous","results"}`, newest first by the view's `ordering` (by primary key where it has none)."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-pk"

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        allowed: dict[str, tuple[str, ...]] = getattr(view, "orderings", {})
        asked = request.query_params.get("ordering", "")
        return allowed.get(asked) or getattr(view, "default_ordering", ("-pk",))
