"""The status ladder of a recipient: one table, one function that applies it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from integrations.contracts.messaging import MessageState
from integrations.events import DomainEvent, MessageMoved, emit
from integrations.messaging.models import Channel, Message, MessageEvent, Recipient
from integrations.runtime.statements import update

QUEUED, SENT, DELIVERED, READ = MessageState.QUEUED, MessageState.SENT, MessageState.DELIVERED, MessageState.READ
FAILED, BOUNCED, COMPLAINED = MessageState.FAILED, MessageState.BOUNCED, MessageState.COMPLAINED
CANCELLED, EXPIRED, UNKNOWN = MessageState.CANCELLED, MessageState.EXPIRED, MessageState.UNKNOWN

_HEARD = frozenset({DELIVERED, READ, FAILED, BOUNCED, COMPLAINED})

# From unknown back to queued leads only the provider's own late answer that it did not send. An e-mail may come back, or be
# called spam, after the receiving server had taken it.
ALLOWED: dict[MessageState, frozenset[MessageState]] = {
    QUEUED: _HEARD | {SENT, UNKNOWN, CANCELLED, EXPIRED},
    UNKNOWN: _HEARD | {QUEUED, SENT, CANCELLED, EXPIRED},
    SENT: _HEARD | {CANCELLED, EXPIRED},
    DELIVERED: frozenset({READ, BOUNCED, COMPLAINED}),
    READ: frozenset({COMPLAINED}),
    FAILED: frozenset(),
    BOUNCED: frozenset(),
    COMPLAINED: frozenset(),
    CANCELLED: frozenset(),
    EXPIRED: frozenset(),
}

EVENT_TYPES = {
    DELIVERED: "message.delivered",
    READ: "message.read",
    FAILED: "message.failed",
    BOUNCED: "message.bounced",
    COMPLAINED: "message.complained",
}


def advance(
    recipient: Recipient, state: MessageState, *, at: datetime, source: str, detail: str = "", provider_status: str = ""
) -> bool:
    """Move a recipient (its row locked by the caller) on and save it; tell whether it moved.

    What the table does not allow changes no state: a late or repeated word is only written into the story if it is new.
    Emits `MessageMoved`; reaching one of `EVENT_TYPES` also that event.
    """
    before = MessageState(recipient.state)
    if state not in ALLOWED[before]:
        word = provider_status or state.value
        if state is not before:
            note(recipient, at=at, source=source, detail=f"{word} came too late: stays {before.value}")
        elif word != recipient.provider_status:
            note(recipient, at=at, source=source, detail=word)
            recipient.provider_status = word
        recipient.save()
        return False
    recipient.state = state.value
    recipient.detail = detail
    recipient.provider_status = provider_status or recipient.provider_status
    recipient.updated = at
    if state in {SENT, DELIVERED, READ} and recipient.sent_at is None:
        recipient.sent_at = at
    if state in {DELIVERED, READ} and recipient.delivered_at is None:
        recipient.delivered_at = at
    recipient.save()
    MessageEvent.unscoped.create(
        tenant_id=recipient.tenant_id, recipient=recipient, at=at, state=state.value, detail=detail, source=source
    )
    emit(_moved(recipient, before))
    if state in EVENT_TYPES:
        emit(
            DomainEvent(
                tenant_id=recipient.tenant_id,
                type=EVENT_TYPES[state],
                object=recipient_object(recipient),
                object_type="message",
                object_id=recipient.message_id,
                key=f"{recipient.pk}:{state.value}",
            )
        )
    return True


def advance_sent(recipients: Sequence[Recipient], *, at: datetime, source: str) -> None:
    """Move recipients (their rows locked, all queued or unknown) on to sent, as `advance` would one by one, in two statements
    however many they are. Their `detail`, `provider_status`, `provider_ref`, `cost` and `currency` are saved along."""
    moves = []
    for each in recipients:
        before = MessageState(each.state)
        if SENT not in ALLOWED[before]:
            raise ValueError(f"from {before.value} no way leads to sent")
        each.state, each.updated, each.sent_at = SENT.value, at, each.sent_at or at
        moves.append(_moved(each, before))
    update(Recipient, _SAVED, recipients)
    MessageEvent.unscoped.bulk_create(
        [
            MessageEvent(tenant_id=each.tenant_id, recipient=each, at=at, state=SENT.value, detail=each.detail, source=source)
            for each in recipients
        ]
    )
    for move in moves:
        emit(move)


_SAVED = ("state", "updated", "sent_at", "detail", "provider_status", "provider_ref", "cost", "currency")


def _moved(recipient: Recipient, before: MessageState) -> MessageMoved:
    return MessageMoved(
        tenant_id=recipient.tenant_id,
        message_id=recipient.message_id,
        recipient_id=recipient.pk,
        state=recipient.state,
        before=before.value,
        detail=recipient.detail,
        reference_type=recipient.message.reference_type,
        reference_id=recipient.message.reference_id,
    )


def revive(recipient: Recipient, *, at: datetime) -> None:
    """Queue a recipient anew that was given up before the provider had it: a person retried the queue item."""
    if not recipient.given_up:
        raise ValueError("only what certainly was not sent may be queued anew")
    recipient.state, recipient.given_up, recipient.detail, recipient.updated = QUEUED.value, False, "", at
    recipient.save()
    MessageEvent.unscoped.create(
        tenant_id=recipient.tenant_id, recipient=recipient, at=at, state=QUEUED.value, detail="retried", source="person"
    )


def note(recipient: Recipient, *, at: datetime, source: str, detail: str) -> None:
    """Write a line into the story without a change of state."""
    MessageEvent.unscoped.create(tenant_id=recipient.tenant_id, recipient=recipient, at=at, detail=detail, source=source)


def recipient_object(recipient: Recipient) -> dict[str, Any]:
    """Return the public form that `message.*` events carry: the message as this recipient got it."""
    message: Message = recipient.message
    failed = recipient.state in {FAILED, BOUNCED, COMPLAINED, UNKNOWN}
    return {
        "id": message.pk,
        "channel": message.channel,
        "to": shown_address(recipient),
        "status": recipient.state,
        "provider": message.provider,
        "provider_ref": recipient.provider_ref,
        "sender": message.sender,
        "segments": message.segments,
        "encoding": message.encoding,
        "category": message.category,
        "reference": reference_object(message),
        "continues": message.continues_id,
        "fallback": _fallback(recipient) if failed else None,
        "cost": cost_object(recipient),
        "error": {"code": recipient.provider_status, "message": recipient.detail} if failed else None,
        "created": stamp(message.created),
        "sent_at": stamp(recipient.sent_at),
        "delivered_at": stamp(recipient.delivered_at),
    }


def _fallback(recipient: Recipient) -> str | None:
    """Return the message that went on in place of this one. Where one is about to, its own events name this one."""
    found: str | None = Recipient.unscoped.filter(instead_of=recipient).values_list("message_id", flat=True).first()
    return found


def shown_address(recipient: Recipient) -> str:
    """Return the address as people and systems may see it: a device's token is as good as a key to it, so it is cut."""
    address = recipient.address
    is_token = recipient.message.channel == Channel.PUSH and not recipient.message.content.get("topic")
    return f"…{address[-8:]}" if is_token and len(address) > 16 else address


def reference_object(message: Message) -> dict[str, str] | None:
    if not message.reference_type:
        return None
    return {"type": message.reference_type, "id": message.reference_id}


def cost_object(recipient: Recipient) -> dict[str, str] | None:
    """Return what the provider charged: `value` is decimal text in major units, since it bills in fractions of a cent."""
    if recipient.cost is None:
        return None
    return {"value": f"{recipient.cost.normalize():f}", "currency": recipient.currency}


def stamp(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC with `Z`."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
