"""JSON Schemas of what events are about: what receivers may rely on. Objects may gain members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.failures import Decision, FailureType
from integrations.contracts.payment import DisputeState
from integrations.contracts.payment_features import MethodType

Schema = Mapping[str, Any]

TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time"}
TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
MINOR_UNITS = {"type": "integer", "minimum": 0, "description": "integer minor units of `currency`"}
CURRENCY = {"type": "string", "pattern": "^[A-Z]{3}$"}
REFERENCE = {
    "type": ["object", "null"],
    "description": "your own object that this is about",
    "properties": {"type": TEXT, "id": TEXT},
    "required": ["type", "id"],
}
ERROR = {"type": ["object", "null"], "properties": {"code": TEXT, "message": TEXT}}


def object_of(properties: dict[str, Any], required: list[str]) -> Schema:
    """Return the schema of an object that has at least these members."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}


METHOD_TYPE = {"enum": [each.value for each in MethodType]}
FAILURE = {
    "type": ["object", "null"],
    "description": "why money did not move; the codes are listed in docs/integrating.md",
    "properties": {
        "type": {"enum": [each.value for each in FailureType]},
        "code": TEXT,
        "message": TEXT,
        "decline_code": TEXT,
        "provider_code": TEXT,
        "retryable": {"type": "boolean"},
        "decision": {"enum": [each.value for each in Decision]},
    },
    "required": ["type", "code", "message", "retryable", "decision"],
}
OPERATION_STATUS = {"enum": ["pending", "succeeded", "failed", "unknown", "needs_review"]}
BY = {"enum": ["hub", "gateway"], "description": "`gateway`: made in the gateway's own dashboard"}


def _operation(id_pattern: str, **more: Schema) -> Schema:
    """Return the schema of a capture or a refund within its payment."""
    properties = {
        "id": {"type": "string", "pattern": id_pattern},
        "status": OPERATION_STATUS,
        "amount": MINOR_UNITS,
        "origin": BY,
        "provider_ref": TEXT,
        "failure": FAILURE,
        "created": TIME,
        "updated": TIME,
        **more,
    }
    return object_of(properties, sorted(properties))


DISPUTE = {
    "id": {"type": "string", "pattern": "^dp_"},
    "status": {"enum": [each.value for each in DisputeState]},
    "amount": MINOR_UNITS,
    "currency": CURRENCY,
    "reason": TEXT,
    "withdrawn": {"type": "boolean", "description": "the money is gone from your account, for now or for good"},
    "respond_by": TIME_OR_NULL,
    "provider_ref": TEXT,
    "created": TIME,
    "updated": TIME,
}
MONEY_OR_NULL = {
    "type": ["object", "null"],
    "properties": {"amount": {"type": "integer"}, "currency": CURRENCY},
    "required": ["amount", "currency"],
}
PAYMENT = {
    "id": {"type": "string", "pattern": "^pay_"},
    "origin": {"enum": ["api", "customer"], "description": "`customer`: money that came in without being asked for"},
    "amount": MINOR_UNITS,
    "amount_capturable": MINOR_UNITS,
    "amount_captured": MINOR_UNITS,
    "amount_voided": MINOR_UNITS,
    "amount_disputed": MINOR_UNITS,
    "amount_refunded": MINOR_UNITS,
    "currency": CURRENCY,
    "provider": TEXT,
    "provider_ref": TEXT,
    "provider_receipt": TEXT,
    "receipt_number": {"type": "string", "description": "of your own receipt; empty while nothing was paid"},
    "method": object_of(
        {"type": METHOD_TYPE, "phone": TEXT, "detail": TEXT, "stored": TEXT},
        ["type", "phone", "detail", "stored"],
    ),
    "capture": {"enum": ["automatic", "manual"]},
    "next_action": {"type": ["object", "null"]},
    "failure": FAILURE,
    "reference": REFERENCE,
    "account_number": TEXT,
    "allocated": {"type": "boolean"},
    "reported": {**MONEY_OR_NULL, "description": "what the gateway said it took, where that differs"},
    "customer": {"type": ["object", "null"]},
    "description": TEXT,
    "metadata": {"type": "object"},
    "fee": {**MONEY_OR_NULL, "description": "what the gateway kept, where it says so"},
    "captures": {"type": "array", "items": _operation("^op_")},
    "refunds": {"type": "array", "items": _operation("^re_", reason=TEXT, provider_receipt=TEXT)},
    "disputes": {"type": "array", "items": object_of(DISPUTE, sorted(DISPUTE))},
    "expires": {**TIME_OR_NULL, "description": "when the hold lapses, or the request for the payer"},
    "created": TIME,
    "updated": TIME,
    "completed": TIME_OR_NULL,
}


def payment(status: Schema, **more: Schema) -> Schema:
    """Return the schema of a payment; `more` are members that this event alone has."""
    properties = {**PAYMENT, "status": status, **more}
    return object_of(properties, sorted(properties))


def setup(status: Schema, method: Schema) -> Schema:
    """Return the schema of a setup: the wish to store a payer, and what came of it."""
    properties = {
        "id": {"type": "string", "pattern": "^seti_"},
        "status": status,
        "provider": TEXT,
        "provider_ref": TEXT,
        "type": METHOD_TYPE,
        "method": method,
        "next_action": {"type": ["object", "null"]},
        "failure": FAILURE,
        "customer": {"type": ["object", "null"]},
        "metadata": {"type": "object"},
        "expires": TIME_OR_NULL,
        "created": TIME,
        "updated": TIME,
    }
    return object_of(properties, sorted(properties))


METHOD = {
    "id": {"type": "string", "pattern": "^pm_", "description": "charge it by `method.token` of a later payment"},
    "provider": TEXT,
    "customer": TEXT,
    "type": TEXT,
    "brand": TEXT,
    "last4": TEXT,
    "expires": {"type": "string", "description": "MM/YYYY"},
    "payer": TEXT,
    "created": TIME,
}


def message(status: str) -> Schema:
    """Return the schema of a message as one recipient got it."""
    properties = {
        "id": {"type": "string", "pattern": "^msg_"},
        "channel": TEXT,
        "to": TEXT,
        "status": {"const": status},
        "provider": TEXT,
        "provider_ref": TEXT,
        "sender": TEXT,
        "segments": {"type": "integer", "minimum": 0, "description": "parts of a text message; 0 on other channels"},
        "encoding": TEXT,
        "category": TEXT,
        "reference": REFERENCE,
        "continues": {"type": ["string", "null"], "description": "the message that this one was sent in place of, or again"},
        "fallback": {"type": ["string", "null"], "description": "of a failed one: the message that went on in its place"},
        "cost": {
            "type": ["object", "null"],
            "description": "what the provider charged: `value` is decimal text in major units",
            "properties": {"value": TEXT, "currency": TEXT},
            "required": ["value", "currency"],
        },
        "error": {**ERROR, "required": ["code", "message"]},
        "created": TIME,
        "sent_at": TIME_OR_NULL,
        "delivered_at": TIME_OR_NULL,
    }
    return object_of(properties, sorted(properties))


def received() -> Schema:
    """Return the schema of a message that somebody wrote to the tenant."""
    properties = {
        "id": {"type": "string", "pattern": "^inm_"},
        "channel": TEXT,
        "provider": TEXT,
        "config": {"type": ["integer", "null"], "description": "the account that it came to"},
        "provider_ref": TEXT,
        "from": TEXT,
        "to": {"type": "string", "description": "which of your numbers or mailboxes it was sent to"},
        "name": {"type": "string", "description": "what the sender calls himself"},
        "text": TEXT,
        "media": {
            "type": "array",
            "description": "files that came along: fetch each at inbound-messages/{id}/media/{index}",
            "items": object_of({"index": {"type": "integer", "minimum": 0}, "type": TEXT}, ["index", "type"]),
        },
        "opted": {"enum": ["out", "in", None], "description": "what it did to the sender's wishes"},
        "trusted": {"type": "boolean", "description": "false: unsigned, anybody may have written it"},
        "reply_to": {"type": "string", "description": "the provider's id of your message that it answers"},
        "received_at": TIME,
    }
    return object_of(properties, sorted(properties))
