"""Small readings of Meta's webhook entries that never fail: a bad entry must not lose the others."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from integrations.contracts.wire import Wire, WireError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 100_000_000_000
"""Seconds up to the year 5138; a larger number is in milliseconds."""


def short(node: Wire, name: str, limit: int = 512) -> str:
    """Return a text member, '' where it is absent, no text or longer than `limit`; without what no database stores."""
    found = node.get(name)
    try:
        text = "" if found is None else found.text(max_length=limit).strip()
    except WireError:
        return ""
    return text.replace("\0", "").encode("utf-8", errors="replace").decode()


def entries(node: Wire | None) -> list[Wire]:
    """Return a list's entries, none where there is no list."""
    try:
        return [] if node is None else list(node.items())
    except WireError:
        return []


def moment(node: Wire) -> datetime | None:
    """Return an entry's `timestamp`: text, in seconds (milliseconds were seen by mistake)."""
    text = short(node, "timestamp")
    if not re.fullmatch(r"[0-9]{1,14}", text):
        return None
    seconds = int(text)
    return EPOCH + (timedelta(milliseconds=seconds) if seconds > LATEST else timedelta(seconds=seconds))
