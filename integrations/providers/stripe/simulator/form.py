"""Parameters as Stripe reads them: nested by brackets, typed, and none that it does not know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from integrations.providers.stripe.simulator.answers import refuse
from integrations.simulators import SimRequest

UNIVERSAL = frozenset({"expand", "key"})
"""Every call takes `expand`; Stripe.js sends its publishable key as `key`."""


class Params:
    """The parameters of one request, or of a nested object in it (`path`)."""

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        self.data = dict(data)
        self._path = path

    @classmethod
    def of(cls, request: SimRequest) -> Params:
        """Read query and body; refuse a body that is no form."""
        pairs = list(request.query.items())
        if request.body:
            if request.content_type != "application/x-www-form-urlencoded":
                refuse(400, "Invalid request: the body must be form-encoded.")
            pairs += parse_qsl(request.text(), keep_blank_values=True)
        return cls(_nested(pairs))

    def allow(self, *names: str) -> Params:
        """Refuse any parameter that is not one of `names`; return self."""
        unknown = sorted(set(self.data) - set(names) - UNIVERSAL)
        if unknown:
            refuse(400, f"Received unknown parameter: {self._name(unknown[0])}", "parameter_unknown", self._name(unknown[0]))
        return self

    def has(self, name: str) -> bool:
        return name in self.data

    def text(self, name: str, default: str = "", *, required: bool = False, longest: int = 5000) -> str:
        value = self.data.get(name, "")
        if value == "":
            if required:
                refuse(400, f"Missing required param: {self._name(name)}.", "parameter_missing", self._name(name))
            return default
        if not isinstance(value, str) or len(value) > longest:
            refuse(400, f"Invalid string: {self._name(name)}", "parameter_invalid_string_blank", self._name(name))
        return value

    def integer(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number; without `default` it is required."""
        if name not in self.data and default is not None:
            return default
        text = self.text(name, required=True)
        if not re.fullmatch(r"-?\d{1,15}", text) or int(text) < least:
            refuse(400, f"Invalid integer: {text[:20]}", "parameter_invalid_integer", self._name(name))
        return int(text)

    def boolean(self, name: str, default: bool = False) -> bool:
        text = self.text(name)
        if text not in ("", "true", "false"):
            refuse(400, f"Invalid boolean: {text[:20]}", "parameter_invalid_boolean", self._name(name))
        return default if text == "" else text == "true"

    def choice(self, name: str, options: Sequence[str], default: str = "") -> str:
        text = self.text(name, default)
        if text and text not in options:
            refuse(400, f"Invalid {self._name(name)}: must be one of {', '.join(options)}", "", self._name(name))
        return text

    def texts(self, name: str) -> list[str]:
        """Return a list, however it was written (`a[]`, `a[0]`, a single `a`)."""
        value = self.data.get(name, [])
        if isinstance(value, dict):
            value = [value[key] for key in sorted(value, key=lambda key: int(key) if key.isdigit() else 0)]
        found = [value] if isinstance(value, str) else list(value)
        if not all(isinstance(each, str) for each in found):
            refuse(400, f"Invalid array: {self._name(name)}", "", self._name(name))
        return found

    def within(self, name: str) -> Params:
        """Return a nested object; empty where it is absent."""
        value = self.data.get(name, {})
        if not isinstance(value, dict):
            refuse(400, f"Invalid object: {self._name(name)}", "", self._name(name))
        return Params(value, self._name(name))

    def metadata(self) -> dict[str, str]:
        """Return notes: at most 50, names of 40 and values of 500 characters (docs.stripe.com/api/metadata)."""
        found = self.within("metadata").data
        if len(found) > 50:
            refuse(400, "Metadata can have at most 50 keys.", "", "metadata")
        for name, value in found.items():
            if not isinstance(value, str) or len(name) > 40 or len(value) > 500:
                refuse(400, "Invalid metadata: names have at most 40 characters, values 500.", "", f"metadata[{name}]")
        return dict(found)

    def _name(self, name: str) -> str:
        return f"{self._path}[{name}]" if self._path else name


def _nested(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return `a[b][0]=x` as `{"a": {"b": {"0": "x"}}}`; `a[]` takes the next number."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        first, *rest = [name.partition("[")[0], *re.findall(r"\[([^\]]*)\]", name)]
        node, key = found, first
        for step in rest:
            inner = node.setdefault(key, {})
            if not isinstance(inner, dict):
                refuse(400, f"Invalid object: {first}", "", first)
            node, key = inner, step or str(len(inner))
        node[key] = value
    return found
