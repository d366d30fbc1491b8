"""The in-process bus between features. Who reacts to what stands in `integrations_site/wiring.py` and nowhere else.

`emit` runs every handler at once, in the caller's transaction: what the handlers write commits or rolls back with the fact.
A handler must not touch the network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


class Unmatched(Exception):
    """Raised by a handler that can't tell which of the tenant's objects an event is about; the text says what it looked for."""


Handler = Callable[[Any], None]
Responder = Callable[[Any], Any]

_handlers: dict[type, list[Handler]] = defaultdict(list)
_responders: dict[type, list[Responder]] = defaultdict(list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEvent:
    """A fact about a tenant's object, in past tense: `type` is dotted (`payment.completed`), `object` is its public form.

    `object_type`/`object_id` name the object for timelines. `key` makes the fact unique: a second event of the same tenant,
    type and key is the same fact and must not be published twice.
    """

    tenant_id: int
    type: str
    object: Mapping[str, Any]
    object_type: str
    object_id: str
    key: str
    private: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """For handlers inside the hub only (a payer's full phone number); never leaves the house."""
    channels: tuple[str, ...] = ()
    """Labels by which endpoints may choose; empty: none."""


def subscribe(event_class: type, handler: Handler) -> None:
    """Run `handler` on every event of exactly this class, in the order of subscription. Subscribing twice is once."""
    if handler not in _handlers[event_class]:
        _handlers[event_class].append(handler)


def emit(event: Any) -> int:
    """Hand `event` to its handlers and return how many there were; an exception of a handler is the caller's."""
    handlers = _handlers[type(event)]
    for handler in handlers:
        handler(event)
    return len(handlers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineAsked:
    """Question to all features: what do you know of this object? Answered with a list of `TimelineEntry`."""

    tenant_id: int
    object_type: str
    object_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One line of an object's story. `kind` is short and stable (`call`, `webhook`, `ledger`, `sms`, `delivery` ...)."""

    at: datetime
    kind: str
    text: str
    status: str = ""
    object_type: str = ""
    object_id: str = ""
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAsked:
    """Question to messaging: text the receipt of this payment to `to`. Answered with `ReceiptTaken`; a refusal is raised as
    `ProviderError`, with nothing changed. Asked in the transaction that the text is to be queued in.

    `object` is the payment's public form, `private` as in `DomainEvent`; asked again with the same `key` it is the same text.
    """

    tenant_id: int
    object: Mapping[str, Any]
    object_id: str
    to: str
    key: str
    asked_by: str
    private: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTaken:
    """The text is queued as `message_id`, to `to` in E.164. `refused` says why it will not be sent after all, or is empty."""

    message_id: str
    to: str
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageMoved:
    """A recipient's message reached `state` (a `MessageState`) from `before`, whichever they are. Never leaves the house; what
    does is the `DomainEvent` of the ends. `reference_*` name what the message is about."""

    tenant_id: int
    message_id: str
    recipient_id: int
    state: str
    before: str
    detail: str
    reference_type: str
    reference_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeErased:
    """What a logged exchange said was erased at a person's request: whoever keeps the same elsewhere erases it too. Never
    leaves the house."""

    tenant_id: int
    log_id: int
    direction: str
    provider: str
    operation: str
    external_reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportErased:
    """A stored request was erased that reported `fact` (an `InboundEvent`): whoever keeps its words erases them too. Never
    leaves the house."""

    fact: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FactErased:
    """What the `DomainEvent` of this key said was erased where it came from: whoever keeps the same erases it too. Without a
    `type` it is of whichever it was. Never leaves the house."""

    tenant_id: int
    key: str
    type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadErased:
    """The payload of a published event was erased: whoever keeps a copy erases it too. Never leaves the house."""

    tenant_id: int
    type: str
    key: str
    object_type: str
    object_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StillOpenAsked:
    """Question to all features: which of these objects, each (type, id), are still going on? Work that was done for them is
    kept, whatever its age: others decide by it. Answered with a list of those."""

    tenant_id: int
    references: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminNotice:
    """Something that the tenant's own admins must hear of by mail. `key` makes it unique: a second one of the same tenant and
    key is not sent. `text` holds no secret and no URL of the tenant's."""

    tenant_id: int
    subject: str
    text: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTypesAsked:
    """Question to all features: which types of `DomainEvent` are there? Answered with a list of `KnownEventType`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEventType:
    """A type of `DomainEvent` by its name, with an object of the kind that it is about, invented."""

    name: str
    description: str
    example: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEventAsked:
    """Question to the webhooks: may a tenant's own system say that an event of this `type` happened? Answered with a text:
    why not, or empty where it may. With an `object` also where it breaks the type's schema."""

    tenant_id: int
    type: str
    object: Mapping[str, Any] | None = None


def respond(question_class: type, responder: Responder) -> None:
    """Let `responder` answer this class of questions, after those set earlier. Setting it twice is once."""
    if responder not in _responders[question_class]:
        _responders[question_class].append(responder)


def ask(question: Any) -> Any:
    """Return the first answer that is not None, or None where nobody answers this class of questions."""
    for responder in _responders[type(question)]:
        answer = responder(question)
        if answer is not None:
            return answer
    return None


def ask_all(question: Any) -> list[Any]:
    """Return the items of every responder's list, one list after the other."""
    return [item for responder in _responders[type(question)] for item in responder(question)]
