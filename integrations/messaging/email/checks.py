"""What an e-mail may carry besides its words: headers, files, values. Each check raises `InvalidRequest` naming its field."""

from __future__ import annotations

import json
import math
import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media
from integrations.messaging.email.mailboxes import breaks_a_line

MAX_SUBJECT = 500
MAX_ATTACHMENTS = 20
MAX_HEADERS = 30
LONGEST_HEADERS = 6_000
"""Bytes of all custom headers of a letter; some providers take little more."""
LONGEST_DATA = 32_000
"""Bytes of a letter's values, as JSON."""
DEEPEST_DATA = 8
OWN_HEADER = re.compile(r"(?:(?:X|List)-[A-Za-z0-9-]{1,70}|In-Reply-To|References|Auto-Submitted|Precedence)", re.IGNORECASE)
CONTENT_TYPE = re.compile(
    r"[a-z0-9][\w!#$&^.+-]{0,62}/[a-z0-9][\w!#$&^.+-]{0,62}(?:; ?[\w-]+=(?:[\w.+-]+|\"[^\"\\]*\"))*", re.IGNORECASE | re.ASCII
)
CONTENT_ID = re.compile(r"[A-Za-z0-9._@+-]{1,120}")
NO_FILE_NAMES = frozenset({".", ".."})


def check_subject(subject: str, *, attr: str = "subject") -> None:
    """A subject is one line, of at most `MAX_SUBJECT` characters."""
    if breaks_a_line(subject):
        raise InvalidRequest("A subject is one line of text.", attr=attr)
    if len(subject) > MAX_SUBJECT:
        raise InvalidRequest(f"The subject has more than {MAX_SUBJECT} characters.", attr=attr)


def check_headers(given: Mapping[str, str], *, attr: str = "headers") -> dict[str, str]:
    """Return custom headers by their names in one spelling, `X-Like-This`, so that the same one never goes out twice."""
    found: dict[str, str] = {}
    for name, value in given.items():
        shown = "".join(letter for letter in str(name)[:60] if letter.isprintable())
        if not OWN_HEADER.fullmatch(name):
            raise InvalidRequest(
                f"The header {shown!r} can't be set: only X-..., List-..., In-Reply-To, References, Auto-Submitted and "
                "Precedence.",
                attr=attr,
            )
        if not isinstance(value, str) or not value.strip() or breaks_a_line(value):
            raise InvalidRequest(f"The header {shown!r} needs one line of text.", attr=attr)
        if name.title() in found:
            raise InvalidRequest(f"The header {shown!r} stands there twice.", attr=attr)
        found[name.title()] = value.strip()
    if len(found) > MAX_HEADERS or sum(len(name) + len(value.encode()) for name, value in found.items()) > LONGEST_HEADERS:
        raise InvalidRequest(f"At most {MAX_HEADERS} headers of {LONGEST_HEADERS} bytes together.", attr=attr)
    return found


def check_data(given: Mapping[str, Any], *, attr: str = "data") -> dict[str, Any]:
    """Return values that can be stored and sent on: plain JSON without null or half characters, of a sensible size."""
    _walk(given, attr, 0)
    if len(json.dumps(given).encode()) > LONGEST_DATA:
        raise InvalidRequest(f"More than {LONGEST_DATA} bytes of values.", attr=attr)
    return dict(given)


def check_attachments(given: Sequence[Media], *, limit: int | None) -> tuple[Media, ...]:
    """Return the files with safe names and a type each. `limit` is what the provider takes of all together, in bytes."""
    if len(given) > MAX_ATTACHMENTS:
        raise InvalidRequest(f"At most {MAX_ATTACHMENTS} attachments.", attr="attachments")
    checked = tuple(_attachment(media, f"attachments.{number}") for number, media in enumerate(given))
    size = sum(len(each.content) for each in checked)
    if limit is not None and size > limit:
        raise InvalidRequest(f"The attachments have {size:,} bytes; this provider takes {limit:,}.", attr="attachments")
    ids = [each.content_id for each in checked if each.content_id]
    if len(set(ids)) != len(ids):
        raise InvalidRequest("Two attachments have the same content_id.", attr="attachments")
    return checked


def _attachment(media: Media, attr: str) -> Media:
    name = media.filename.strip()
    if not name or name in NO_FILE_NAMES or len(name) > 200 or re.search(r"[/\\]", name) or breaks_a_line(name):
        raise InvalidRequest(
            "A file name has 1 to 200 characters and neither slashes nor control characters.", attr=f"{attr}.filename"
        )
    kind = media.content_type.strip() or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if len(kind) > 120 or not CONTENT_TYPE.fullmatch(kind) or breaks_a_line(kind):
        raise InvalidRequest("A content type is written like application/pdf.", attr=f"{attr}.content_type")
    if not media.content:
        raise InvalidRequest("The file is empty.", attr=f"{attr}.content")
    if media.content_id and not CONTENT_ID.fullmatch(media.content_id):
        raise InvalidRequest("A content id has letters, digits and ._@+- only.", attr=f"{attr}.content_id")
    return replace(media, filename=name, content_type=kind)


def _walk(value: Any, attr: str, depth: int) -> None:
    if depth > DEEPEST_DATA:
        raise InvalidRequest(f"The values are nested more than {DEEPEST_DATA} deep.", attr=attr)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _walk(name, attr, depth)
            _walk(inner, attr, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _walk(inner, attr, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
            raise InvalidRequest("A value holds a character that can't be sent.", attr=attr)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest("A value is too large a number.", attr=attr)
    elif value is not None and not isinstance(value, bool | int | float):
        raise InvalidRequest("Values are texts, numbers, lists and objects.", attr=attr)
