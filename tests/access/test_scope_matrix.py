"""Every API route with every kind of credential: open exactly where role and scope say so, 401 without one, never a 500.

The routes come from the URL resolver: a new view needs a `key_scope`, or a reason here why it has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import IntConverter
from rest_framework.test import APIClient

from integrations.models import Role, Tenant
from integrations.tenancy.permissions import IsTenantAdmin, IsTenantStaff
from integrations.tenancy.scopes import known_scopes
from integrations.tenancy.views import TenantScopeMixin
from tests.factories import make_client

pytestmark = pytest.mark.django_db
METHODS = ("get", "post", "put", "patch", "delete")

WITHOUT_SCOPE = {
    "schema": "the API's own description, public",
    "docs": "the API's own description, public",
    "redoc": "the API's own description, public",
    "health": "public: says nothing of any tenant",
    r"^webhooks/(?P<endpoint_id>we_[0-9a-z]{26})/public-keys$": "public: what a receiver checks our signatures with",
}

FOR_ADMINS = {("delete", "integrations/suppressions/<int:suppression_id>")}
"""Methods of views for staff that only admins may use."""

WRITES_WHAT_READS = {("post", "webhooks/portal-links")}
"""What may not be made without the scope to read: whoever holds a portal link may look."""


@dataclass(frozen=True)
class Route:
    """A route below /api/v1/ with an address that leads to it."""

    path: str
    url: str
    view: Any
    methods: tuple[str, ...]

    @property
    def scope(self) -> str:
        return str(getattr(self.view, "key_scope", ""))


def walk(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from walk(entry, prefix + str(entry.pattern))
        else:
            yield prefix, entry


def address(pattern: Any) -> str:
    """Return a path that the pattern matches, with ids of nothing that is there."""
    text = str(pattern).strip("^$")
    for name, converter in getattr(pattern, "converters", {}).items():
        value = "999999999" if isinstance(converter, IntConverter) else "none"
        text = re.sub(rf"<(?:\w+:)?{name}>", value, text)
    text = re.sub(r"\(\?P<\w+>([^()]*)\)", lambda found: _matching(found[1]), text)
    assert pattern.match(text) is not None, f"no address was made for {pattern}"
    return text


def _matching(expression: str) -> str:
    """Return a text for a simple expression: the first character of each class, as often as it must be there."""
    classes = r"(?:\[(?P<first>[^\]])[^\]]*\]|\\(?P<kind>[wd]))(?:\{(?P<times>\d+)(?:,\d*)?\}|[+*?])?"
    return re.sub(
        classes,
        lambda found: (found["first"] or ("1" if found["kind"] == "d" else "a")) * int(found["times"] or 1),
        expression.split("|")[0],
    )


def routes() -> list[Route]:
    found = []
    for prefix, pattern in walk(get_resolver()):
        view = getattr(pattern.callback, "cls", None)
        if prefix == "api/v1/" and view is not None:
            methods = tuple(method for method in METHODS if hasattr(view, method))
            found.append(Route(str(pattern.pattern), f"/api/v1/{address(pattern.pattern)}", view, methods))
    return found


ROUTES = routes()
SCOPED = [route for route in ROUTES if route.path not in WITHOUT_SCOPE]
CREDENTIALS: dict[str, tuple[str, tuple[str, ...]]] = {
    "all of an admin": (Role.ADMIN, ()),
    "everything": (Role.ADMIN, ("*",)),
    "other scope": (Role.ADMIN, ("elsewhere", "elsewhere:read", "elsewhere:write")),
    "read": (Role.ADMIN, ("{scope}:read",)),
    "write": (Role.ADMIN, ("{scope}:write",)),
    "both": (Role.ADMIN, ("{scope}",)),
    "all of staff": (Role.STAFF, ()),
    "read of staff": (Role.STAFF, ("{scope}:read",)),
    "all of an auditor": (Role.AUDITOR, ()),
    "write of an auditor": (Role.AUDITOR, ("{scope}:write",)),
}


def opens(route: Route, method: str, role: str, scopes: tuple[str, ...]) -> bool:
    """Tell, by the API's own words, whether this credential may call the route. Written anew, not taken from the code."""
    action = "read" if method == "get" else "write"
    if scopes and "*" not in scopes and "{scope}" not in scopes and f"{{scope}}:{action}" not in scopes:
        return False
    if (method, route.path) in WRITES_WHAT_READS and scopes == ("{scope}:write",):
        return False
    if role == Role.AUDITOR:
        return action == "read"
    if role == Role.ADMIN:
        return True
    return (method, route.path) not in FOR_ADMINS and any(
        issubclass(each, IsTenantStaff) for each in route.view.permission_classes
    )


def test_every_view_names_its_resource() -> None:
    assert len(ROUTES) > 80
    unnamed = {route.path for route in ROUTES if not route.scope}
    assert unnamed == set(WITHOUT_SCOPE)
    for route in SCOPED:
        assert issubclass(route.view, TenantScopeMixin), route.path
        assert any(issubclass(each, (IsTenantAdmin, IsTenantStaff)) for each in route.view.permission_classes), route.path
        assert {route.scope, f"{route.scope}:read", f"{route.scope}:write"} <= known_scopes()


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_route_opens_where_role_and_scope_say_so(credential: str, tenant: Tenant) -> None:
    role, scopes = CREDENTIALS[credential]
    clients: dict[str, APIClient] = {}
    wrong, refused, opened = [], 0, 0
    for route in SCOPED:
        if route.scope not in clients:
            clients[route.scope] = make_client(tenant, role, [each.format(scope=route.scope) for each in scopes])
        for method in route.methods:
            answer = getattr(clients[route.scope], method)(route.url, {} if method != "get" else None)
            expected = opens(route, method, role, scopes)
            if (answer.status_code not in (401, 403)) is not expected or answer.status_code == 500:
                wrong.append(f"{method} {route.url}: {answer.status_code}")
            opened, refused = opened + expected, refused + (not expected)
    assert wrong == []
    assert (opened == 0) is (credential in {"other scope", "write of an auditor"})
    assert (refused == 0) is (credential in {"all of an admin", "everything", "both"})


def test_without_a_credential_nothing_opens(db: None) -> None:
    client = APIClient()
    found = {
        f"{method} {route.url}": getattr(client, method)(route.url).status_code for route in SCOPED for method in route.methods
    }
    assert {each: status for each, status in found.items() if status != 401} == {}
    assert len(found) > 100
