"""Lets go of what messaging keeps for a time only: strangers fill tables, and people's data is not kept for its own sake."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Attachment, Message, Recipient, RecipientListPart, UnmatchedReport
from integrations.runtime.retention import delete_in_batches

logger = structlog.get_logger(__name__)

KEPT = timedelta(days=30)
BATCH = 100
"""Messages whose attachments are emptied in one transaction."""
OPEN = (MessageState.QUEUED, MessageState.UNKNOWN)


def purge() -> dict[str, int]:
    """Delete delivery reports that fitted nothing, and the rows of recipient lists, 30 days after they came (of a list, after
    the last message to it); empty the attachments of messages that ended 30 days ago. Return how many of each. Called daily by
    a schedule; several at once are harmless."""
    before = clock.now() - KEPT
    counts = {
        "unmatched_reports": delete_in_batches(UnmatchedReport.unscoped.filter(created__lt=before)),
        "list_parts": delete_in_batches(_parts(before)),
        "attachments": _empty_attachments(before),
    }
    logger.info("purged_messaging", **counts)
    return counts


def _parts(before: datetime) -> QuerySet[RecipientListPart]:
    messages = Message.unscoped.filter(recipient_list=OuterRef("recipient_list"))
    needed = messages.filter(Q(created__gte=before) | Q(prepared_at__isnull=True, cancelled_at__isnull=True))
    return RecipientListPart.unscoped.filter(~Exists(needed), recipient_list__created__lt=before)


def _empty_attachments(before: datetime) -> int:
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
