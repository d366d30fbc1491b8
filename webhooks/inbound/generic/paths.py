"""Where a value stands in a request: `header:X-Event-Id`, `body:data.items.0.id` (or just `data.items.0.id`), `=literal`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.inbound import InboundRequest

_HEADER = re.compile(r"header:[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_BODY = re.compile(r"(body:[^.\x00-\x1f]{1,100}|[^\s.:=\x00-\x1f][^.:\x00-\x1f]{0,99})(\.[^.\x00-\x1f]{1,100}){0,19}")
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}(\.[A-Za-z_][A-Za-z0-9_]{0,49}){0,4}")

_NOTHING = object()


def is_path(text: str) -> bool:
    """Tell whether `text` names a place in a request."""
    return bool(_HEADER.fullmatch(text) or _BODY.fullmatch(text)) and len(text) <= 200


def is_source(text: str) -> bool:
    """Tell whether `text` is a place in a request or a literal."""
    return text.startswith("=") or is_path(text)


def is_member(text: str) -> bool:
    """Tell whether `text` can name a member of an event's object; dots make nested objects."""
    return _MEMBER.fullmatch(text) is not None


def text_at(path: str, request: InboundRequest, body: Mapping[str, Any]) -> str:
    """Return a text or number that stands there, as text; empty where there is none, or something larger."""
    value = _at(path, request, body)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def mapped(fields: Mapping[str, str], request: InboundRequest, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that `fields` describes. What does not stand in the request is left out, not null."""
    found: dict[str, Any] = {}
    for member, source in fields.items():
        value = source[1:] if source.startswith("=") else _at(source, request, body)
        if value is _NOTHING:
            continue
        *parents, last = member.split(".")
        place = found
        for name in parents:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[last] = value
    return found


def _at(path: str, request: InboundRequest, body: Mapping[str, Any]) -> Any:
    if path.startswith("header:"):
        return request.headers.get(path.removeprefix("header:").lower(), _NOTHING)
    value: Any = body
    for step in path.removeprefix("body:").split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and step.isascii() and len(step) < 7 and int(step) < len(value):
            value = value[int(step)]
        else:
            return _NOTHING
    return value
