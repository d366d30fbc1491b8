"""Everything messaging keeps."""

from integrations.messaging.models.channels import Channel
from integrations.messaging.models.inbound import InboundMessage
from integrations.messaging.models.lists import RecipientList, RecipientListPart
from integrations.messaging.models.messages import Attachment, Message, MessageEvent, Recipient, UnmatchedReport
from integrations.messaging.models.push import Device
from integrations.messaging.models.rules import FallbackPolicy, FallbackStep, NotificationRule, RecurringMessage
from integrations.messaging.models.safety import (
    BalanceReading,
    MessageCategory,
    Preference,
    SendingPolicy,
    Suppression,
)
from integrations.messaging.models.templates import MessageTemplate

__all__ = [
    "Attachment",
    "BalanceReading",
    "Channel",
    "Device",
    "FallbackPolicy",
    "FallbackStep",
    "InboundMessage",
    "Message",
    "MessageCategory",
    "MessageEvent",
    "MessageTemplate",
    "NotificationRule",
    "Preference",
    "Recipient",
    "RecipientList",
    "RecipientListPart",
    "RecurringMessage",
    "SendingPolicy",
    "Suppression",
    "UnmatchedReport",
]
