"""Ids that leave the house: a prefix, then a time-ordered random part (`pay_01jd8k...`)."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case: no i, l, o, u


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


class _Clockwork:
    """The last id's two parts. Within one millisecond the random part only grows, by a random step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moment = 0
        self._random = 0

    def next(self) -> tuple[int, int]:
        with self._lock:
            moment = max(time.time_ns() // 1_000_000, self._moment)
            if moment > self._moment:
                # One bit less than there is room for: the steps of one millisecond can't run over.
                self._moment, self._random = moment, secrets.randbits(79)
            else:
                self._random += 1 + secrets.randbits(48)
            return self._moment, self._random


_clockwork = _Clockwork()
os.register_at_fork(after_in_child=_clockwork.__init__)  # type: ignore[misc]  # a child must not repeat its parent's ids


def new_id(prefix: str) -> str:
    """Return `<prefix>_` plus 26 characters: 48 bits of milliseconds, then 80 random bits.

    Ids sort by creation time; those that one process makes sort in the order in which it made them.
    """
    moment, random = _clockwork.next()
    return f"{prefix}_{_encode(moment, 10)}{_encode(random, 16)}"


def first_id(prefix: str, at: datetime) -> str:
    """Return what sorts before every id that is made at `at` (aware) or later, and after those made before."""
    return f"{prefix}_{_encode(max(0, int(at.timestamp() * 1000)), 10)}"


def is_id(prefix: str, value: str) -> bool:
    """Tell whether `value` has the shape of an id with this prefix."""
    return re.fullmatch(rf"{prefix}_[0-9a-hjkmnp-tv-z]{{26}}", value) is not None


def new_token() -> str:
    """Return 160 random bits in lower-case hex, for unguessable paths.

    Hex can't spell the words that providers refuse in callback URLs (Safaricom: mpesa, cmd, exec, sql, query ...).
    """
    return secrets.token_hex(20)
