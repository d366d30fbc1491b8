"""Another way for a message whose first way failed: the next provider, then the next channel, as the tenant's policy says.

Never after an outcome that is unknown: whoever may have got the message does not get it twice. All of this runs within other
features' transactions: here it is only noted down what `jobs/fallback.py` then does, and nothing here may break them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from django.db import connection, transaction

from integrations.contracts import clock
from integrations.contracts.errors import CircuitOpen, NotConfigured, ProviderError, ProviderUnavailable, RateLimited
from integrations.contracts.messaging import MessageState
from integrations.events import MessageMoved
from integrations.messaging.fallback.ways import Ways, ways_of
from integrations.messaging.models import FallbackPolicy, Message, MessageEvent, Recipient
from integrations.messaging.transitions import note
from integrations.models import QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.queue import enqueue

GO_ON_KIND = "message.fallback"
RECEIPTS_KIND = "message.receipts"
COLLECT = timedelta(seconds=3)
"""How long failures of a message to several are collected, so that they go on together."""
FAILURES = frozenset({MessageState.FAILED.value, MessageState.BOUNCED.value})
ARRIVED = frozenset({MessageState.DELIVERED.value, MessageState.READ.value})

logger = structlog.get_logger(__name__)


def watch(message: Message, recipients: Sequence[Recipient]) -> None:
    """Queue a look at these recipients, just sent to, for the time when the policy misses their receipts."""
    _unbreakably(message.tenant_id, message.pk, lambda: _watch(message, recipients))


def has_step(message: Message, recipient: Recipient) -> bool:
    """Tell whether the policy knows another way for this recipient, whose provider asks for another try, and has had as many
    tries as it gives one provider."""
    ways = ways_of(message)
    return ways is not None and recipient.tries + 1 >= ways.policy.tries and bool(ways.for_each([recipient]))


def leaves(message: Message, item: QueueItem, error: ProviderError) -> bool:
    """Tell whether a call that certainly had no effect is to be given up now, since there is another way: for all of its
    recipients, since all of them fail with it."""
    if not isinstance(error, ProviderUnavailable | RateLimited | NotConfigured):
        return False
    ways = ways_of(message)
    if ways is None or not (isinstance(error, CircuitOpen | NotConfigured) or item.attempts >= ways.policy.tries):
        return False
    rows = Recipient.unscoped.filter(tenant_id=item.tenant_id, pk__in=item.payload["recipients"], state=MessageState.QUEUED)
    waiting = list(rows)
    return bool(waiting) and len(ways.for_each(waiting)) == len(waiting)


def moved(event: MessageMoved) -> None:
    """Take the next way for a recipient who has just failed for good, where the policy knows one. One who was thought lost
    and got the message after all needs no second one, if that is still waiting."""
    if event.state in FAILURES:
        todo: Callable[[MessageMoved], None] = _failed
    elif event.state in ARRIVED and Recipient.unscoped.filter(instead_of_id=event.recipient_id).exists():
        todo = _arrived
    elif event.state == MessageState.SENT and event.before == MessageState.UNKNOWN and _watches(event.tenant_id):
        todo = _sent
    else:
        return
    _unbreakably(event.tenant_id, event.message_id, lambda: todo(event))


def _failed(event: MessageMoved) -> None:
    recipient = Recipient.unscoped.select_related("message").get(pk=event.recipient_id)
    message = recipient.message
    ways = ways_of(message)
    if ways is None or not ways.for_each([recipient]):
        return
    # One item for all that fail in this transaction. It is nobody else's before the commit: no worker can have read it too
    # early, which an item shared between transactions could not promise.
    key = f"{message.pk}:{_transaction_id()}"
    mine = QueueItem.unscoped.filter(tenant_id=message.tenant_id, kind=GO_ON_KIND, key=key, state=QueueState.PENDING).first()
    if mine is not None:
        mine.payload["recipients"].append(recipient.pk)
        mine.save(update_fields=["payload"])
        return
    alone = message.expected <= 1
    enqueue(
        tenant_id=message.tenant_id,
        kind=GO_ON_KIND,
        payload={"message": message.pk, "recipients": [recipient.pk]},
        reference=("message", message.pk),
        key=key,
        due_at=clock.now() if alone else clock.now() + COLLECT,
        priority=message.priority,
    )


def _watch(message: Message, recipients: Sequence[Recipient]) -> None:
    ways = ways_of(message)
    if ways is None or ways.policy.after_minutes is None:
        return
    theirs = ways.for_each(recipients)
    watched = [each.pk for each in recipients if each.pk in theirs]
    if watched:
        _enqueue_look(ways, watched)


def _enqueue_look(ways: Ways, watched: list[int]) -> None:
    message = ways.chain[0]
    enqueue(
        tenant_id=message.tenant_id,
        kind=RECEIPTS_KIND,
        payload={"message": message.pk, "recipients": watched},
        reference=("message", message.pk),
        key=f"{message.pk}:{watched[0]}",
        due_at=clock.now() + timedelta(minutes=ways.policy.after_minutes or 0),
        priority=message.priority,
    )


def _watches(tenant_id: int) -> bool:
    return FallbackPolicy.unscoped.filter(tenant_id=tenant_id, is_active=True, after_minutes__isnull=False).exists()


def _sent(event: MessageMoved) -> None:
    """Watch one whose outcome was unknown and who turned out to have been sent to: no answer announced him. Not where a person
    said so: the answer was lost, most providers' receipts would not find him, and he would get a second one."""
    events = MessageEvent.unscoped.filter(recipient_id=event.recipient_id)
    if not events.filter(state=MessageState.SENT, source="person").exists():
        recipient = Recipient.unscoped.select_related("message").get(pk=event.recipient_id)
        _watch(recipient.message, [recipient])


def _arrived(event: MessageMoved) -> None:
    """Cancel the message that goes out in place of this one, where it still waits and nobody else needs it."""
    second = Recipient.unscoped.select_related("message").get(instead_of_id=event.recipient_id)
    if second.state != MessageState.QUEUED:
        return
    waiting = Recipient.unscoped.filter(message_id=second.message_id, state=MessageState.QUEUED)
    if waiting.exclude(instead_of__state__in=ARRIVED).exists():
        return
    if Message.unscoped.filter(pk=second.message_id, cancelled_at__isnull=True).update(cancelled_at=clock.now()):
        note(second, at=clock.now(), source="hub", detail=f"not needed any more: {event.message_id} arrived after all")


def _transaction_id() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid_current()")
        return int(cursor.fetchone()[0])


def _unbreakably(tenant_id: int, message_id: str, do: Callable[[], None]) -> None:
    """Do it, and undo it alone where it breaks: what is being written down about a message must not be lost over it."""
    try:
        with transaction.atomic():
            do()
    except Exception as error:
        logger.exception("fallback_broke", message=message_id)
        raise_alert(
            tenant_id=tenant_id,
            kind="fallback_failed",
            subject=message_id,
            message=f"Another way could not be looked for ({type(error).__name__}).",
        )
