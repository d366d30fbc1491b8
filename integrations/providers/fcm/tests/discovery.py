"""Google's own description of the API as a judge of send requests and answers.

It is a discovery document, no OpenAPI, so the judge of all providers (`tests/vendor_specs`) leaves it out. Names are brought to
the description's camelCase and enum values to upper case first: Google takes both spellings.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from tests.vendor_specs.loader import specs_folder

SLUG = "fcm"
DURATION = r"-?\d+(\.\d{1,9})?s"


class NotAsDescribed(AssertionError):
    """A request or answer is not as Google describes it; the text names the place."""


@lru_cache(maxsize=1)
def schemas() -> dict[str, Any] | None:
    """Return the described objects by name, None where the descriptions are not on this machine."""
    folder = specs_folder()
    path = folder / f"{SLUG}.json" if folder else None
    if path is None or not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))["schemas"]
    return found


def check_request(body: Any) -> None:
    """Raise `NotAsDescribed` unless this may be sent to `messages:send`."""
    if schemas() is not None:
        _object(body, "SendMessageRequest", "body")


def check_answer(body: Any) -> None:
    """Raise `NotAsDescribed` unless `messages:send` may succeed with this."""
    if schemas() is not None:
        _object(body, "Message", "body")


def _object(value: Any, name: str, path: str) -> None:
    if not isinstance(value, dict):
        raise NotAsDescribed(f"{path}: no object")
    known = (schemas() or {})[name].get("properties", {})
    for given, item in value.items():
        key = re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), given)
        if key not in known:
            raise NotAsDescribed(f"{path}.{given}: {name} has no such member")
        _value(item, known[key], f"{path}.{given}")


def _value(value: Any, described: dict[str, Any], path: str) -> None:
    if "$ref" in described:
        _object(value, described["$ref"], path)
        return
    kind = described["type"]
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    if not fits[kind]:
        raise NotAsDescribed(f"{path}: no {kind}")
    if "enum" in described and value.upper() not in described["enum"]:
        raise NotAsDescribed(f"{path}: not one of {described['enum']}")
    if described.get("format") == "google-duration" and not re.fullmatch(DURATION, value):
        raise NotAsDescribed(f"{path}: no duration")
    items = described.get("items") or described.get("additionalProperties")
    if items and items.get("type") != "any":
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _value(item, items, f"{path}.{key}")
