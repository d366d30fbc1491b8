"""What a claimed delivery sends: its event in the endpoint's format, or a batch of events with it as the carrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from webhooks.outbound.publishing import formats

ERASED = "its payload was erased"
UNREADABLE = "its payload can't be put into the endpoint's format"

_PASSENGERS = """
SELECT p.carrier_id, p.position, v.payload FROM webhooks_outbound_delivery p
JOIN webhooks_outbound_event v ON v.id = p.event_id
WHERE p.carrier_id = ANY(%(ids)s) AND p.state = 'batched' ORDER BY p.position
"""


@dataclass(frozen=True, slots=True)
class Body:
    """A delivery's own event first, and what is really sent after `bodies_of`."""

    id: str
    event_id: str
    type: str
    created: datetime
    format: str
    payload: str
    text: str = ""
    message_id: str = ""
    problem: str = ""


def bodies_of(cursor: Any, claimed: Sequence[Body], *, carriers: Sequence[str]) -> dict[str, Body]:
    """Return each with its text and `webhook-id`, by delivery. Both are the same on every try, as long as nothing is erased.

    `carriers` are those of them that take others along.
    """
    aboard: dict[str, list[str]] = {}
    if carriers:
        cursor.execute(_PASSENGERS, {"ids": list(carriers)})
        for carrier_id, _position, payload in cursor.fetchall():
            aboard.setdefault(carrier_id, []).append(payload)
    return {each.id: _batch(each, aboard[each.id]) if each.id in aboard else _single(each) for each in claimed}


def _single(body: Body) -> Body:
    if not body.payload:
        return replace(body, message_id=body.event_id, problem=ERASED)
    try:
        return replace(body, message_id=body.event_id, text=formats.render(body.payload, body.format))
    except (ValueError, TypeError, KeyError):
        return replace(body, message_id=body.event_id, problem=UNREADABLE)


def _batch(body: Body, passengers: Sequence[str]) -> Body:
    """The carrier has the lowest position, so its own event stands first. Erased events are left out."""
    try:
        payloads = [formats.render(each, body.format) for each in (body.payload, *passengers) if each]
    except (ValueError, TypeError, KeyError):
        return replace(body, message_id=body.id, type=formats.BATCH_TYPE, problem=UNREADABLE)
    if not payloads:
        return replace(body, message_id=body.id, type=formats.BATCH_TYPE, problem=ERASED)
    text = formats.batch(body.id, body.created, payloads)
    return replace(body, message_id=body.id, type=formats.BATCH_TYPE, text=text)
