"""Reading messages: lists, one with its story, and its share of other objects' timelines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Prefetch, Q, QuerySet

from integrations.contracts.messaging import MessageState
from integrations.events import TimelineAsked, TimelineEntry
from integrations.messaging.models import Message, MessageEvent, Recipient
from integrations.messaging.transitions import cost_object, reference_object, stamp


def list_messages() -> QuerySet[Message]:
    """Return the messages of the active scope with their recipients, newest first."""
    return Message.objects.prefetch_related(Prefetch("recipients", queryset=Recipient.objects.order_by("id")))


def get_message(message_id: str, *, channel: str | None = None) -> Message:
    """Return a message of the active scope with recipients and their stories; raise `Message.DoesNotExist`."""
    events = MessageEvent.objects.order_by("at", "id")
    recipients = Recipient.objects.order_by("id").prefetch_related(Prefetch("events", queryset=events))
    rows = Message.objects.prefetch_related(Prefetch("recipients", queryset=recipients))
    if channel is not None:
        rows = rows.filter(channel=channel)
    found: Message = rows.get(pk=message_id)
    return found


def overall_status(states: Iterable[str]) -> str:
    """Return one word for a message: the least advanced of its recipients' states; `partial` where all ended, some badly."""
    present = set(states)
    for state in (MessageState.QUEUED, MessageState.UNKNOWN, MessageState.SENT):
        if state in present:
            return state.value
    if len(present) == 1:
        return str(present.pop())
    arrived = present & {MessageState.DELIVERED, MessageState.READ}
    if arrived == present:
        return MessageState.DELIVERED.value
    return "partial" if arrived else MessageState.FAILED.value


def message_data(message: Message, *, with_events: bool = False) -> dict[str, Any]:
    """Return a message as the API shows it. Reads the recipients (and events): prefetch them."""
    recipients = list(message.recipients.all())
    return {
        "id": message.pk,
        "channel": message.channel,
        "status": overall_status(each.state for each in recipients),
        "provider": message.provider,
        "sender": message.sender,
        "message": message.body,
        "segments": message.segments,
        "encoding": message.encoding,
        "category": message.category,
        "template": message.template_name,
        "reference": reference_object(message),
        "send_at": stamp(message.send_at),
        "created": stamp(message.created),
        "created_by": message.created_by,
        "recipients": [_recipient_data(each, with_events=with_events) for each in recipients],
    }


def _recipient_data(recipient: Recipient, *, with_events: bool) -> dict[str, Any]:
    failed = recipient.state in {MessageState.FAILED, MessageState.BOUNCED, MessageState.COMPLAINED, MessageState.UNKNOWN}
    data: dict[str, Any] = {
        "to": recipient.address,
        "status": recipient.state,
        "provider_ref": recipient.provider_ref,
        "provider_status": recipient.provider_status,
        "error": recipient.detail if failed else "",
        "cost": cost_object(recipient),
        "sent_at": stamp(recipient.sent_at),
        "delivered_at": stamp(recipient.delivered_at),
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
    what = f"{message.category.capitalize()} SMS" if message.category else "SMS"
    text = f"{what} to {recipient.address}: {event.state or event.detail}"
    if event.state and event.detail:
        text += f" ({event.detail})"
    if event.state == MessageState.SENT and recipient.provider_ref:
        text += f", {recipient.provider_ref}"
    return TimelineEntry(at=event.at, kind="sms", text=text, status=event.state, object_type="message", object_id=message.pk)
