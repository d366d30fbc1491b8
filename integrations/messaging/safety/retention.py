"""Lets go of what messaging keeps for a time only: strangers fill tables, and people's data is not kept for its own sake."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import (
    Attachment,
    InboundMessage,
    Message,
    Recipient,
    RecipientListPart,
    UnmatchedReport,
)
from integrations.models import ExternalReference
from integrations.runtime.keeping import FOR_GOOD, Kept, days_ago
from integrations.runtime.retention import Chore, Span, batches, delete_in_batches, for_each_tenant, run

KEPT = timedelta(days=30)
BATCH = 100
"""Messages whose attachments are emptied in one transaction."""
OPEN = (MessageState.QUEUED, MessageState.UNKNOWN)


def purge() -> dict[str, int]:
    """Delete delivery reports that fitted nothing, and the rows of recipient lists, 30 days after they came (of a list, after
    the last message to it); empty the attachments of messages that ended 30 days ago; delete messages, sent and received, that
    are older than their tenant keeps them. Return how many of each (of messages with all that belongs to them). Called hourly
    by a schedule, and again while something is left (`runtime.retention.run`); several at once are harmless."""
    before = clock.now() - KEPT
    chores: dict[str, Chore] = {
        "unmatched_reports": lambda span: delete_in_batches(UnmatchedReport.unscoped.filter(created__lt=before), span=span),
        "list_parts": lambda span: delete_in_batches(_parts(before), span=span),
        "attachments": lambda span: _empty_attachments(before, span),
        "messages": lambda whole: for_each_tenant(_delete_messages, whole),
        "inbound_messages": lambda whole: for_each_tenant(_delete_inbound, whole),
    }
    return run("purged_messaging", chores, schedule="integrations.messaging.safety.retention.purge")


def old_messages(tenant_id: int, before: datetime) -> QuerySet[Message]:
    """Return the tenant's messages made before that may go: all their recipients have ended by then, and nothing is to come of
    a list."""
    going_on = Recipient.unscoped.filter(message=OuterRef("pk")).filter(Q(state__in=OPEN) | Q(updated__gte=before))
    to_come = Q(recipient_list__isnull=False, prepared_at__isnull=True, cancelled_at__isnull=True)
    waits = Q(send_at__gte=before)
    old: QuerySet[Message] = Message.unscoped.filter(~Exists(going_on), tenant_id=tenant_id, created__lt=before)
    return old.exclude(to_come).exclude(waits)


def _delete_inbound(tenant_id: int, kept: Kept, span: Span) -> int:
    if kept.message_days == FOR_GOOD:
        return 0
    old = InboundMessage.unscoped.filter(tenant_id=tenant_id, received_at__lt=days_ago(kept.message_days))
    return delete_in_batches(old, by="received_at", span=span)


def _delete_messages(tenant_id: int, kept: Kept, span: Span) -> int:
    if kept.message_days == FOR_GOOD:
        return 0
    total, before, first = 0, days_ago(kept.message_days), True
    for keys in batches(old_messages(tenant_id, before), by="created", size=BATCH, span=span):
        for key in keys:
            if span.is_over() and not first:
                span.leave_off()
                return total
            total += _delete_message(tenant_id, key, before, span)
            first = False
    return total


def _delete_message(tenant_id: int, key: str, before: datetime, span: Span) -> int:
    """Recipients first, then the provider's ids of them, and not all at once: one message may have a hundred thousand. It stays
    until the last of them is gone."""
    ended = Recipient.unscoped.filter(message_id=key).exclude(Q(state__in=OPEN) | Q(updated__gte=before))
    total = delete_in_batches(ended, span=span)
    if Recipient.unscoped.filter(message_id=key).exists():
        return total
    ids = ExternalReference.unscoped.filter(tenant_id=tenant_id, object_type="message", object_id=key, kind="message")
    total += delete_in_batches(ids, span=span)
    with transaction.atomic():
        # Locked, nobody is added to it; who was sent to again meanwhile keeps it.
        Message.unscoped.select_for_update().filter(pk=key).first()
        if not Recipient.unscoped.filter(message_id=key).exists() and not ids.exists():
            total += Message.unscoped.filter(pk=key).delete()[0]
    return total


def _parts(before: datetime) -> QuerySet[RecipientListPart]:
    messages = Message.unscoped.filter(recipient_list=OuterRef("recipient_list"))
    needed = messages.filter(Q(created__gte=before) | Q(prepared_at__isnull=True, cancelled_at__isnull=True))
    return RecipientListPart.unscoped.filter(~Exists(needed), recipient_list__created__lt=before)


def _empty_attachments(before: datetime, span: Span) -> int:
    """Who failed in our queue can't be sent to again after that: it would go out without its attachments."""
    going_on = Recipient.unscoped.filter(message=OuterRef("message")).filter(Q(state__in=OPEN) | Q(updated__gte=before))
    full = Attachment.unscoped.filter(~Exists(going_on), message__created__lt=before).exclude(content=b"")
    # Of a list some recipients may not be there yet.
    full = full.exclude(
        message__recipient_list__isnull=False, message__prepared_at__isnull=True, message__cancelled_at__isnull=True
    )
    total = 0
    while True:
        with transaction.atomic():
            ended = list(full.order_by("message_id").values_list("message_id", flat=True).distinct()[:BATCH])
            if not ended:
                return total
            list(Recipient.unscoped.select_for_update().filter(message_id__in=ended).order_by("id").values_list("pk"))
            still = list(full.filter(message_id__in=ended).values_list("pk", "message_id"))
            total += Attachment.unscoped.filter(pk__in=[pk for pk, _ in still]).update(content=b"")
            Recipient.unscoped.filter(message_id__in={each for _, each in still}, given_up=True).update(given_up=False)
        if span.is_over():
            span.leave_off()
            return total
