"""How many parts a text is sent and billed in (3GPP TS 23.038 for the alphabet, TS 23.040 for the parts).

GSM-7: 160 septets in one part, 153 in each of several; characters of the extension table take two. One character outside of
that alphabet turns the whole text into UCS-2: 70 UTF-16 units, or 67 in each of several. No part ends inside a character.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

GSM7 = "GSM-7"
UCS2 = "UCS-2"

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
_LIMITS = {GSM7: (160, 153), UCS2: (70, 67)}


@dataclass(frozen=True, slots=True)
class Segments:
    """`units` are septets (GSM-7) or UTF-16 units (UCS-2); `remaining` of them still fit into the last part.

    `unusual` are the characters that force UCS-2, each once, in order of appearance.
    """

    encoding: str
    units: int
    count: int
    remaining: int
    unusual: tuple[str, ...] = ()


def count_segments(text: str) -> Segments:
    """Return encoding and number of parts; an empty text has none."""
    unusual = tuple(dict.fromkeys(char for char in text if char not in _BASIC and char not in _EXTENSION))
    encoding = UCS2 if unusual else GSM7
    width = _utf16_units if unusual else _septets
    single, several = _LIMITS[encoding]
    units = sum(width(char) for char in text)
    if units <= single:
        return Segments(encoding, units, 1 if text else 0, single - units, unusual)
    count, filled = _parts(text, width, several)
    return Segments(encoding, units, count, several - filled, unusual)


def _septets(char: str) -> int:
    return 2 if char in _EXTENSION else 1


def _utf16_units(char: str) -> int:
    return 2 if ord(char) > 0xFFFF else 1


def _parts(text: str, width: Callable[[str], int], limit: int) -> tuple[int, int]:
    """Return how many parts there are and how full the last one is."""
    count, filled = 1, 0
    for char in text:
        size = width(char)
        if filled + size > limit:
            count, filled = count + 1, 0
        filled += size
    return count, filled
