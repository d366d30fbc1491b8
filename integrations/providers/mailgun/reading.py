"""Reading `event-data`: the same object comes in webhooks and from the Events API."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import getaddresses
from typing import Any

from integrations.contracts.messaging import MessageState
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mailgun.codes import RANKS, Meaning, meaning_of

REF, REFS = "hub_ref", "hub_refs"
"""Custom variables: our note on the one recipient, and the notes on several recipients by `tag_of` their address."""

DETAIL_LIMIT = 300
EPOCH_LIMIT = 10**11


@dataclass(frozen=True, slots=True)
class Event:
    """One event about one recipient. `message_id` is without angle brackets; `status` is Mailgun's own words."""

    kind: str
    status: str
    meaning: Meaning
    address: str
    message_id: str
    ref: str
    detail: str
    code: str
    at: datetime | None
    is_machine: bool


def read(data: Wire) -> tuple[Event, ...]:
    """Return what an event says, once for each recipient that it is about; nothing where it is about no message.

    Raises `WireError` where it has no `event`.
    """
    kind = data["event"].text(max_length=60)
    severity, reason = _text(data, "severity"), _text(data, "reason")
    reject = data.get("reject")
    if kind == "rejected" and reject is not None:
        reason = reason or _text(reject, "reason")
    flags = data.get("flags")
    delayed = flags.get("is-delayed-bounce") if flags is not None else None
    meaning = meaning_of(kind, severity, reason, is_delayed_bounce=delayed is not None and delayed.raw is True)
    headers = _at(data, "message", "headers")
    message_id = _text(headers, "message-id").strip("<> ") if headers else ""
    delivery = data.get("delivery-status")
    said = " ".join(
        part
        for part in (
            _text(delivery, "code"),
            _text(delivery, "message") or _text(delivery, "description"),
            _text(reject, "description") or _text(reject, "reason"),
        )
        if part and part != "0"
    )
    variables = data.get("user-variables")
    client = data.get("client-info")
    return tuple(
        Event(
            kind=kind,
            status=":".join(part for part in (kind, severity, reason) if part)[:100],
            meaning=meaning,
            address=address,
            message_id=message_id[:255],
            ref=_ref(variables, address),
            detail=(said or meaning.detail)[:DETAIL_LIMIT],
            code=(_text(delivery, "enhanced-code") or _text(delivery, "code") or reason)[:60],
            at=_moment(data.get("timestamp")),
            is_machine=bool(_text(client, "bot")),
        )
        for address in _addresses(data, headers)
    )


def furthest(events: list[Event]) -> Event | None:
    """Return the event that says most of what became of a recipient; a state that is older goes before a newer equal one.

    None where none of them says that the message was taken.
    """
    best: Event | None = None
    for event in events:
        state = event.meaning.state
        if state is not None and (best is None or RANKS[state] > RANKS[best.meaning.state or MessageState.SENT]):
            best = event
    return best


def tag_of(address: str, ref: str) -> str:
    """Return the name under which a recipient's own note stands in `REFS`: no address, and another in every message."""
    return hashlib.sha256(f"{ref}\0{address.lower()}".encode()).hexdigest()[:12]


def _ref(variables: Wire | None, address: str) -> str:
    """Return our note on this recipient, '' where there is none. Mailgun gives JSON variables as text or as objects."""
    if variables is None:
        return ""
    single = _text(variables, REF)
    found = variables.get(REFS)
    if found is None:
        return single[:64]
    try:
        notes = json.loads(found.raw) if isinstance(found.raw, str) else found.raw
    except ValueError:
        return ""
    note = notes.get(tag_of(address, single)) if isinstance(notes, Mapping) else None
    return note[:64] if isinstance(note, str) else ""


def _addresses(data: Wire, headers: Wire | None) -> tuple[str, ...]:
    """Return whom an event is about; a rejected message has its recipients in the header only."""
    recipient = _text(data, "recipient")
    if recipient:
        return (recipient[:320],)
    if _text(data, "event") == "rejected" and headers is not None:
        return tuple(address[:320] for _name, address in getaddresses([_text(headers, "to")]) if address)
    return ()


def _moment(value: Wire | None) -> datetime | None:
    """Read seconds since 1970 with a fraction."""
    raw: Any = value.raw if value is not None else None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw) or not 0 < raw < EPOCH_LIMIT:
        return None
    return datetime.fromtimestamp(raw, UTC)


def _at(data: Wire, *names: str) -> Wire | None:
    found: Wire | None = data
    for name in names:
        found = found.get(name) if found is not None else None
    return found


def _text(node: Wire | None, name: str) -> str:
    """Return a member's text, '' where it is absent, null or no text: nothing but display or matching hangs on these."""
    found = node.get(name) if node is not None else None
    if found is None:
        return ""
    try:
        return found.text().strip()
    except WireError:
        return ""
