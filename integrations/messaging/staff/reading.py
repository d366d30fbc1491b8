"""Recipients as people type and paste them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import getaddresses

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from integrations.contracts.email import Mailbox
from integrations.messaging.sms.numbers import normalise

BETWEEN = re.compile(r"[\n\r,;|\t]+")
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Typed:
    """Addresses that can be written to, each once and in the order given, and what could not be read. Of e-mail addresses
    `good` is how people read them, `mailboxes` what is sent to."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    mailboxes: tuple[Mailbox, ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        if not self.bad:
            return ""
        more = f" and {len(self.bad) - SHOWN} more" if len(self.bad) > SHOWN else ""
        return f"Can't be read: {', '.join(each[:40] for each in self.bad[:SHOWN])}{more}."


def read_numbers(text: str, *, country: str) -> Typed:
    """Read phone numbers between line breaks, commas or semicolons; a row of several between spaces is understood too."""
    good: dict[str, None] = {}
    bad = []
    for entry in filter(None, (each.strip() for each in BETWEEN.split(text))):
        number = normalise(entry, country=country)
        found = [number] if number else [normalise(each, country=country) for each in entry.split()]
        if all(found):
            good.update(dict.fromkeys(each for each in found if each))
        else:
            bad.append(entry)
    return Typed(tuple(good), tuple(bad))


def read_addresses(text: str) -> Typed:
    """Read e-mail addresses, with or without a name, between line breaks, commas or semicolons."""
    good: dict[str, Mailbox] = {}
    bad = []
    for line in filter(None, (each.strip(" ,\t") for each in re.split(r"[\n\r;]+", text))):
        # Commas stand between addresses, and inside of quoted names: the standard library knows which are which.
        for name, address in getaddresses([line]):
            try:
                validate_email(address)
            except ValidationError:
                bad.append(address or name or line)
            else:
                good.setdefault(address.casefold(), Mailbox(address, name))
    shown = tuple(f"{each.name} <{each.address}>" if each.name else each.address for each in good.values())
    return Typed(shown, tuple(dict.fromkeys(bad)), tuple(good.values()))
