"""What the hub tells of the webhooks themselves. No URL stands in any of it: URLs may hold tokens."""

from __future__ import annotations

from typing import Any

from webhooks.outbound.event_types.kinds import EventType
from webhooks.outbound.event_types.shapes import TEXT, TIME_OR_NULL, Schema, object_of

TEST_EVENT = "webhook.test"

_ENDPOINT_ID = "we_01k2f7rjw4a6b8c9d0e1f2g3h4"
_ENDPOINT = {
    "endpoint": {"type": "string", "pattern": "^we_"},
    "name": {"type": "string", "description": "the name that you gave the endpoint, or its id"},
}
_NAMED = {"endpoint": _ENDPOINT_ID, "name": "Fees system"}
_FAILURES: Schema = {"type": "integer", "minimum": 0, "description": "failed attempts in a row"}


def _of_endpoint(**more: Schema) -> Schema:
    properties: dict[str, Any] = {**_ENDPOINT, **more}
    return object_of(properties, sorted(properties))


OPERATIONAL: tuple[EventType, ...] = (
    EventType(
        "webhook.endpoint_failing",
        "One of your endpoints keeps failing: `percent` (50, 70, 90) of the way to being switched off.",
        _of_endpoint(percent={"enum": [50, 70, 90]}, failures=_FAILURES, failing_since=TIME_OR_NULL, last_error=TEXT),
        {
            **_NAMED,
            "percent": 50,
            "failures": 14,
            "failing_since": "2024-01-13T08:02:11Z",
            "last_error": "the endpoint answered 503",
        },
    ),
    EventType(
        "webhook.endpoint_disabled",
        "One of your endpoints was switched off by the hub. What it is owed is kept until it is on again.",
        _of_endpoint(reason=TEXT, failures=_FAILURES, failing_since=TIME_OR_NULL),
        {**_NAMED, "reason": "it answered 410 Gone", "failures": 1, "failing_since": None},
    ),
    EventType("webhook.endpoint_enabled", "An endpoint that was off is on again.", _of_endpoint(), _NAMED),
    EventType(
        "webhook.endpoint_recovered",
        "An endpoint that you were warned about takes events again.",
        _of_endpoint(),
        _NAMED,
    ),
    EventType(
        "webhook.delivery_dead",
        "An event could not be delivered to an endpoint and will not be tried again by itself: `reason` is why.",
        _of_endpoint(
            delivery={"type": "string", "pattern": "^dlv_"},
            event={"type": "string", "pattern": "^evt_"},
            event_type=TEXT,
            reason=TEXT,
            error=TEXT,
        ),
        {
            **_NAMED,
            "delivery": "dlv_01k2f7s3x4a6b8c9d0e1f2g3h4",
            "event": "evt_01k2f7s2w4a6b8c9d0e1f2g3h4",
            "event_type": "payment.completed",
            "reason": "exhausted",
            "error": "the endpoint answered 500",
        },
    ),
    EventType(
        TEST_EVENT,
        "Sent on request to one endpoint, whatever it subscribes to; nothing has happened.",
        object_of({"endpoint": {"type": "string", "pattern": "^we_"}, "message": TEXT}, ["endpoint", "message"]),
        {"endpoint": _ENDPOINT_ID, "message": "This is a test event. Nothing has happened."},
    ),
)
