"""Content filters: which events an endpoint wants, by what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class InvalidFilter(ValueError):
    """The filter can't be understood; the text says where and why."""


def check(rule: Any) -> None:
    """Raise `InvalidFilter` unless `rule` is a filter: an object of members and what they must equal."""
    if not isinstance(rule, dict):
        raise InvalidFilter("a filter is a JSON object")


def matches(rule: Mapping[str, Any] | None, body: Mapping[str, Any]) -> bool:
    """Tell whether `body` (`{id, type, created, data}`) passes; no filter lets everything through."""
    return not rule or all(body.get(name) == value for name, value in rule.items())
