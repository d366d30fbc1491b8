"""The rows of a list: which column holds what, and whom a row is about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.messaging.drafts import Destination
from integrations.messaging.email.mailboxes import NAMED, normalise_address
from integrations.messaging.models import Channel, Message, RecipientList, RecipientListPart
from integrations.messaging.sms.numbers import normalise
from integrations.messaging.templating import MissingVariables, render, variables_of

COLUMNS_KEY = "list_columns"
"""Where a message to a list keeps which column holds what (in `Message.content`)."""
LONGEST_TEXT = 1600
_EXPONENT = re.compile(r"([0-9])\.([0-9]+)[eE]\+?([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what, by its heading: the address on the message's channel, the recipient's name, and his addresses
    on other channels (`{"email": "E-mail"}`), for the fallback."""

    address: str
    name: str = ""
    alternatives: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not sent to: its number as a person counts it, what stands in it, and what is wrong."""

    row: int
    value: str
    problem: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one recipient would get."""

    to: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class GoodRow:
    """Whom a row is about, and what he would get."""

    to: Destination
    words: Sample


def variables(recipient_list: RecipientList) -> dict[str, str]:
    """Return {variable: heading}: “Student name” is `student_name` in a text. Unique, and never empty."""
    found: dict[str, str] = {}
    for place, heading in enumerate(recipient_list.columns, start=1):
        plain = unicodedata.normalize("NFKD", heading.casefold()).encode("ascii", "ignore").decode()
        base = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or f"column_{place}"
        name = base = f"_{base}" if base[0].isdigit() else base
        count = 1
        while name in found:
            count += 1
            name = f"{base}_{count}"
        found[name] = heading
    return found


class Reader:
    """Turns rows of a list into destinations on a channel, the same way whether they are checked or sent to."""

    def __init__(
        self,
        recipient_list: RecipientList,
        channel: str,
        columns: Columns,
        texts: tuple[str, str, str],
        data: Mapping[str, Any],
    ) -> None:
        """`texts` are (subject, body, html), templates in the list's variables; `data` fills in for all what no row has."""
        self._channel, self._country, self._data = Channel(channel), recipient_list.country, data
        self._texts = texts
        places = {heading: place for place, heading in enumerate(recipient_list.columns)}
        self._width = len(places)
        self._address = places[columns.address]
        self._name = places.get(columns.name)
        self._others = [(Channel(way), places[heading]) for way, heading in columns.alternatives.items() if heading]
        known = variables(recipient_list)
        self._wanted = variables_of(*texts)
        self._filled = [(name, places[known[name]]) for name in self._wanted if name in known]

    @property
    def missing(self) -> list[str]:
        """The variables of the texts that neither a column nor `data` nor the recipient himself can fill in."""
        have = {name for name, _place in self._filled} | ({"name"} if self._name is not None else set())
        if self._channel == Channel.EMAIL:
            have.add("unsubscribe_url")
        return [name for name in self._wanted if name not in have and name.partition(".")[0] not in self._data]

    @property
    def personal(self) -> bool:
        return bool(self._wanted)

    def read(self, number: int, row: Sequence[str]) -> GoodRow | BadRow:
        """Return whom the row is about, or what is wrong with it."""
        written = row[self._address] if len(row) > self._address else ""
        if len(row) > self._width:
            return BadRow(number, written[:60], "has more cells than there are headings")
        address, problem = address_of(written, self._channel, self._country)
        if not address:
            return BadRow(number, written[:60], problem)
        values = {name: row[place] for name, place in self._filled if len(row) > place and row[place]}
        name = " ".join(row[self._name].split()) if self._name is not None and len(row) > self._name else ""
        others = {
            way.value: found
            for way, place in self._others
            if len(row) > place and (found := address_of(row[place], way, self._country)[0])
        }
        role = "to" if self._channel == Channel.EMAIL else ""
        # Of e-mail each row is a letter of its own; the row's number is one that no other letter has.
        given = Destination(address, name[:200], values, others, role=role, envelope=number)
        try:
            words = self._fill(given)
        except MissingVariables as error:
            return BadRow(number, written[:60], f"nothing to fill in for {', '.join(error.names)}")
        if self._channel == Channel.SMS and len(words.body) > LONGEST_TEXT:
            return BadRow(number, written[:60], f"the text would have more than {LONGEST_TEXT} characters")
        if any(char in words.subject for char in "\r\n"):
            return BadRow(number, written[:60], "the subject would have more than one line")
        return GoodRow(given, words)

    def _fill(self, given: Destination) -> Sample:
        """Return the recipient's own words; raise `MissingVariables`."""
        subject, body, html = self._texts
        if not self.personal:
            return Sample(given.address, subject, body)
        named = {"name": given.name} if given.name else {}
        own = {"unsubscribe_url": "https://…"} if self._channel == Channel.EMAIL else {}
        data = {**own, **self._data, **named, **given.data}
        render(html, data, html=True)
        return Sample(given.address, render(subject, data), render(body, data))


def destinations_of(message: Message, recipient_list: RecipientList, part: RecipientListPart) -> list[Destination]:
    """Return whom a message that was accepted goes to in this part of its list."""
    columns = message.content.get(COLUMNS_KEY)
    if columns is None:  # a long call: every row has been read before it was kept
        return [Destination(*row) for _number, row in rows_of(part)]
    # One without variables takes its texts as they are.
    texts = (message.subject, message.body, message.html) if message.personal else ("", "", "")
    reader = Reader(recipient_list, message.channel, Columns(**columns), texts, message.data)
    read = (reader.read(number, row) for number, row in rows_of(part))
    return [each.to for each in read if isinstance(each, GoodRow)]


def rows_of(part: RecipientListPart) -> Iterator[tuple[int, list[Any]]]:
    """Return the filled rows of a part with their numbers."""
    return ((number, row) for number, row in enumerate(part.rows, start=part.first_row) if row)


def address_of(written: str, channel: Channel, country: str) -> tuple[str, str]:
    """Return (the address as its channel writes it, ""), or ("", what is wrong)."""
    if not written:
        return "", "is empty"
    if channel == Channel.EMAIL:
        return _email(written)
    text = re.sub(r"\.0+$", "", written)  # a number that an office program took for a decimal one
    if (found := _EXPONENT.fullmatch(text)) is not None:
        whole, rest, exponent = found[1], found[2], int(found[3])
        if len(rest) < exponent:
            return "", "has lost digits in Excel: format the column as text and save the file again"
        text = whole + rest if len(rest) == exponent else text
    number = normalise(text, country=country)
    return (number, "") if number else ("", "is no phone number")


def _email(written: str) -> tuple[str, str]:
    named = NAMED.fullmatch(written)
    try:
        # Whoever sends to a list means each mailbox once, however its owner's name is capitalised.
        address = normalise_address(named["address"] if named else written).casefold()
    except ValueError:
        return "", "is no e-mail address"
    return (address, "") if len(address) <= 320 else ("", "is no e-mail address")
