"""Reads mail about mail: delivery status notifications (RFC 3464) and complaints (ARF, RFC 5965). Nothing here trusts it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from email.utils import parsedate_to_datetime

MAX_PARTS = 50
MAX_RECIPIENTS = 100
SHOWN = 300


@dataclass(frozen=True, slots=True)
class Notice:
    """What a report says of one recipient. `action` as in RFC 3464 (`failed`, `delayed`, `delivered`, `relayed`, `expanded`),
    `complaint`, or `not-spam`; `status` an enhanced code. `original_id`: the Message-ID of the mail that it is about."""

    action: str
    address: str = ""
    status: str = ""
    detail: str = ""
    original_id: str = ""
    occurred_at: datetime | None = None


def parse_mail(raw: bytes) -> Message:
    """Return a mail's parts. A mailbox separator that a pipe put in front (`From ...`) is left out."""
    return message_from_bytes(re.sub(rb"\A\s*From [^\r\n]*\r?\n", b"", raw), policy=compat32)


def envelope_recipients(mail: Message) -> str:
    """Return, as one text, the headers that may hold the address which this mail was delivered to."""
    names = ("X-Original-To", "Delivered-To", "Envelope-To", "X-Envelope-To", "To", "Cc")
    return "\n".join(str(value) for name in names for value in mail.get_all(name, []))


def return_addresses(mail: Message) -> str:
    """Return, as one text, the headers in which our return address may stand.

    A bounce is delivered to it. A complaint goes to whatever address was registered for complaints; it names the return address
    (RFC 5965, 3.2), or holds it in the mail that it returns (RFC 5321, 4.4: Return-Path).
    """
    found = envelope_recipients(mail)
    parts = list(_parts(mail))
    if not any(part.get_content_type() == "message/feedback-report" for part in parts):
        return found
    for part in parts:
        if part.get_content_type() == "message/feedback-report":
            found += "\n" + str(_fields(part).get("Original-Mail-From", ""))
        elif (inner := _returned(part)) is not None:
            found += "\n" + str(inner.get("Return-Path", ""))
    return found


def notices(mail: Message) -> list[Notice]:
    """Return what the mail reports: one entry for each recipient; none where it is no report (an automatic reply)."""
    kind = str(mail.get_param("report-type", "")).lower()
    parts = list(_parts(mail))
    types = {part.get_content_type() for part in parts}
    original = _original_id(parts)
    if kind == "feedback-report" or "message/feedback-report" in types:
        found = _complaints(parts)
    elif kind == "delivery-status" or "message/delivery-status" in types:
        found = _deliveries(parts)
    else:
        return []
    return [replace(each, original_id=original) for each in found[:MAX_RECIPIENTS]]


def _parts(mail: Message) -> Iterator[Message]:
    for number, part in enumerate(mail.walk()):
        if number >= MAX_PARTS:
            return
        yield part


def _deliveries(parts: list[Message]) -> list[Notice]:
    found = []
    for part in parts:
        if part.get_content_type() != "message/delivery-status":
            continue
        blocks = _blocks(part)
        arrived = _moment(blocks[0].get("Arrival-Date", "")) if blocks else None
        for block in blocks:
            action = _line(block.get("Action", "")).partition(" ")[0].lower()
            if not action:
                continue  # the block about the whole message
            # What we wrote to stands in Original-Recipient; behind a forwarding, Final-Recipient is somebody we do not know.
            address = _typed(block.get("Original-Recipient", "")) or _typed(block.get("Final-Recipient", ""))
            status = re.match(r"\s*([245]\.\d{1,3}\.\d{1,3})", str(block.get("Status", "")))
            found.append(
                Notice(
                    action=action,
                    address=address,
                    status=status[1] if status else "",
                    detail=_typed(block.get("Diagnostic-Code", "")),
                    occurred_at=_moment(block.get("Last-Attempt-Date", "")) or arrived,
                )
            )
    return found


def _complaints(parts: list[Message]) -> list[Notice]:
    for part in parts:
        if part.get_content_type() != "message/feedback-report":
            continue
        fields = _fields(part)
        kind = _line(fields.get("Feedback-Type", "")).lower()
        # RFC 5965, 7.3 and RFC 6430: `not-spam` takes a complaint back; `auth-failure` and the like are about our DNS records.
        action = {"abuse": "complaint", "fraud": "complaint", "virus": "complaint", "other": "complaint"}.get(kind, kind)
        moment = _moment(fields.get("Arrival-Date", "")) or _moment(fields.get("Received-Date", ""))
        address = _address(fields.get("Original-Rcpt-To", ""))
        return [Notice(action=action or "complaint", address=address, detail=f"complaint: {kind}"[:SHOWN], occurred_at=moment)]
    return []


def _blocks(part: Message) -> list[Message]:
    """Return the groups of fields of a delivery-status part; the standard library reads it as a list of header blocks."""
    payload = part.get_payload()
    return [each for each in payload if isinstance(each, Message)] if isinstance(payload, list) else [_fields(part)]


def _fields(part: Message) -> Message:
    payload = part.get_payload()
    if isinstance(payload, list):
        first = payload[0] if payload else Message()
        return first if isinstance(first, Message) and first.keys() else message_from_bytes(_body(first))
    return message_from_bytes(_body(part))


def _body(part: object) -> bytes:
    found = part.get_payload(decode=True) if isinstance(part, Message) else b""
    return found if isinstance(found, bytes) else b""


def _returned(part: Message) -> Message | None:
    """Return the headers of the mail that a report is about, where this part holds them."""
    kind = part.get_content_type()
    if kind == "message/rfc822":
        payload = part.get_payload()
        inner = payload[0] if isinstance(payload, list) and payload else None
        return inner if isinstance(inner, Message) else None
    if kind in {"text/rfc822-headers", "message/rfc822-headers"}:
        return message_from_bytes(_body(part))
    return None


def _original_id(parts: list[Message]) -> str:
    """Return the Message-ID in the returned headers (or the whole returned mail), without brackets."""
    for part in parts:
        inner = _returned(part)
        found = re.search(r"<?([^<>\s]{1,250})>?", str(inner.get("Message-ID", ""))) if inner is not None else None
        if found:
            return found[1]
    return ""


def _typed(value: object) -> str:
    """Return what follows the type of `rfc822; jane@example.net` or `smtp; 550 5.1.1 ...`."""
    text = _line(value)
    return (text.partition(";")[2] if ";" in text else text).strip().strip("<>")


def _address(value: object) -> str:
    return _line(value).strip().strip("<>")


def _line(value: object) -> str:
    return "".join(letter for letter in " ".join(str(value or "").split()) if letter.isprintable())[:SHOWN]


def _moment(value: object) -> datetime | None:
    try:
        found = parsedate_to_datetime(str(value)) if value else None
    except (ValueError, TypeError, IndexError):
        return None
    return found if found is not None and found.tzinfo is not None else None
