"""Accepting a message: its row, its recipients and their queue items, in one transaction. The network is not touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import MessageState
from integrations.messaging.composing import batches, fill
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.models import Attachment, Channel, Message, MessageEvent, Recipient, RecipientList
from integrations.messaging.safety import quiet, spending
from integrations.messaging.safety.categories import category_of
from integrations.messaging.safety.screening import screen
from integrations.messaging.templating import MissingVariables
from integrations.messaging.transitions import advance
from integrations.models import QueueItem, Tenant
from integrations.registry import build_adapter
from integrations.runtime import jobs
from integrations.runtime.jobs import Call
from integrations.runtime.queue import enqueue, nudge
from integrations.runtime.resolve import resolve

PAUSED = "The message is paused."
"""By these words an item tells that it was put off by a pause, and not by anything else."""
EXPAND_KIND = "message.expand"
EXPAND_PRIORITY = 4
"""Reading a list goes before ordinary sending and reports, so that its parts don't queue up behind their own texts, and after
codes and receipts."""
WRITTEN_AT_ONCE = 2000
"""Rows of one statement, so that a long message does not have to be in memory thrice."""
FURTHEST = timedelta(days=731)
"""How far ahead a message may be planned, and how long it may be kept: two years, a leap day among them."""


def send_kind(channel: str) -> str:
    """Return the kind of the queue's job that sends on a channel."""
    return f"{channel}.send"


def find_by_key(tenant: Tenant, key: str) -> Message | None:
    """Return the message that was accepted with this key."""
    found: Message | None = Message.unscoped.filter(tenant=tenant, key=key).first() if key else None
    return found


def accept(
    *,
    tenant: Tenant,
    draft: Draft,
    destinations: Sequence[Destination] = (),
    recipient_list: RecipientList | None = None,
    expected: int | None = None,
) -> Message:
    """Write the message down and queue its sending, in the caller's transaction where there is one.

    With a `key` a second call returns the first call's message. With a `recipient_list` the list's rows (`expected` of them
    are good) become recipients in the background, part by part. Raises `InvalidRequest` naming the field, `NotConfigured`,
    `spending.SpendCapReached`; then nothing was written.
    """
    with transaction.atomic():
        if (existing := find_by_key(tenant, draft.key)) is not None:
            return existing
        _check(draft)
        view = resolve(
            Call(Capability(draft.channel), "send", config_id=draft.config_id, provider=draft.provider), tenant_id=tenant.pk
        )
        count = len(destinations) if expected is None else expected
        message = _new_message(tenant, draft, view, count)
        policy = spending.policy_of(tenant.pk, draft.channel)
        cost = spending.estimate(policy, segments=draft.segments, recipients=count)
        spending.reserve(tenant, policy, cost)
        message.unit_cost, message.currency = cost.each, cost.currency
        message.recipient_list = recipient_list
        try:
            with transaction.atomic():
                message.save(force_insert=True)
        except IntegrityError:
            # Somebody else was faster with the same key; any other violation is ours and stays an error.
            if (winner := find_by_key(tenant, draft.key)) is None:
                raise
            return winner
        _attach(message, draft)
        if recipient_list is None:
            add_recipients(message, destinations, view=view)
        else:
            enqueue_part(message, 0)
        return message


def add_recipients(message: Message, destinations: Sequence[Destination], *, view: ConfigView) -> list[Recipient]:
    """Write recipients down and queue what may be sent to them; those that the message has already are passed over."""
    now = clock.now()
    known = set(
        Recipient.unscoped.filter(message=message, address__in=[each.address for each in destinations]).values_list(
            "address", flat=True
        )
    )
    fresh: dict[str, Destination] = {}
    for each in destinations:
        if each.address not in known:
            fresh.setdefault(each.address, each)  # of several rows for one address the first counts
    recipients = Recipient.unscoped.bulk_create(
        [_new_recipient(message, each, now) for each in fresh.values()], batch_size=WRITTEN_AT_ONCE
    )
    MessageEvent.unscoped.bulk_create(
        [
            MessageEvent(tenant_id=message.tenant_id, recipient=each, at=now, state=MessageState.QUEUED, source="hub")
            for each in recipients
        ],
        batch_size=WRITTEN_AT_ONCE,
    )
    queue(message, _complete(message, screen(message, recipients)), view=view)
    return recipients


def queue(message: Message, recipients: Sequence[Recipient], *, view: ConfigView) -> None:
    """Queue the calls for these (new) recipients: each as early as `send_at` and quiet hours allow, and no faster than the
    sender may (so that a long broadcast does not wake workers for calls that would be held back)."""
    pace = _pace(message, view)
    at = max(clock.now(), message.send_at or clock.now())
    start = max(message.created, message.send_at or message.created)
    # Of a list the earlier parts have their turns already; those whose night has to end first keep their distance then.
    ahead = _written_before(message, recipients) if pace else 0
    items = []
    for due_at, group in _by_due(message, recipients, at):
        first = due_at if due_at > at else start
        for batch in batches(message, group, view):
            later = max(due_at, first + timedelta(seconds=ahead / pace)) if pace else due_at
            items.append(_item(message, batch, key=f"{message.pk}:{batch[0].pk}", due_at=later))
            ahead += len(batch)
    QueueItem.unscoped.bulk_create(items, batch_size=WRITTEN_AT_ONCE)
    if any(each.due_at <= clock.now() for each in items):
        nudge()


def _written_before(message: Message, recipients: Sequence[Recipient]) -> int:
    first = min((each.pk for each in recipients), default=0)
    return int(Recipient.unscoped.filter(message=message, pk__lt=first).count())


def _item(message: Message, recipients: Sequence[Recipient], *, key: str, due_at: datetime) -> QueueItem:
    kind = send_kind(message.channel)
    return QueueItem(
        tenant_id=message.tenant_id,
        kind=kind,
        payload=_payload(message, recipients),
        reference_type="message",
        reference_id=message.pk,
        key=key,
        due_at=due_at,
        config_id=message.config_id,
        priority=message.priority,
        max_attempts=jobs.get(kind).max_attempts,
    )


def _payload(message: Message, recipients: Sequence[Recipient]) -> dict[str, Any]:
    return {"message": message.pk, "recipients": [each.pk for each in recipients]}


def enqueue_send(message: Message, recipients: Sequence[Recipient], *, key: str, due_at: datetime | None) -> None:
    """Queue one call for these recipients, in the caller's transaction."""
    enqueue(
        tenant_id=message.tenant_id,
        kind=send_kind(message.channel),
        payload=_payload(message, recipients),
        reference=("message", message.pk),
        key=key,
        due_at=due_at,
        config_id=message.config_id,
        priority=message.priority,
    )


def enqueue_part(message: Message, number: int) -> None:
    """Queue the making of recipients of this part of the message's list, in the caller's transaction."""
    enqueue(
        tenant_id=message.tenant_id,
        kind=EXPAND_KIND,
        payload={"message": message.pk, "part": number},
        reference=("message", message.pk),
        key=f"{message.pk}:{number}",
        priority=min(message.priority, EXPAND_PRIORITY),
    )


def sender_rate(view: ConfigView, channel: str) -> float | None:
    """Return how many messages a second the account's sender may send; None where the provider sets no such limit."""
    adapter = build_adapter(view, Capability(channel), http=None, tokens=None, clock=clock.now)
    rate: float | None = getattr(adapter, "per_second", None)
    return rate


def _check(draft: Draft) -> None:
    if len(draft.category) > 30:
        raise InvalidRequest("The category has more than 30 characters.", attr="category")
    for name in ("send_at", "expires_at"):
        moment = getattr(draft, name)
        if moment is not None and moment.tzinfo is None:
            raise InvalidRequest("The time needs an offset from UTC.", attr=name)
        if moment is not None and moment > clock.now() + FURTHEST:
            raise InvalidRequest("This is more than two years ahead.", attr=name)
    if draft.expires_at is not None and draft.expires_at <= max(clock.now(), draft.send_at or clock.now()):
        raise InvalidRequest("It would be too late before it could be sent.", attr="expires_at")
    for name in ("body", "subject", "html", "sender"):
        if "\0" in getattr(draft, name):
            raise InvalidRequest("Null characters can't be sent.", attr=name)


def _new_message(tenant: Tenant, draft: Draft, view: ConfigView, expected: int) -> Message:
    return Message(
        tenant=tenant,
        channel=draft.channel,
        provider=view.provider,
        config_id=view.id,
        sender=draft.sender,
        subject=draft.subject,
        body=draft.body,
        html=draft.html,
        content=dict(draft.content),
        personal=draft.personal,
        data=dict(draft.data),
        segments=draft.segments,
        encoding=draft.encoding,
        reference_type=draft.reference[0],
        reference_id=draft.reference[1],
        category=draft.category,
        template_name=draft.template_name,
        language=draft.language,
        priority=category_of(tenant.pk, draft.category).priority,
        key=draft.key,
        send_at=draft.send_at,
        expires_at=draft.expires_at,
        override_reason=draft.override_reason[:200],
        created_by=draft.created_by[:150],
        expected=expected,
        continues_id=draft.continues_id,
        step=draft.step,
    )


def _new_recipient(message: Message, given: Destination, now: datetime) -> Recipient:
    return Recipient(
        tenant_id=message.tenant_id,
        message=message,
        address=given.address,
        name=given.name[:200],
        role=given.role,
        envelope=given.envelope,
        data=dict(given.data),
        alternatives=dict(given.alternatives),
        device_id=given.device_id,
        instead_of_id=given.instead_of,
        updated=now,
    )


def _attach(message: Message, draft: Draft) -> None:
    Attachment.unscoped.bulk_create(
        [
            Attachment(
                tenant_id=message.tenant_id,
                message=message,
                filename=media.filename,
                content_type=media.content_type,
                size=len(media.content),
                content=media.content,
                url=media.url,
                content_id=media.content_id,
            )
            for media in draft.attachments
        ]
    )


def _complete(message: Message, recipients: Iterable[Recipient]) -> list[Recipient]:
    """Fail those for whom a personal message has a hole; return the others."""
    if not message.personal:
        return list(recipients)
    whole = []
    for each in recipients:
        try:
            fill(message, each)
        except MissingVariables as error:
            detail = f"nothing to fill in for {', '.join(error.names)}"
            advance(each, MessageState.FAILED, at=clock.now(), source="hub", detail=detail, provider_status="missing_data")
        else:
            whole.append(each)
    return whole


def _by_due(message: Message, recipients: Sequence[Recipient], at: datetime) -> list[tuple[datetime, list[Recipient]]]:
    """Return the recipients by the first moment, from `at` on, that is in nobody's quiet hours."""
    policy = spending.policy_of(message.tenant_id, message.channel)
    if policy is None or policy.quiet_from is None or category_of(message.tenant_id, message.category).is_critical:
        return [(at, list(recipients))] if recipients else []
    groups: dict[datetime, list[Recipient]] = {}
    for each in recipients:
        moment = quiet.earliest(policy, quiet.zones_of(each, message.channel, message.tenant.zone), at)
        groups.setdefault(moment, []).append(each)
    return sorted(groups.items(), key=lambda pair: pair[0])


def _pace(message: Message, view: ConfigView) -> float | None:
    return sender_rate(view, message.channel) if message.channel in {Channel.SMS, Channel.WHATSAPP} else None
