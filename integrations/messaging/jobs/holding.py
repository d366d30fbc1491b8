"""When a message that is due is not sent after all, or not yet: cancelled, too old, paused, night, too fast, no account."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from integrations.contracts import clock
from integrations.contracts.errors import NotConfigured, ProviderError, Throttled
from integrations.contracts.messaging import MessageState
from integrations.messaging.fallback import fallback
from integrations.messaging.models import Message, Recipient
from integrations.messaging.safety import quiet, spending
from integrations.messaging.safety.categories import category_of
from integrations.messaging.safety.screening import screen
from integrations.messaging.sending import PAUSED, enqueue_send, sender_rate
from integrations.messaging.standing import standing_of
from integrations.messaging.transitions import advance
from integrations.models import AttemptState, QueueItem, QueueState
from integrations.runtime import rate_limit
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

PAUSE_LOOK = 3600.0
"""Seconds after which an item of a paused message looks again by itself; whoever resumes wakes it at once."""
ACCOUNT_LOOK = 900.0
ACCOUNT_PATIENCE = timedelta(hours=24)
"""How long a message waits for an account that was switched off to come back, and how often it looks (seconds)."""
URGENT = 3
"""Messages of this priority, and below, try for their turn again at once; others make room for them."""


class Held(Throttled):
    """The hub itself holds the message back: it is paused, or it is night where the recipient lives."""

    code = "held"


def still_wanted(item: QueueItem, queued: list[Recipient]) -> list[Recipient]:
    """Return those of the item's (locked) recipients to be sent to now; end those of a message that was cancelled or has become
    too old. Raises `Held` where all are to wait. What an earlier try may have sent is never ended here."""
    if not queued:
        return []
    message = queued[0].message
    if item.tries.filter(state__in=[AttemptState.SENDING, AttemptState.UNKNOWN]).exists():
        return queued
    standing = standing_of(message)
    end = None
    if standing.cancelled:
        end = MessageState.CANCELLED
    elif message.expires_at is not None and message.expires_at <= clock.now():
        end = MessageState.EXPIRED
    if end is not None:
        for each in queued:
            advance(each, end, at=clock.now(), source="queue", detail=f"{end.value} before it was sent")
        return []
    if standing.paused:
        raise Held(PAUSED, retry_after=_until(message, PAUSE_LOOK))
    return screen(message, _awake(item, message, queued))


def keep_pace(item: QueueItem, message: Message, call: Call) -> None:
    """Raise `Throttled` where the sender may not send that fast, and `Held` for a while where its account is switched off."""
    try:
        rate = sender_rate(resolve(call, tenant_id=item.tenant_id), message.channel)
    except NotConfigured as error:
        _wait_for_account(message, item, error)
        raise
    if not rate:
        return
    key = f"sender|{message.provider}|{message.config_id or item.tenant_id}|{message.sender}"
    try:
        rate_limit.take(key[:200], rate=rate, burst=max(1, int(rate)))
    except Throttled as error:
        if message.priority > URGENT:
            # Thousands that all came due at once would wake, and be put off, every second: they spread over their own time.
            behind = QueueItem.unscoped.filter(
                tenant_id=item.tenant_id,
                kind=item.kind,
                reference_type="message",
                reference_id=message.pk,
                state=QueueState.PENDING,
                due_at__lte=clock.now() + timedelta(seconds=1),
            ).count()
            spread = random.random() * behind / rate  # noqa: S311 spreads load, guards nothing
            error.retry_after = _until(message, (error.retry_after or 0.0) + spread)
        raise


def wake_if_released(item: QueueItem, error: ProviderError) -> None:
    """Have the (locked) item look again at once where what held it has ended meanwhile: whoever resumed or cancelled the
    message at that moment did not see it waiting."""
    if item.due_at <= clock.now():
        return
    message = Message.unscoped.get(pk=item.payload["message"], tenant_id=item.tenant_id)
    standing = standing_of(message)
    if standing.cancelled or (isinstance(error, Held) and error.message == PAUSED and not standing.paused):
        item.due_at = clock.now()
        item.save(update_fields=["due_at"])


def latest_look(message: Message, due_at: datetime) -> datetime:
    """Return when a later try is to look at the message: then, but no later than it expires, and at once where it was
    cancelled meanwhile."""
    if standing_of(message).cancelled:
        return clock.now()
    return due_at if message.expires_at is None else min(due_at, message.expires_at)


def _awake(item: QueueItem, message: Message, queued: list[Recipient]) -> list[Recipient]:
    """Return those whose quiet hours are not now. The others get items of their own, each for the end of his night; raises
    `Held` where it is night for all of them."""
    policy = spending.policy_of(message.tenant_id, message.channel)
    if policy is None or policy.quiet_from is None or category_of(message.tenant_id, message.category).is_critical:
        return queued
    now = clock.now()
    due = {each.pk: quiet.earliest(policy, quiet.zones_of(each, message.channel, message.tenant.zone), now) for each in queued}
    awake = [each for each in queued if due[each.pk] <= now]
    first = min(due.values())
    if not awake:
        raise Held("It is night where the recipient lives.", retry_after=_until(message, (first - now).total_seconds()))
    asleep = [each for each in queued if due[each.pk] > now]
    if asleep:
        for moment in sorted({due[each.pk] for each in asleep}):
            theirs = [each for each in asleep if due[each.pk] == moment]
            key = f"{message.pk}:{item.pk}:night:{theirs[0].pk}"
            enqueue_send(message, theirs, key=key, due_at=latest_look(message, moment))
        gone = {each.pk for each in asleep}
        item.payload = {**item.payload, "recipients": [each for each in item.payload["recipients"] if each not in gone]}
        QueueItem.unscoped.filter(pk=item.pk, lease=item.lease).update(payload=item.payload)
    return awake


def _wait_for_account(message: Message, item: QueueItem, error: NotConfigured) -> None:
    """Raise `Held` while an account that is switched off may come back, and nobody else could carry the message."""
    since = max(message.created, message.send_at or message.created)
    if clock.now() - since > ACCOUNT_PATIENCE or fallback.leaves(message, item, error):
        return
    raise_alert(
        tenant_id=message.tenant_id,
        kind="message_waits_for_account",
        subject=message.pk,
        message=f"A message waits for its account: {error.message}",
    )
    raise Held(error.message, retry_after=_until(message, ACCOUNT_LOOK)) from error


def _until(message: Message, seconds: float) -> float:
    """Return the wait, but none beyond the moment when the message is too old."""
    if message.expires_at is None:
        return seconds
    return max(0.0, min(seconds, (message.expires_at - clock.now()).total_seconds()))
