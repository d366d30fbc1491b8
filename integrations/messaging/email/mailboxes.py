"""E-mail addresses as people write them, and as the hub keeps them."""

from __future__ import annotations

import re
import unicodedata

import idna
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator

from integrations.contracts.email import Mailbox
from integrations.contracts.errors import InvalidRequest

LONGEST_NAME = 200
NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
UNWRITABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Kinds of characters that would break a header, or can't be stored."""
_validate = EmailValidator(allowlist=[])


def breaks_a_line(text: str) -> bool:
    """Tell whether a text holds line breaks, other control characters or half characters, which no header may."""
    return any(unicodedata.category(letter) in UNWRITABLE for letter in text)


def normalise_address(given: str) -> str:
    """Return an e-mail address in the one form in which it is kept, sent to and reported back: what stands before the @ as
    given, the domain in lower case and, where it has other than ASCII letters, in its `xn--` form.

    Raises `ValueError` with a text for whoever wrote it.
    """
    local, _at, domain = given.strip().rpartition("@")
    try:
        ascii_domain = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
        address = f"{local}@{ascii_domain}"
        _validate(address)
    except (ValidationError, UnicodeError):
        raise ValueError("this is no e-mail address") from None
    if local.startswith('"') or len(local) > 64 or ascii_domain.startswith("["):
        raise ValueError("few mail servers take such an address: quoted or too long before the @, or without a domain")
    return address


def parse_mailbox(given: str | Mailbox, *, attr: str) -> Mailbox:
    """Return the mailbox of `jane@x.ke`, `Jane <jane@x.ke>` or `"Wanjiku, Jane" <jane@x.ke>`, normalised.

    Raises `InvalidRequest` naming `attr`; its text repeats no more than the start of what was given.
    """
    if isinstance(given, str):
        found = NAMED.fullmatch(given.strip())
        name, address = (_unquoted(found["name"]), found["address"]) if found else ("", given)
    else:
        name, address = given.name.strip(), given.address
    shown = "".join(letter for letter in address.strip()[:60] if letter.isprintable())
    if breaks_a_line(name) or breaks_a_line(address.strip()):
        raise InvalidRequest(f"{shown!r}: name and address are a line of text each.", attr=attr)
    if len(name) > LONGEST_NAME:
        raise InvalidRequest(f"{shown!r}: the name has more than {LONGEST_NAME} characters.", attr=attr)
    if "<" in name or ">" in name:
        raise InvalidRequest(f"{shown!r}: give each address by itself.", attr=attr)
    try:
        return Mailbox(normalise_address(address), name)
    except ValueError as error:
        raise InvalidRequest(f"{shown!r}: {error}.", attr=attr) from None


def _unquoted(name: str) -> str:
    name = name.strip()
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return name.strip()
