"""The catalogue of event types: what each tells, as a JSON Schema of `data.object` and an example that fulfils it.

Schemas name what receivers may rely on; objects may gain members. Types outside the catalogue are allowed: a tenant's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEST_EVENT = "webhook.test"

Schema = Mapping[str, Any]

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_TIME = {"type": "string", "format": "date-time"}
_TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_MINOR_UNITS = {"type": "integer", "minimum": 0, "description": "integer minor units of `currency`"}
_CURRENCY = {"type": "string", "pattern": "^[A-Z]{3}$"}
_REFERENCE = {
    "type": ["object", "null"],
    "description": "your own object that this is about",
    "properties": {"type": _TEXT, "id": _TEXT},
    "required": ["type", "id"],
}
_FAILURE = {
    "type": ["object", "null"],
    "properties": {"type": _TEXT, "code": _TEXT, "message": _TEXT, "retryable": {"type": "boolean"}},
    "required": ["code", "message"],
}
_ERROR = {"type": ["object", "null"], "properties": {"code": _TEXT, "message": _TEXT}}


def _object(properties: dict[str, Any], required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}


def _payment(status: Schema) -> Schema:
    properties = {
        "id": {"type": "string", "pattern": "^pay_"},
        "status": status,
        "amount": _MINOR_UNITS,
        "amount_captured": _MINOR_UNITS,
        "amount_refunded": _MINOR_UNITS,
        "currency": _CURRENCY,
        "provider": _TEXT,
        "provider_ref": _TEXT_OR_NULL,
        "reference": _REFERENCE,
        "failure": _FAILURE,
        "created": _TIME,
    }
    return _object(properties, ["id", "status", "amount", "currency", "provider"])


def _message(status: str) -> Schema:
    properties = {
        "id": {"type": "string", "pattern": "^msg_"},
        "channel": _TEXT,
        "to": _TEXT,
        "status": {"const": status},
        "provider": _TEXT_OR_NULL,
        "provider_ref": _TEXT_OR_NULL,
        "reference": _REFERENCE,
        "error": _ERROR,
        "created": _TIME_OR_NULL,
        "delivered_at": _TIME_OR_NULL,
    }
    return _object(properties, ["id", "channel", "to", "status"])


_PAID = {
    "id": "pay_01k2f7rjw4a6b8c9d0e1f2g3h4",
    "status": "succeeded",
    "amount": 1250000,
    "amount_captured": 1250000,
    "amount_refunded": 0,
    "currency": "KES",
    "provider": "example",
    "provider_ref": "NLJ7RT61SV",
    "reference": {"type": "invoice", "id": "INV-2041"},
    "failure": None,
    "created": "2024-01-15T10:29:41Z",
}
_SENT = {
    "id": "msg_01k2f7rjw4a6b8c9d0e1f2g3h4",
    "channel": "sms",
    "to": "+254700000001",
    "status": "delivered",
    "provider": "example",
    "provider_ref": "ATXid_1",
    "reference": {"type": "payment", "id": "pay_01k2f7rjw4a6b8c9d0e1f2g3h4"},
    "error": None,
    "created": "2024-01-15T10:29:50Z",
    "delivered_at": "2024-01-15T10:30:00Z",
}
_CANCELLED = {"type": "payer_error", "code": "cancelled_by_payer", "message": "The payer cancelled.", "retryable": True}


@dataclass(frozen=True, slots=True)
class EventType:
    """`schema` describes `data.object`, `example` is one that fulfils it."""

    name: str
    description: str
    schema: Schema
    example: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """Return the public form, with schema and example of the whole body that is sent."""
        body = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.name,
            "type": "object",
            "required": ["id", "type", "created", "data"],
            "properties": {
                "id": {"type": "string", "pattern": "^evt_"},
                "type": {"const": self.name},
                "created": _TIME,
                "data": {"type": "object", "required": ["object"], "properties": {"object": self.schema}},
            },
        }
        example = {
            "id": "evt_01k2f7rjw4a6b8c9d0e1f2g3h4",
            "type": self.name,
            "created": "2024-01-15T10:30:00Z",
            "data": {"object": self.example},
        }
        return {"type": self.name, "description": self.description, "schema": body, "example": example}


CATALOGUE: tuple[EventType, ...] = (
    EventType(
        "payment.completed",
        "The money is there: the whole amount was captured.",
        _payment({"const": "succeeded"}),
        _PAID,
    ),
    EventType(
        "payment.failed",
        "No money moved: refused, cancelled or not answered in time. `failure` says why.",
        _payment({"enum": ["failed", "cancelled", "expired"]}),
        {**_PAID, "status": "failed", "amount_captured": 0, "provider_ref": None, "failure": _CANCELLED},
    ),
    EventType(
        "payment.refunded",
        "Money went back to the payer: all of it or, by `amount_refunded`, a part.",
        _payment(_TEXT),
        {**_PAID, "amount_refunded": 1250000},
    ),
    EventType(
        "payment.conflicted",
        "What the gateway reports contradicts what was asked for (another amount): a person must look.",
        _payment({"const": "conflicted"}),
        {**_PAID, "status": "conflicted", "amount_captured": 0},
    ),
    EventType("message.delivered", "The message reached its recipient.", _message("delivered"), _SENT),
    EventType(
        "message.failed",
        "The message did not reach its recipient and will not be tried again.",
        _message("failed"),
        {**_SENT, "status": "failed", "error": {"code": "UserInBlacklist", "message": "opted out"}, "delivered_at": None},
    ),
    EventType(
        TEST_EVENT,
        "Sent on request to one endpoint, whatever it subscribes to; nothing has happened.",
        _object({"endpoint": {"type": "string", "pattern": "^we_"}, "message": _TEXT}, ["endpoint", "message"]),
        {"endpoint": "we_01k2f7rjw4a6b8c9d0e1f2g3h4", "message": "This is a test event. Nothing has happened."},
    ),
)

_PATTERN = re.compile(r"\*|[a-z][a-z0-9_]*(\.[a-z0-9_]+)*(\.\*|\.[a-z0-9_]+)")


def is_pattern(text: str) -> bool:
    """Tell whether `text` can stand in an endpoint's `events`: `payment.completed`, `payment.*` or `*`."""
    return len(text) <= 100 and _PATTERN.fullmatch(text) is not None
