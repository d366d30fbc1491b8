"""What a key's scopes may name, what they allow, and what one who has some may hand on.

A scope is `*`, `<resource>`, `<resource>:read` or `<resource>:write`; the resources are the `key_scope`s of the API's views.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from rest_framework.permissions import SAFE_METHODS

from integrations.models import Role
from integrations.tenancy.network import are_covered
from integrations.tenancy.route_names import CANONICAL, patterns, route_template

EVERYTHING = "*"
READ, WRITE = "read", "write"
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Resource:
    """What a scope can name, with the routes (`GET /api/v1/payments`) that reading and writing open."""

    name: str
    read: tuple[str, ...]
    write: tuple[str, ...]


@lru_cache(maxsize=1)
def resources() -> tuple[Resource, ...]:
    """Return all resources, by name, as the views declare them."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path, pattern in patterns():
        view = getattr(pattern.callback, "cls", None)
        name = getattr(view, "key_scope", "")
        route = route_template(path)
        if not name or not route.startswith(CANONICAL):
            continue
        reading, writing = found.setdefault(name, (set(), set()))
        for method in (each for each in _METHODS if hasattr(view, each)):
            (reading if method.upper() in SAFE_METHODS else writing).add(f"{method.upper()} {route}")
    return tuple(Resource(name, tuple(sorted(reads)), tuple(sorted(writes))) for name, (reads, writes) in sorted(found.items()))


def known_scopes() -> frozenset[str]:
    """Return every scope that means anything here."""
    each = {f"{resource.name}{end}" for resource in resources() for end in ("", f":{READ}", f":{WRITE}")}
    return frozenset(each | {EVERYTHING})


def permits(scopes: frozenset[str], resource: str, action: str) -> bool:
    """Tell whether these scopes (none: all) allow an action, `READ` or `WRITE`, on a resource."""
    return not scopes or bool(scopes & {resource, f"{resource}:{action}", EVERYTHING})


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may, and so the most that he may hand on. An admin in person has no bounds but the role; a key has its
    scopes (empty: all), its end, its addresses (empty: any) and its rate."""

    role: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    expires_at: datetime | None = None
    allowed_ips: tuple[str, ...] = ()
    rate_per_minute: int | None = None

    def excess(self, other: Grant) -> str:
        """Return which part of another grant goes beyond this one: `role`, `scopes`, `expires_at`, `allowed_ips` or
        `rate_per_minute`; empty where it stays within."""
        if self.role not in (Role.ADMIN, other.role):
            return "role"
        if not self._covers(other.scopes):
            return "scopes"
        if self.expires_at is not None and (other.expires_at is None or other.expires_at > self.expires_at):
            return "expires_at"
        if self.allowed_ips and not (other.allowed_ips and are_covered(other.allowed_ips, self.allowed_ips)):
            return "allowed_ips"
        if self.rate_per_minute is not None and (other.rate_per_minute is None or other.rate_per_minute > self.rate_per_minute):
            return "rate_per_minute"
        return ""

    def _covers(self, scopes: frozenset[str]) -> bool:
        if not self.scopes or EVERYTHING in self.scopes:
            return True
        return bool(scopes) and all(self._covers_one(each) for each in scopes)

    def _covers_one(self, scope: str) -> bool:
        resource, _, action = scope.partition(":")
        if resource == EVERYTHING:
            return False
        wanted = (action,) if action else (READ, WRITE)
        return all(permits(self.scopes, resource, each) for each in wanted)


OWNER = Grant(role=Role.ADMIN)
"""Of the hub itself and of an admin in person."""


def bad_scopes(scopes: Iterable[str]) -> list[str]:
    """Return those that mean nothing here."""
    known = known_scopes()
    return [each for each in scopes if each not in known]
