"""Numbers as members of sets."""

from __future__ import annotations

SMALL = 2**53


def number_key(number: int | float) -> int | float | str:
    """Return what stands for a number in a set: the same for 1 and 1.0.

    Large ones become text. Python hashes numbers modulo 2**61 - 1, in every process: who hands in multiples of that has each of
    them compared with all others.
    """
    if isinstance(number, float):
        if not number.is_integer():  # nor is one without bounds
            return number.hex()
        number = int(number)
    return number if -SMALL < number < SMALL else hex(number)
