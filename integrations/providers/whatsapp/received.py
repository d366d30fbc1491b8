"""What customers write, as `MessageReceived`. Each of their messages opens the 24 hours in which free text may be sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.inbound import MessageReceived
from integrations.contracts.wire import Wire
from integrations.providers.whatsapp.reading import entries, moment, short

CHANNEL = "whatsapp"
BODY_LIMIT = 65_536
FILES = ("image", "video", "audio", "voice", "document", "sticker")
NO_MESSAGE = frozenset({"system"})
"""Told by Meta, not by the customer: he has a new number, for one."""


def received(each: Wire, value: Wire, common: Mapping[str, Any]) -> MessageReceived | None:
    """Return one customer's message, None where it can't be read or nobody wrote it. `value` is the change it stands in."""
    ref, kind = short(each, "id"), short(each, "type")
    sender = short(each, "from")
    # Since 2026 a customer may hide his number: then an id of his stands in for it (unconfirmed where exactly).
    address = f"+{sender}" if re.fullmatch(r"[0-9]{5,20}", sender) else sender or short(each, "from_user_id")
    if not ref or not address or kind in NO_MESSAGE:
        return None
    part = each.get(kind) or Wire({})
    text, reply_to = _said(kind, part, each)
    context = each.get("context")
    metadata = value.get("metadata")
    return MessageReceived(
        **common,
        channel=CHANNEL,
        provider_ref=ref,
        address=address,
        to=_number("" if metadata is None else short(metadata, "display_phone_number")),
        text=text,
        name=_name(value, sender),
        media=_media(kind, part),
        reply_to=reply_to or ("" if context is None else short(context, "id")),
        occurred_at=moment(each),
    )


def _said(kind: str, part: Wire, each: Wire) -> tuple[str, str]:
    """Return a message's text, and which message it belongs to where the kind itself says so."""
    match kind:
        case "text":
            return short(part, "body", BODY_LIMIT), ""
        case "button":
            return short(part, "text"), ""
        case "interactive":
            reply = part.get(short(part, "type")) or Wire({})
            return short(reply, "title") or short(reply, "body"), ""
        case "reaction":
            return short(part, "emoji"), short(part, "message_id")
        case "order":
            return short(part, "text", BODY_LIMIT), ""
        case "location":
            found = [f"{short(part, 'latitude')},{short(part, 'longitude')}", short(part, "name"), short(part, "address")]
            return " ".join(each for each in found if each), ""
        case "contacts":
            return ", ".join(name for one in entries(each.get("contacts")) if (name := _contact(one))), ""
        case _ if kind in FILES:
            return short(part, "caption", BODY_LIMIT), ""
        case _:
            return "", ""


def _contact(one: Wire) -> str:
    name = one.get("name")
    numbers = [short(each, "phone") for each in entries(one.get("phones"))]
    found = ["" if name is None else short(name, "formatted_name"), *numbers]
    return " ".join(each for each in found if each)


def _media(kind: str, part: Wire) -> tuple[tuple[str, str], ...]:
    media_id = short(part, "id") if kind in FILES else ""
    content_type = short(part, "mime_type").partition(";")[0].strip().lower()
    return ((content_type, media_id),) if media_id else ()


def _name(value: Wire, sender: str) -> str:
    """Return what the customer calls himself."""
    for contact in entries(value.get("contacts")):
        profile = contact.get("profile")
        if short(contact, "wa_id") == sender and profile is not None:
            return short(profile, "name")
    return ""


def _number(shown: str) -> str:
    """Return a phone number as Meta shows it (`254700000042`, `+1 555-555-5555`) in E.164."""
    digits = re.sub(r"\D", "", shown)
    return f"+{digits}" if digits else ""
