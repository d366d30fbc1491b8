"""How our API keys look in text: by this they are kept out of addresses and logs. Knows no Django: logging starts before it."""

from __future__ import annotations

import re
from urllib.parse import unquote

_PERCENT = "%(?:25)*"
_LETTERS = "".join(
    f"(?:{char}|{_PERCENT}{ord(char):02x}|{_PERCENT}{ord(char.upper()):02x})" if char != "_" else f"(?:_|{_PERCENT}5f)"
    for char in "hub_"
)
KEY_IN_TEXT = re.compile(rf"{_LETTERS}(?:[0-9a-f]|{_PERCENT}(?:3[0-9]|[46][1-6])){{40}}", re.IGNORECASE)
"""`hub_` and 40 hex digits; also with some or all characters quoted as in an address, once or more often."""


def keys_in(text: str) -> list[str]:
    """Return what looks like a key of ours in the text, unquoted."""
    return [_unquoted(found[0]).lower() for found in KEY_IN_TEXT.finditer(text)]


def _unquoted(text: str) -> str:
    while "%" in text:
        text = unquote(text)
    return text
