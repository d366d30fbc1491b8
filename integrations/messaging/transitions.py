"""The status ladder of a recipient: one table, one function that applies it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from integrations.contracts.sms import MessageState
from integrations.events import DomainEvent, MessageMoved, emit
from integrations.messaging.models import Message, MessageEvent, Recipient

QUEUED, SENT, DELIVERED, FAILED, UNKNOWN = (
    MessageState.QUEUED,
    MessageState.SENT,
    MessageState.DELIVERED,
    MessageState.FAILED,
    MessageState.UNKNOWN,
)

# From unknown back to queued leads only the provider's own late answer that it did not send.
ALLOWED: dict[MessageState, frozenset[MessageState]] = {
    QUEUED: frozenset({SENT, DELIVERED, FAILED, UNKNOWN}),
    UNKNOWN: frozenset({QUEUED, SENT, DELIVERED, FAILED}),
    SENT: frozenset({DELIVERED, FAILED}),
    DELIVERED: frozenset(),
    FAILED: frozenset(),
}

EVENT_TYPES = {DELIVERED: "message.delivered", FAILED: "message.failed"}


def advance(
    recipient: Recipient, state: MessageState, *, at: datetime, source: str, detail: str = "", provider_status: str = ""
) -> bool:
    """Move a recipient (its row locked by the caller) on and save it; tell whether it moved.

    What the table does not allow changes no state: a late or repeated word is only written into the story if it is new.
    Emits `MessageMoved`; reaching `delivered` or `failed` also `message.delivered` or `message.failed`.
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
    if state in {SENT, DELIVERED} and recipient.sent_at is None:
        recipient.sent_at = at
    if state is DELIVERED:
        recipient.delivered_at = at
    recipient.save()
    MessageEvent.unscoped.create(
        tenant_id=recipient.tenant_id, recipient=recipient, at=at, state=state.value, detail=detail, source=source
    )
    emit(
        MessageMoved(
            tenant_id=recipient.tenant_id,
            message_id=recipient.message_id,
            state=state.value,
            detail=detail,
            reference_type=recipient.message.reference_type,
            reference_id=recipient.message.reference_id,
        )
    )
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
    failed = recipient.state in {FAILED, UNKNOWN}
    return {
        "id": message.pk,
        "channel": message.channel,
        "to": recipient.number,
        "status": recipient.state,
        "provider": message.provider,
        "provider_ref": recipient.provider_ref,
        "sender": message.sender,
        "segments": message.segments,
        "encoding": message.encoding,
        "category": message.category,
        "reference": reference_object(message),
        "cost": cost_object(recipient),
        "error": {"code": recipient.provider_status, "message": recipient.detail} if failed else None,
        "created": stamp(message.created),
        "sent_at": stamp(recipient.sent_at),
        "delivered_at": stamp(recipient.delivered_at),
    }


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
