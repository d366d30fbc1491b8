"""Whom a text goes to: numbers as people write them, each with what is his own, read into `drafts.Destination`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.drafts import Destination
from integrations.messaging.models import Channel
from integrations.messaging.sms.numbers import normalise, normalise_all
from integrations.messaging.templating import MissingVariables, TemplateError, check_template, render, variables_of

LONGEST_USER = 150


def read_destinations(to: Sequence[str | Destination], *, country: str) -> list[Destination]:
    """Return each number once, in E.164; raise `InvalidRequest` (attr `to`) naming what is no number, and a number that is
    there twice with different values: only one of the two would get his own words."""
    numbers = normalise_all([each if isinstance(each, str) else each.address for each in to], country=country)
    if all(isinstance(each, str) for each in to):
        return [Destination(number) for number in numbers]
    found: dict[str, Destination] = {}
    for each in to:
        given = Destination(each) if isinstance(each, str) else each
        number = normalise(given.address, country=country) or given.address
        mine = replace(given, address=number, alternatives=read_alternatives(given.alternatives, country))
        if found.setdefault(number, mine) != mine:
            raise InvalidRequest(f"{number} is there twice, with different values: send two messages.", attr="to")
    return list(found.values())


def is_personal(message: str, destinations: Sequence[Destination]) -> bool:
    """Tell whether the text is one to be filled in: somebody has values of his own, and the text has variables."""
    return any(each.data or each.name for each in destinations) and bool(variables_of(message))


def fill_each(message: str, destinations: Sequence[Destination], data: Mapping[str, Any]) -> set[str]:
    """Return the distinct texts that these recipients get; raise `InvalidRequest` naming the first who lacks a variable: he
    would otherwise be left out, and whoever sends would only learn it afterwards."""
    try:
        check_template(message)
    except TemplateError as error:
        raise InvalidRequest(str(error), attr="message") from error
    texts = set()
    for each in destinations:
        named = {"name": each.name} if each.name else {}
        try:
            texts.add(render(message, {**data, **named, **each.data}))
        except MissingVariables as error:
            raise InvalidRequest(f"{each.address} lacks values: {', '.join(error.names)}.", attr="to") from error
    return texts


def read_alternatives(given: Mapping[str, str], country: str) -> dict[str, str]:
    """Return a recipient's addresses on other channels as those write them; raise `InvalidRequest` (attr `fallback`)."""
    read: dict[str, str] = {}
    for channel, text in given.items():
        address = text.strip()
        if channel == Channel.EMAIL:
            try:
                validate_email(address)
            except ValidationError:
                raise InvalidRequest(f"{address[:80]!r} is no e-mail address.", attr="fallback") from None
        elif channel in {Channel.SMS, Channel.WHATSAPP}:
            number = normalise(address, country=country)
            if number is None:
                raise InvalidRequest(f"{address[:30]!r} is no phone number.", attr="fallback")
            address = number
        elif channel != Channel.PUSH or not address or len(address) > LONGEST_USER or not address.isprintable():
            raise InvalidRequest(f"{address[:30]!r} is no address for {channel!r}.", attr="fallback")
        read[str(channel)] = address
    return read
