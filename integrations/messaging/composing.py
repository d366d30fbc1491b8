"""What one recipient gets of a message, and which recipients go into one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter
from integrations.messaging.models import Channel, Message, Recipient
from integrations.messaging.safety.unsubscribing import unsubscribe_url
from integrations.messaging.templating import render
from integrations.registry import get_provider

LARGEST_BATCH = 1000
MOST_TEXTS = 25
"""Letters of one call that each say something else: some providers are called for each of them, and a worker's lease ends."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The words of a message as one recipient gets them."""

    subject: str
    body: str
    html: str


def fill(message: Message, recipient: Recipient) -> Filled:
    """Return the recipient's own words; raise `templating.MissingVariables` where a personal message lacks one for him."""
    if not message.personal:
        return Filled(message.subject, message.body, message.html)
    data = values_of(message, recipient)
    return Filled(render(message.subject, data), render(message.body, data), render(message.html, data, html=True))


def values_of(message: Message, recipient: Recipient) -> dict[str, Any]:
    """Return what fills in a personal message: the message's values, over them the recipient's, beside them his name."""
    own = {"unsubscribe_url": unsubscribe_url(recipient)} if message.channel == Channel.EMAIL and recipient.pk else {}
    named = {"name": recipient.name} if recipient.name else {}
    return {**own, **message.data, **named, **recipient.data}


def batches(message: Message, recipients: Sequence[Recipient], view: ConfigView) -> Iterator[list[Recipient]]:
    """Divide recipients into those of one call each: as many as the account takes, and no more than get the same words."""
    largest = batch_size(view, message.channel)
    if message.channel == Channel.EMAIL:
        largest = min(largest, MOST_TEXTS) if message.personal else largest
        yield from _letters(recipients, largest, _recipient_limit(view))
    elif message.channel == Channel.SMS and largest > 1:
        for _text, same in _by_text(message, recipients):
            yield from _chunks(same, largest)
    else:
        yield from ([each] for each in recipients)


def batch_size(view: ConfigView, channel: str) -> int:
    """Return the most recipients (of e-mail: letters) of one call: the config's `batch_size` where the provider declares one,
    else the adapter's; 1 for channels that are called for each recipient."""
    adapter = get_provider(view.provider).adapter_class(Capability(channel))
    return min(LARGEST_BATCH, int(view.get("batch_size") or getattr(adapter, "batch_size", 1)))


def _recipient_limit(view: ConfigView) -> int:
    adapter = get_provider(view.provider).adapter_class(Capability.EMAIL)
    return adapter.recipient_limit if issubclass(adapter, EmailAdapter) else 1


def _by_text(message: Message, recipients: Sequence[Recipient]) -> Iterable[tuple[str, list[Recipient]]]:
    if not message.personal:
        return [(message.body, list(recipients))]
    groups: dict[str, list[Recipient]] = {}
    for each in recipients:
        groups.setdefault(fill(message, each).body, []).append(each)
    return groups.items()


def letter_of(recipient: Recipient) -> tuple[int, int]:
    """Return which letter of an e-mail a recipient gets. Those without a role (of an uploaded list) each get one of their own:
    strangers never stand in one header."""
    return recipient.envelope, 0 if recipient.role else recipient.pk


def letters(recipients: Sequence[Recipient]) -> Iterator[list[Recipient]]:
    """Yield the recipients of an e-mail letter by letter."""
    in_order = sorted(recipients, key=lambda each: (letter_of(each), each.pk))
    for _letter, group in groupby(in_order, key=letter_of):
        yield list(group)


def only_hidden(letter: Sequence[Recipient]) -> bool:
    """Tell whether nobody but hidden recipients is left of a letter: each gets a copy of his own then."""
    return all(each.role == "bcc" for each in letter)


def _letters(recipients: Sequence[Recipient], largest: int, limit: int) -> Iterator[list[Recipient]]:
    """Keep each letter's recipients together; a call has at most `largest` letters and `limit` recipients."""
    call: list[Recipient] = []
    count = 0
    for letter in letters(recipients):
        copies = len(letter) if only_hidden(letter) else 1
        if call and (count + copies > largest or len(call) + len(letter) > limit):
            yield call
            call, count = [], 0
        call += letter
        count += copies
    if call:
        yield call


def _chunks(recipients: Sequence[Recipient], size: int) -> Iterator[list[Recipient]]:
    for start in range(0, len(recipients), size):
        yield list(recipients[start : start + size])
