"""What people may do to a message on its way: hold it, let it go on, end it, send it again to those whom it did not reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Lower

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import Conflict, NotConfigured
from integrations.contracts.messaging import Media, MessageState
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.fallback.fallback import GO_ON_KIND
from integrations.messaging.jobs.expanding import end_preparation, is_preparing
from integrations.messaging.lists.rows import COLUMNS_KEY
from integrations.messaging.models import Attachment, Channel, Message, Recipient, Suppression
from integrations.messaging.selectors import overall_status
from integrations.messaging.sending import EXPAND_KIND, PAUSED, accept, find_by_key, send_kind, sender_rate
from integrations.messaging.standing import family_of
from integrations.models import QueueItem, QueueState
from integrations.runtime.jobs import Call
from integrations.runtime.queue import nudge
from integrations.runtime.resolve import resolve

logger = structlog.get_logger(__name__)

FORBIDDEN = ("suppressed", "unsubscribed", "missing_data")
"""What the hub itself says of recipients whom it must not, or can't, send to: asking again would change nothing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a message is. `done` of `total` recipients wait for nothing of ours any more; `percent` is that, rounded down.
    `finished`: all of them (reports may still come). `cost` is what was charged so far, in major units; None: nobody said."""

    total: int
    counts: dict[str, int]
    done: int
    percent: int
    finished: bool
    status: str
    cost: Decimal | None
    currency: str


def progress(message: Message) -> Progress:
    """Return how far the message is, read at one moment."""
    rows = Recipient.unscoped.filter(tenant_id=message.tenant_id, message_id=message.pk).values_list("state", "currency")
    counts: dict[str, int] = {}
    costs: dict[str, Decimal] = {}
    for state, currency, count, cost in rows.annotate(count=Count("id"), total=Sum("cost")).order_by():
        counts[state] = counts.get(state, 0) + count
        if cost is not None:
            costs[currency] = costs.get(currency, Decimal(0)) + cost
    known = sum(counts.values())
    prepared = message.recipient_list_id is None or message.prepared_at is not None
    total = known if prepared else max(message.expected, known)
    done = known - counts.get(MessageState.QUEUED, 0)
    # An account bills in one currency; should it have been changed on the way, the larger part is shown.
    currency = max(costs, key=lambda each: costs[each], default="")
    return Progress(
        total=total,
        counts=counts,
        done=done,
        percent=100 * done // total if total else 100 * prepared,
        finished=prepared and done == known,
        status=overall_status(message, counts),
        cost=costs.get(currency),
        currency=currency,
    )


def pause(message: Message, *, by: str) -> None:
    """Hold what has not been sent yet. Calls that are being made go on. Raises `Conflict` where nothing is left to hold."""
    with transaction.atomic():
        locked = _locked(message)
        if locked.cancelled_at is not None:
            raise Conflict("The message is cancelled.")
        if locked.paused_at is not None:
            raise Conflict("The message is paused already.")
        _must_wait(family_of(locked))
        _write(message, locked, "paused_at")
    logger.info("message_paused", message=message.pk, by=by)


def resume(message: Message, *, by: str) -> None:
    """Let a paused message go on, as early and as fast as it may. Raises `Conflict` where it is not paused."""
    with transaction.atomic():
        locked = _locked(message)
        if locked.cancelled_at is not None:
            raise Conflict("The message is cancelled.")
        if locked.paused_at is None:
            raise Conflict("The message is not paused.")
        _write(message, locked, "paused_at", clear=True)
        for each in family_of(locked):
            _wake(each)
    logger.info("message_resumed", message=message.pk, by=by)


def cancel(message: Message, *, by: str) -> None:
    """End what has not been sent yet, also what is scheduled or waits for the morning: the queue marks those recipients as
    cancelled within moments. Raises `Conflict` where the message is cancelled already, or all of it has gone out."""
    with transaction.atomic():
        locked = _locked(message)
        if locked.cancelled_at is not None:
            raise Conflict("The message is cancelled already.")
        family = family_of(locked)
        _must_wait(family)
        _write(message, locked, "cancelled_at")
        items = _items(family)
        if is_preparing(locked) and not items.filter(kind=EXPAND_KIND).exists():
            end_preparation(locked)  # whoever was to do that has died or was cancelled himself
        items.filter(due_at__gt=clock.now()).update(due_at=clock.now())
        nudge()
    logger.info("message_cancelled", message=message.pk, by=by)


def resend_to_failed(message: Message, *, by: str, key: str = "") -> Message:
    """Send the same words again, as a new message, to those whom this one certainly did not reach and who may still be written
    to; at most once to each, whoever clicks how often. Never to those of whom nobody knows. Returns the new message.

    Raises `Conflict` where there is nobody such; `NotConfigured` and `spending.SpendCapReached` as any sending.
    """
    with transaction.atomic():
        if (existing := find_by_key(message.tenant, key)) is not None:
            return existing
        locked = _locked(message)
        if is_preparing(locked):
            raise Conflict("The message is still being prepared.")
        if Attachment.unscoped.filter(message=locked, size__gt=0, content=b"", url="").exists():
            raise Conflict("Its files are not kept any more: write it anew.")
        rows = list(_unreached(locked).select_for_update(of=("self",)).order_by("id"))
        if not rows:
            raise Conflict("There is nobody to send it to again.")
        # Whoever retries the old queue item now must not send to them as well.
        Recipient.unscoped.filter(pk__in=[each.pk for each in rows], given_up=True).update(given_up=False)
        try:
            with transaction.atomic():
                made = accept(tenant=locked.tenant, draft=_again(locked, by=by, key=key), destinations=_destinations(rows))
        except IntegrityError as error:  # the fallback has taken on one of them at this moment
            raise Conflict("The message is going another way just now. Look again in a moment.") from error
    logger.info("message_resent", message=message.pk, new=made.pk, recipients=len(rows), by=by)
    return made


def _locked(message: Message) -> Message:
    rows = Message.unscoped.select_for_update(of=("self",), no_key=True).select_related("tenant")
    found: Message = rows.get(pk=message.pk, tenant_id=message.tenant_id)
    return found


def _write(message: Message, locked: Message, name: str, *, clear: bool = False) -> None:
    moment = None if clear else clock.now()
    setattr(locked, name, moment)
    setattr(message, name, moment)
    locked.save(update_fields=[name])


def _must_wait(family: Sequence[Message]) -> None:
    """Raise `Conflict` where neither the message nor what goes another way in its place has anything left to send."""
    waiting = Recipient.unscoped.filter(message__in=family, state=MessageState.QUEUED)
    if not is_preparing(family[0]) and not waiting.exists() and not _items(family).exists():
        raise Conflict("All of the message has gone out already.")


def _items(family: Sequence[Message]) -> QuerySet[QueueItem]:
    items: QuerySet[QueueItem] = QueueItem.unscoped.filter(
        tenant_id=family[0].tenant_id,
        kind__in=[*(send_kind(each.channel) for each in family), EXPAND_KIND, GO_ON_KIND],
        reference_type="message",
        reference_id__in=[each.pk for each in family],
        state=QueueState.PENDING,
    )
    return items


def _wake(message: Message) -> None:
    """Make the items due that were put off by the pause, also those that look for another way. Where a sender has a pace, they
    and those that have not had their turn yet get turns one after the other. Others keep their time: they wait for a provider
    that asked for patience."""
    start = max(clock.now(), message.send_at or clock.now())
    _items([message]).filter(kind=GO_ON_KIND, due_at__gt=start).update(due_at=start)
    pace = _pace(message)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH woken AS (SELECT id, CASE WHEN last_error = %(paused)s THEN %(start)s ELSE due_at END AS earliest,"
            " sum(jsonb_array_length(payload->'recipients')) OVER (ORDER BY id) - jsonb_array_length(payload->'recipients')"
            " AS ahead FROM integrations_queueitem WHERE tenant_id = %(tenant)s AND kind = %(kind)s"
            " AND reference_type = 'message' AND reference_id = %(message)s AND state = 'pending'"
            " AND last_error IN ('', %(paused)s))"
            " UPDATE integrations_queueitem AS item"
            " SET due_at = greatest(woken.earliest, %(start)s + woken.ahead * %(gap)s * interval '1 second')"
            " FROM woken WHERE item.id = woken.id AND item.state = 'pending'",
            {
                "paused": PAUSED,
                "start": start,
                "tenant": message.tenant_id,
                "kind": send_kind(message.channel),
                "message": message.pk,
                "gap": 1 / pace if pace else 0.0,
            },
        )
    nudge()


def _pace(message: Message) -> float | None:
    if message.channel not in {Channel.SMS, Channel.WHATSAPP}:
        return None
    try:
        return sender_rate(_view(message), message.channel)
    except NotConfigured:  # switched off: its items wait for that as well, and tell so themselves
        return None


def _view(message: Message) -> ConfigView:
    call = Call(Capability(message.channel), "send", config_id=message.config_id, provider=message.provider)
    return resolve(call, tenant_id=message.tenant_id)


def _unreached(message: Message) -> QuerySet[Recipient]:
    """Return the recipients whom the message certainly did not reach, whom nobody has taken on, and who may be written to."""
    listed = Suppression.unscoped.filter(tenant_id=message.tenant_id, channel=message.channel, released_at__isnull=True)
    ended = Q(state=MessageState.FAILED) | Q(state=MessageState.EXPIRED)
    rows: QuerySet[Recipient] = (
        Recipient.unscoped.filter(ended, tenant_id=message.tenant_id, message=message, continued_by__isnull=True)
        .exclude(provider_status__in=FORBIDDEN)
        .alias(folded=Lower("address"))
        .exclude(folded__in=listed.annotate(low=Lower("address")).values("low"))
    )
    return rows


def _destinations(rows: Iterable[Recipient]) -> list[Destination]:
    rows = list(rows)
    # A letter whose To was reached goes to those of its Cc that were not, as their own letter's To.
    headed = {each.envelope for each in rows if each.role == "to"}
    return [
        Destination(
            each.address,
            each.name,
            each.data,
            each.alternatives,
            # A hidden one stays hidden: those of a letter without To and Cc get a copy each.
            role="to" if each.role == "cc" and each.envelope not in headed else each.role,
            envelope=each.envelope,
            device_id=each.device_id,
            instead_of=each.pk,
        )
        for each in rows
    ]


def _again(message: Message, *, by: str, key: str) -> Draft:
    return Draft(
        channel=message.channel,
        body=message.body,
        subject=message.subject,
        html=message.html,
        sender=message.sender,
        content={name: value for name, value in message.content.items() if name != COLUMNS_KEY},
        personal=message.personal,
        data=message.data,
        template_name=message.template_name,
        language=message.language,
        segments=message.segments,
        encoding=message.encoding,
        provider=message.provider,
        config_id=message.config_id,
        reference=(message.reference_type, message.reference_id),
        category=message.category,
        key=key,
        created_by=by,
        override_reason=message.override_reason,
        attachments=tuple(
            Media(each.filename, each.content_type, content=bytes(each.content), url=each.url, content_id=each.content_id)
            for each in Attachment.unscoped.filter(message=message).order_by("id")
        ),
        continues_id=message.pk,
    )
