"""Reading messages: lists, one with its story, and its share of other objects' timelines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, F, Prefetch, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from integrations.contracts.messaging import MessageState
from integrations.events import TimelineAsked, TimelineEntry
from integrations.messaging.models import Channel, Message, MessageEvent, Recipient
from integrations.messaging.transitions import cost_object, reference_object, shown_address, stamp

RECIPIENTS_SHOWN = 100
"""Recipients in a message's own data; all of them are at `messages/{id}/recipients`."""
LISTED = 20
"""The same in lists of messages."""


def list_messages() -> QuerySet[Message]:
    """Return the messages of the active scope, newest first."""
    return Message.objects.all()


def get_message(message_id: str, *, channel: str | None = None) -> Message:
    """Return a message of the active scope; raise `Message.DoesNotExist`."""
    rows = Message.objects.all()
    if channel is not None:
        rows = rows.filter(channel=channel)
    found: Message = rows.get(pk=message_id)
    return found


def list_recipients(message: Message) -> QuerySet[Recipient]:
    """Return a message's recipients with their stories, in the order in which they were given."""
    events = MessageEvent.objects.order_by("at", "id")
    rows = Recipient.objects.filter(message=message).select_related("message").order_by("id")
    return rows.prefetch_related(Prefetch("events", queryset=events))


def count_states(message_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return {message: {state: recipients}} for messages of the active scope."""
    counts: dict[str, dict[str, int]] = {each: {} for each in message_ids}
    rows = Recipient.objects.filter(message_id__in=message_ids).values_list("message_id", "state")
    for message_id, state, count in rows.annotate(count=Count("id")).order_by("message_id"):
        counts[message_id][state] = count
    return counts


def addresses_meant(word: str) -> list[str]:
    """Return how an address that somebody wrote may be stored: numbers begin with `+`, which a query string loses, and people
    put spaces between their parts."""
    bare = word.strip()
    number = bare.replace(" ", "").lstrip("+")
    return [bare, f"+{number}"] if number.isascii() and number.isdigit() else [bare]


def overall_status(message: Message, states: Iterable[str]) -> str:
    """Return one word for a message: `preparing` while a list's rows are read, `paused`, else the least advanced of its
    recipients' states; `partial` where all ended, some badly."""
    present = set(states)
    if message.recipient_list_id is not None and message.prepared_at is None and message.cancelled_at is None:
        return "paused" if message.paused_at is not None else "preparing"
    if message.paused_at is not None and MessageState.QUEUED in present:
        return "paused"
    for state in (MessageState.QUEUED, MessageState.UNKNOWN, MessageState.SENT):
        if state in present:
            return state.value
    if len(present) == 1:
        return str(present.pop())
    if not present:
        return MessageState.CANCELLED.value if message.cancelled_at else MessageState.FAILED.value
    arrived = present & {MessageState.DELIVERED, MessageState.READ}
    if arrived == present:
        return MessageState.DELIVERED.value
    return "partial" if arrived else MessageState.FAILED.value


def messages_data(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as lists show them: with how many recipients are in which state, and the first of them."""
    ids = [each.pk for each in messages]
    counts = count_states(ids)
    place = Window(RowNumber(), partition_by=F("message_id"), order_by=F("id").asc())
    first: dict[str, list[Recipient]] = {each: [] for each in ids}
    rows = Recipient.objects.filter(message_id__in=ids).select_related("message").annotate(place=place)
    for row in rows.filter(place__lte=LISTED).order_by("id"):
        first[row.message_id].append(row)
    return [message_data(each, counts=counts[each.pk], shown=first[each.pk]) for each in messages]


def message_data(
    message: Message,
    *,
    with_events: bool = False,
    counts: dict[str, int] | None = None,
    shown: Sequence[Recipient] | None = None,
) -> dict[str, Any]:
    """Return a message as the API shows it, with its first `RECIPIENTS_SHOWN` recipients (or those `shown`)."""
    if counts is None:
        counts = count_states([message.pk])[message.pk]
    if shown is None:
        plain = Recipient.objects.filter(message=message).select_related("message").order_by("id")
        rows = list_recipients(message) if with_events else plain
        shown = list(rows[:RECIPIENTS_SHOWN])
    return {
        "id": message.pk,
        "channel": message.channel,
        "status": overall_status(message, counts),
        "provider": message.provider,
        "sender": message.sender,
        "subject": message.subject,
        "message": message.body,
        "segments": message.segments,
        "encoding": message.encoding,
        "category": message.category,
        "template": message.template_name,
        "reference": reference_object(message),
        "send_at": stamp(message.send_at),
        "expires_at": stamp(message.expires_at),
        "paused_at": stamp(message.paused_at),
        "cancelled_at": stamp(message.cancelled_at),
        "continues": message.continues_id,
        "created": stamp(message.created),
        "created_by": message.created_by,
        "expected": max(message.expected, sum(counts.values())),
        "counts": counts,
        "recipients": [recipient_data(each, with_events=with_events) for each in shown],
    }


def recipient_data(recipient: Recipient, *, with_events: bool) -> dict[str, Any]:
    """Return a recipient as the API shows him; `with_events` reads his story: prefetch it."""
    failed = recipient.state in {MessageState.FAILED, MessageState.BOUNCED, MessageState.COMPLAINED, MessageState.UNKNOWN}
    data: dict[str, Any] = {
        "to": shown_address(recipient),
        "name": recipient.name,
        "role": recipient.role,
        "status": recipient.state,
        "provider_ref": recipient.provider_ref,
        "provider_status": recipient.provider_status,
        "error": recipient.detail if failed else "",
        "cost": cost_object(recipient),
        "sent_at": stamp(recipient.sent_at),
        "delivered_at": stamp(recipient.delivered_at),
        "opened_at": stamp(recipient.opened_at),
        "clicked_at": stamp(recipient.clicked_at),
    }
    if with_events:
        data["events"] = [
            {"at": stamp(event.at), "status": event.state, "detail": event.detail, "origin": event.source}
            for event in recipient.events.all()
        ]
    return data


def timeline_entries(question: TimelineAsked) -> list[TimelineEntry]:
    """Return the stories of the messages that refer to the object (or of the message asked for), oldest first."""
    about = Q(reference_type=question.object_type, reference_id=question.object_id)
    if question.object_type == "message":
        about |= Q(pk=question.object_id)
    messages = list(Message.unscoped.filter(about, tenant_id=question.tenant_id).values_list("pk", flat=True))
    if not messages:
        return []
    events = MessageEvent.unscoped.filter(tenant_id=question.tenant_id, recipient__message_id__in=messages)
    return [_entry(event) for event in events.select_related("recipient__message").order_by("at", "id")]


def _entry(event: MessageEvent) -> TimelineEntry:
    recipient = event.recipient
    message = recipient.message
    channel = Channel(message.channel).label
    what = f"{message.category.capitalize()} {channel}" if message.category else channel
    text = f"{what} to {shown_address(recipient)}: {event.state or event.detail}"
    if event.state and event.detail:
        text += f" ({event.detail})"
    if event.state == MessageState.SENT and recipient.provider_ref:
        text += f", {recipient.provider_ref}"
    return TimelineEntry(
        at=event.at, kind=message.channel, text=text, status=event.state, object_type="message", object_id=message.pk
    )
