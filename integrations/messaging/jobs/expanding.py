"""The queue's job that makes recipients of a list's rows, one part of the list a run."""

from __future__ import annotations

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import NotConfigured
from integrations.messaging.lists.rows import destinations_of
from integrations.messaging.models import Message, Recipient, RecipientListPart
from integrations.messaging.sending import EXPAND_KIND, add_recipients, enqueue_part
from integrations.models import QueueItem
from integrations.runtime.jobs import Call, LocalJob, RetryLater
from integrations.runtime.resolve import resolve

ACCOUNT_PAUSE = 900.0
"""Seconds after which a list is looked at again whose account has been switched off meanwhile."""


class ExpandJob(LocalJob):
    """Writes down the recipients of one part and queues the next part; a run that dies leaves nothing of either. Goes on
    while the message is paused: what is paused is the sending."""

    kind = EXPAND_KIND
    max_attempts = 50

    def run(self, item: QueueItem) -> None:
        message: Message = (
            Message.unscoped.select_for_update(of=("self",), no_key=True)
            .select_related("tenant", "recipient_list")
            .get(pk=item.payload["message"], tenant_id=item.tenant_id)
        )
        if message.prepared_at is not None:
            return
        part = self._part(message, item.payload["part"])
        if part is None or message.recipient_list is None or message.cancelled_at is not None:
            end_preparation(message)
            return
        call = Call(Capability(message.channel), "send", config_id=message.config_id, provider=message.provider)
        try:
            view = resolve(call, tenant_id=item.tenant_id)
        except NotConfigured as error:
            raise RetryLater(ACCOUNT_PAUSE, error.message) from error
        add_recipients(message, destinations_of(message, message.recipient_list, part), view=view)
        following = part.number + 1
        if self._part(message, following) is None:
            end_preparation(message)
            return
        enqueue_part(message, following)

    def _part(self, message: Message, number: int) -> RecipientListPart | None:
        parts = RecipientListPart.unscoped.filter(tenant_id=message.tenant_id, recipient_list_id=message.recipient_list_id)
        found: RecipientListPart | None = parts.filter(number=number).first()
        return found


def is_preparing(message: Message) -> bool:
    """Tell whether rows of the message's list still have to become recipients."""
    return message.recipient_list_id is not None and message.prepared_at is None


def end_preparation(message: Message) -> None:
    """Write down that no more rows of the (locked) message's list become recipients."""
    message.prepared_at = clock.now()
    message.expected = Recipient.unscoped.filter(message=message).count()
    message.save(update_fields=["prepared_at", "expected"])
