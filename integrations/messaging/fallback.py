"""Another way for a message whose first way failed: the next provider, then the next channel, as the tenant's policy says.

Never after an outcome that is unknown: whoever may have got the message does not get it twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from integrations.contracts.errors import ProviderError
from integrations.events import MessageMoved
from integrations.messaging.models import Message, Recipient
from integrations.models import QueueItem


def watch(message: Message, recipients: Sequence[Recipient]) -> None:
    """Queue a look at these recipients, just sent to, for the time when the policy misses their receipts."""


def has_step(message: Message, recipient: Recipient) -> bool:
    """Tell whether the policy knows another way for this recipient."""
    return False


def leaves(message: Message, item: QueueItem, error: ProviderError) -> bool:
    """Tell whether a call that certainly had no effect is to be given up now, since there is another way."""
    return False


def moved(event: MessageMoved) -> None:
    """Take the next way for a recipient who has just failed for good, where the policy knows one."""
