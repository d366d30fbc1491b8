"""Ids that leave the house: a prefix, then a time-ordered random part (`pay_01jd8k...`)."""

from __future__ import annotations

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case: no i, l, o, u


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


def new_id(prefix: str) -> str:
    """Return `<prefix>_` plus 26 characters: 48 bits of milliseconds, then 80 random bits. Sorts by creation time."""
    return f"{prefix}_{_encode(time.time_ns() // 1_000_000, 10)}{_encode(secrets.randbits(80), 16)}"


def is_id(prefix: str, value: str) -> bool:
    """Tell whether `value` has the shape of an id with this prefix."""
    return re.fullmatch(rf"{prefix}_[0-9a-hjkmnp-tv-z]{{26}}", value) is not None


def new_token() -> str:
    """Return 160 random bits in lower-case hex, for unguessable paths.

    Hex can't spell the words that providers refuse in callback URLs (Safaricom: mpesa, cmd, exec, sql, query ...).
    """
    return secrets.token_hex(20)
