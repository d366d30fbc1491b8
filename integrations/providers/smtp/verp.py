"""Return addresses that name their message (VERP) and can't be made up: `b+<ref>.<tag>@<bounce domain>`.

Delivery reports are unsigned mail that anybody may send. The tag is the proof that the hub itself wrote the address.
Mail servers may change the case of a local part: nothing here depends on it.
"""

from __future__ import annotations

import hashlib
import hmac
import re

TAG_LENGTH = 12
LOCAL_PART_LIMIT = 64
_ADDRESS = re.compile(rf"(?<![\w.+-])b\+([0-9a-z_]+)\.([0-9a-f]{{{TAG_LENGTH}}})@([a-z0-9.-]+)", re.IGNORECASE)


def tag(ref: str, secret: str) -> str:
    """Return the tag of a note: 48 bits in lower-case hex. Made up from outside, each guess is a mail."""
    return hmac.new(secret.encode(), b"bounce\0" + ref.encode(), hashlib.sha256).hexdigest()[:TAG_LENGTH]


def address(ref: str, *, domain: str, secret: str) -> str:
    """Return the return address of one recipient's mail, '' where none can be made (no note, or one that does not fit)."""
    if not (domain and secret and re.fullmatch(r"[0-9a-z_]+", ref)):
        return ""
    local = f"b+{ref}.{tag(ref, secret)}"
    return f"{local}@{domain}" if len(local) <= LOCAL_PART_LIMIT else ""


def notes_in(text: str) -> list[tuple[str, str, str]]:
    """Return (note, tag, domain) of everything in a header's text that has the shape of a return address, in lower case.

    Nothing is checked.
    """
    return [(ref.lower(), given.lower(), at.lower().rstrip(".")) for ref, given, at in _ADDRESS.findall(text)]


def is_ours(ref: str, given: str, at: str, *, domain: str, secret: str) -> bool:
    """Tell whether the hub wrote this return address; never where no domain or secret is set."""
    if not (domain and secret):
        return False
    return hmac.compare_digest(given, tag(ref, secret)) and at == domain.lower()
