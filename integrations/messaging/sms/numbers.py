"""Phone numbers as people write them -> E.164."""

from __future__ import annotations

from collections.abc import Iterable

import phonenumbers

from integrations.contracts.errors import InvalidRequest

SHOWN = 5


def normalise(number: str, *, country: str) -> str | None:
    """Return the number as E.164 with `+`, read as one of `country` (ISO 3166) where it has no country code; else None."""
    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed) or parsed.extension:
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def normalise_all(numbers: Iterable[str], *, country: str) -> list[str]:
    """Return each number once, in the order given; raise `InvalidRequest` (attr `to`) naming the bad entries."""
    found: dict[str, None] = {}
    bad = []
    for number in numbers:
        normal = normalise(number, country=country)
        if normal is None:
            bad.append(number[:30])
        else:
            found[normal] = None
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise InvalidRequest(f"Not phone numbers: {', '.join(bad[:SHOWN])}{more}.", attr="to")
    if not found:
        raise InvalidRequest("At least one recipient is needed.", attr="to")
    return list(found)
