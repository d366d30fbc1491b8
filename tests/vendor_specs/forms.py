"""Form bodies and query strings as the JSON-like data that a schema can judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Resolve = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Callable[[Any], bool]]]
"""Gives a schema without its outer reference, and a function that tells whether a value fits it."""


def unfold(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return `a[b][0]=x` as `{"a": {"b": ["x"]}}`; a repeated name becomes a list."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = [name.partition("[")[0], *re.findall(r"\[([^\]]*)\]", name)]
        node, key = found, first
        for step in rest:
            inner = node.setdefault(key, {})
            if not isinstance(inner, dict):
                break  # `a=1&a[b]=2`: nonsense stays what came first, and fails
            node, key = inner, step or str(len(inner))
        if key not in node:
            node[key] = value
        elif isinstance(node[key], list):
            node[key].append(value)
        else:
            node[key] = [node[key], value]
    return {key: _lists(value) for key, value in found.items()}


def _lists(value: Any) -> Any:
    """Turn objects whose members are numbered from 0 into lists."""
    if not isinstance(value, dict):
        return value
    if value and sorted(value) == sorted(str(number) for number in range(len(value))):
        return [_lists(value[str(number)]) for number in range(len(value))]
    return {key: _lists(each) for key, each in value.items()}


def coerce(value: Any, schema: Mapping[str, Any], resolve: Resolve) -> Any:
    """Return form data with strings turned into the types that the schema wants; what does not turn stays a string."""
    schema, _fits = resolve(schema)
    for word in ("anyOf", "oneOf"):
        for branch in schema.get(word, ()):
            tried = coerce(value, branch, resolve)
            if resolve(branch)[1](tried):
                return tried
    for part in schema.get("allOf", ()):
        value = coerce(value, part, resolve)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        others = others if isinstance(others, Mapping) else {}
        return {key: coerce(each, known.get(key, others), resolve) for key, each in value.items()}
    if isinstance(value, list):
        return [coerce(each, schema.get("items", {}), resolve) for each in value]
    if "array" in types and "string" not in types:
        return [coerce(value, schema.get("items", {}), resolve)]
    return value if "string" in types or not isinstance(value, str) else _scalar(value, types)


def _scalar(value: str, types: Iterable[str]) -> Any:
    if "integer" in types and re.fullmatch(r"-?\d+", value):
        return int(value)
    if "number" in types and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    if "boolean" in types and value in ("true", "false"):
        return value == "true"
    return value
