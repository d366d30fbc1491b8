"""What the catalogue says of a type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webhooks.outbound.event_types.shapes import TIME, Schema

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ANY_OBJECT: Schema = {"type": "object"}


@dataclass(frozen=True, slots=True)
class EventType:
    """`schema` describes `data.object`, `example` is one that fulfils it; `version` counts the schema's changes.

    `publishable`: tenants hand such events in themselves; the hub emits none. `deprecation_note` says what to use instead.
    """

    name: str
    description: str
    schema: Schema
    example: Mapping[str, Any]
    version: int = 1
    publishable: bool = False
    deprecated: bool = False
    deprecation_note: str = ""

    def document(self) -> dict[str, Any]:
        """Return the public form, with schema and example of the whole body that is sent."""
        return {
            "type": self.name,
            "source": "hub",
            "description": self.description,
            "version": self.version,
            "publishable": self.publishable,
            "deprecated": self.deprecated,
            "deprecation_note": self.deprecation_note,
            "archived": False,
            "schema": schema_of_body(self.name, self.schema),
            "example": example_of_body(self.name, self.example),
        }


def schema_of_body(name: str, schema: Schema | None) -> dict[str, Any]:
    """Return the schema of the body that is sent, around that of `data.object`."""
    inner = dict(schema or ANY_OBJECT)
    moved = {"$defs": inner.pop("$defs")} if "$defs" in inner else {}  # `#/$defs/...` is looked up from the root
    return {
        "$schema": DRAFT,
        "title": name,
        "type": "object",
        "required": ["id", "type", "created", "data"],
        "properties": {
            "id": {"type": "string", "pattern": "^evt_"},
            "type": {"const": name},
            "created": TIME,
            "data": {"type": "object", "required": ["object"], "properties": {"object": inner}},
        },
        **moved,
    }


def example_of_body(name: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """Return an example of the body that is sent."""
    return {
        "id": "evt_01k2f7rjw4a6b8c9d0e1f2g3h4",
        "type": name,
        "created": "2024-01-15T10:30:00Z",
        "data": {"object": example},
    }
