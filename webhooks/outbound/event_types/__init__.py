"""The catalogue of event types: what each tells, as a JSON Schema of `data.object` and an example that fulfils it.

Schemas name what receivers may rely on; objects may gain members. Types outside the catalogue are a tenant's own.
"""

from __future__ import annotations

import re

from webhooks.outbound.event_types.facts import FACTS
from webhooks.outbound.event_types.kinds import EventType
from webhooks.outbound.event_types.operational import OPERATIONAL, TEST_EVENT
from webhooks.outbound.event_types.store import STORE

__all__ = ["BY_NAME", "CATALOGUE", "TEST_EVENT", "EventType", "is_pattern", "is_reserved", "is_type_name"]

CATALOGUE: tuple[EventType, ...] = (*FACTS, *STORE, *OPERATIONAL)
BY_NAME = {each.name: each for each in CATALOGUE}

_OPERATIONAL = {
    *("api_key", "api_keys", "apikey", "apikeys", "audit", "config", "configs", "credential", "credentials", "endpoint"),
    *("endpoints", "hub", "inbound_endpoint", "integration", "integrations", "portal", "portal_link", "webhooks"),
}
"""Words that a receiver would take for the hub's own, though nothing is told by them yet."""
HUB_FAMILIES = frozenset(_OPERATIONAL | {"lab_order"} | {each.name.split(".")[0] for each in (*FACTS, *OPERATIONAL)})
"""First words of the types that tell what the hub itself found out (or will): nobody else may say such things."""

_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*|\.[a-z0-9_]+)")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")


def is_pattern(text: str) -> bool:
    """Tell whether `text` can stand in an endpoint's `events`: `payment.completed`, `payment.*` or `*`."""
    return len(text) <= 100 and _PATTERN.fullmatch(text) is not None


def is_type_name(text: str) -> bool:
    """Tell whether `text` can be the name of a type: `order.created`, `booking.slot.freed`."""
    return len(text) <= 100 and _NAME.fullmatch(text) is not None


def is_reserved(name: str) -> bool:
    """Tell whether a type belongs to a family of the hub's own facts, which tenants can neither define nor publish."""
    return name.split(".")[0] in HUB_FAMILIES
