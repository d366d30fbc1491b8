"""Closing queue items in review once the truth about the last of their recipients is known."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Recipient
from integrations.models import Alert, QueueItem, QueueState
from integrations.runtime.alerts import raise_alert, resolve_alert
from integrations.runtime.jobs import LocalJob
from integrations.runtime.queue import enqueue

KIND = "message.close"
SECOND_LOOK = timedelta(seconds=10)
"""After this, whoever reported at the same moment has committed."""
_WAITING = (QueueState.NEEDS_REVIEW, QueueState.UNKNOWN)


def open_items_of(recipient: Recipient) -> QuerySet[QueueItem]:
    """Return the (locked) queue items that wait for the truth about this recipient; one that is locked is left out: it is
    being settled by somebody who knows more."""
    return _waiting(recipient).select_for_update(skip_locked=True)


def finish_items_of(recipient: Recipient) -> None:
    """Complete the queue items in review whose last doubtful recipient this was. Where somebody else may be doing the same for
    another recipient at this moment, and neither sees the other's word, a second look is queued."""
    for item in open_items_of(recipient):
        _close(item)
    if _waiting(recipient).exists():
        look_again(recipient.message_id, recipient.tenant_id)


class CloseJob(LocalJob):
    """The second look at a message's items in review: closes those whose recipients are all known by now, and calls a person to
    those that nobody asks the provider about any more."""

    kind = KIND

    def run(self, item: QueueItem) -> None:
        waiting = QueueItem.unscoped.filter(
            tenant_id=item.tenant_id, reference_type="message", reference_id=item.payload["message"], state__in=_WAITING
        ).exclude(payload__recipients__isnull=True)
        for found in waiting.select_for_update(skip_locked=True):
            if not _close(found) and found.state == QueueState.UNKNOWN and not _is_asked_about(found):
                call_a_person(found, "the provider could not say what became of it")


def _waiting(recipient: Recipient) -> QuerySet[QueueItem]:
    found: QuerySet[QueueItem] = QueueItem.unscoped.filter(
        tenant_id=recipient.tenant_id,
        kind=f"{recipient.message.channel}.send",
        reference_type="message",
        reference_id=recipient.message_id,
        state__in=_WAITING,
        payload__recipients__contains=recipient.pk,
    )
    return found


def call_a_person(item: QueueItem, why: str) -> None:
    """Leave a (locked) item to a person: nothing more can be learned."""
    item.state = QueueState.NEEDS_REVIEW
    item.save()
    raise_alert(
        tenant_id=item.tenant_id,
        kind="needs_review",
        subject=f"{item.kind} #{item.pk}",
        message=f"It was sent and no answer came; {why}: a person must look.",
        level=Alert.Level.CRITICAL.value,
    )


def look_again(message_id: str, tenant_id: int) -> None:
    """Queue a second look at the message's items, in the caller's transaction."""
    enqueue(
        tenant_id=tenant_id,
        kind=KIND,
        payload={"message": message_id},
        reference=("message", message_id),
        key=message_id,
        due_at=clock.now() + SECOND_LOOK,
    )


def _is_asked_about(item: QueueItem) -> bool:
    open_states = [QueueState.PENDING, QueueState.PROCESSING]
    asking = QueueItem.unscoped.filter(
        tenant_id=item.tenant_id, kind__endswith=".find", reference_id=item.reference_id, state__in=open_states
    )
    return asking.filter(payload__recipient__in=item.payload["recipients"]).exists()


def _close(item: QueueItem) -> bool:
    """Complete the (locked) item where nobody of its recipients is in doubt; tell whether it was."""
    doubtful = Recipient.unscoped.filter(
        tenant_id=item.tenant_id, pk__in=item.payload["recipients"], state=MessageState.UNKNOWN
    )
    if doubtful.exists():
        return False
    item.state, item.finished_at = QueueState.COMPLETED, clock.now()
    item.save()
    resolve_alert(tenant_id=item.tenant_id, kind="needs_review", subject=f"{item.kind} #{item.pk}")
    return True
