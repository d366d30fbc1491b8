"""How Pesapal writes ids, times and names. Pure functions.

Source: developer.pesapal.com, API 3.0 (read November 2026), unless a function says otherwise.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DESCRIPTION_LENGTH = 100
NAME_LENGTH = 50
REMARKS_LENGTH = 200
TRACKING_ID = re.compile(r"[0-9A-Za-z-]{8,64}")
"""An order tracking id: a guid; not held to the exact form, for nothing depends on it."""

_REFERENCE = re.compile(r"pay-([0-9a-z]{1,40})(?:-(?:[2-9]|[1-9]\d{1,2}))?")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]00:00)?")


def merchant_reference(payment_id: str, attempt: int) -> str:
    """Return the order's `id`: our payment id with `-` for `_`, and from the second try on its number behind.

    At most 50 characters, unique for ever: a lost answer must not be answered by submitting the same id again.
    """
    base = payment_id.replace("_", "-")
    return base if attempt <= 1 else f"{base}-{attempt}"


def payment_id_of(reference: str) -> str:
    """Return our payment id from a merchant reference (any try of it), or the empty string where it is none of ours."""
    found = _REFERENCE.fullmatch(reference)
    return f"pay_{found[1]}" if found else ""


def parse_moment(text: str) -> datetime | None:
    """Return a time in UTC such as `2026-07-10T06:20:45.7793772Z`; None where it is none. Digits past microseconds are cut.

    Only for members that end in `Z` (`expiryDate`): a status' `created_date` is Nairobi time without saying so.
    """
    found = _MOMENT.fullmatch(text.strip())
    if not found:
        return None
    try:
        moment = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment + timedelta(microseconds=int((found[2] or "0")[:6].ljust(6, "0")))


def description(text: str, reference: str) -> str:
    """Return the order's description, which is required: ours, else the reference, cut to 100 characters."""
    return one_line(text, DESCRIPTION_LENGTH) or one_line(reference, DESCRIPTION_LENGTH) or "Payment"


def names(full: str) -> tuple[str, str]:
    """Return (first name, last name) of a name as people write it: the first word, and all the others."""
    first, _, last = one_line(full, 2 * NAME_LENGTH).partition(" ")
    return first[:NAME_LENGTH], last.strip()[:NAME_LENGTH]


def one_line(text: str, length: int) -> str:
    """Return text on one line without control characters, at most `length` characters long."""
    return re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()[:length].strip()
