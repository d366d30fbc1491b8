"""What a body looks like on the wire. Made anew from the stored payload at each try, and the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from webhooks.outbound.models.endpoints import PayloadFormat

BATCH_TYPE = "batch"


def dump(body: Mapping[str, Any]) -> str:
    """Return compact JSON. ASCII only: a receiver that decodes wrongly still verifies the bytes, and a lone surrogate can't
    break the encoding."""
    return json.dumps(body, separators=(",", ":"), cls=DjangoJSONEncoder, allow_nan=False)


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def standard(event_id: str, type: str, created: datetime, content: Mapping[str, Any]) -> str:
    """Return the text that is stored, and sent to endpoints of the standard format."""
    return dump({"id": event_id, "type": type, "created": iso(created), "data": {"object": dict(content)}})


def render(payload: str, payload_format: str) -> str:
    """Return a stored payload in an endpoint's format: `flat` is `{id, event, occurred_at, data}`, the object itself as
    `data`, as Zapier and Make map fields (providers/zapier-make.md)."""
    if payload_format != PayloadFormat.FLAT:
        return payload
    body = json.loads(payload)
    return dump({"id": body["id"], "event": body["type"], "occurred_at": body["created"], "data": body["data"]["object"]})


def batch(batch_id: str, created: datetime, payloads: Sequence[str]) -> str:
    """Return one body for several events: `{"id","type":"batch","created","events":[...]}`, each event in its own format."""
    head = dump({"id": batch_id, "type": BATCH_TYPE, "created": iso(created)})
    return f'{head[:-1]},"events":[{",".join(payloads)}]}}'
