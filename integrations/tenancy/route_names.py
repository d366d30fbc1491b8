"""Names of API routes, without the ids of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve
from rest_framework.schemas.generators import EndpointEnumerator

CANONICAL = "/api/v1/"
_OTHER_NAMES = f"{CANONICAL}integration/"
_PARAMETER = re.compile(r"{(\w+)}")


@lru_cache(maxsize=4096)
def route_template(pattern: str) -> str:
    """Return a URL pattern as the API's documents write it: `/api/v1/payments/{payment_id}`, an alias as what it stands
    for."""
    found = _template(pattern)
    return _stands_for().get(found, found) if found.startswith(_OTHER_NAMES) else found


def without_ids(path: str) -> str:
    """Return the route of a request's path; empty where there is none."""
    try:
        return route_template(resolve(path).route)
    except Resolver404:
        return ""


def patterns() -> Iterator[tuple[str, URLPattern]]:
    """Yield (whole pattern, entry) of all that is served."""
    yield from _walk(get_resolver())


def _template(pattern: str) -> str:
    found: str = EndpointEnumerator(patterns=[]).get_path_from_regex(pattern)
    if found.startswith("/api/") and not found.startswith(CANONICAL):
        found = CANONICAL + found.removeprefix("/api/")
    return found


@lru_cache(maxsize=1)
def _stands_for() -> dict[str, str]:
    """Return {other name below /integration/: route}: the same view with the same parameters, where that is one alone."""
    routes: dict[tuple[object, tuple[str, ...]], set[str]] = {}
    for pattern, entry in patterns():
        view, route = getattr(entry.callback, "cls", None), _template(pattern)
        if view is not None:
            routes.setdefault((view, tuple(_PARAMETER.findall(route))), set()).add(route)
    found = {}
    for same in routes.values():
        others = {route for route in same if route.startswith(_OTHER_NAMES)}
        if len(same - others) == 1:
            found.update(dict.fromkeys(others, *(same - others)))
    return found


def _walk(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _walk(entry, prefix + str(entry.pattern))
        elif isinstance(entry, URLPattern):
            yield prefix + str(entry.pattern), entry
