"""What the tests of the fallback share. No provider is called in them; see `tests/flows/test_fallback.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from integrations.contracts import clock as hub_clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.drafts import Destination
from integrations.messaging.fallback import fallback
from integrations.messaging.models import (
    Message,
    MessageEvent,
    Recipient,
)
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import advance
from integrations.models import QueueState, Tenant
from integrations.runtime.worker import claim, run

NUMBER, SECOND, THIRD = "+254711000123", "+254711000124", "+254711000125"
PARENT = "jane@example.org"
FAILED, SENT, DELIVERED = MessageState.FAILED, MessageState.SENT, MessageState.DELIVERED


def send(school: Tenant, *to: str | Destination, **more: Any) -> Message:
    return send_sms(tenant=school, **{"to": to or [NUMBER], "message": "School is closed.", **more})


def to(number: str = NUMBER, **alternatives: str) -> Destination:
    return Destination(number, alternatives=alternatives)


def move(message: Message, state: MessageState = FAILED, status: str = "900", **fields: Any) -> None:
    """Let something happen to all of a message's recipients, or to those that `fields` name."""
    for each in Recipient.unscoped.select_related("message").filter(message=message, **fields):
        advance(each, state, at=hub_clock.now(), source="provider", detail="as told", provider_status=status)


def go_on(wait: float = 5) -> None:
    """Run what is due `wait` seconds from now, follow-ups included; nothing that calls a provider."""
    kinds = [fallback.GO_ON_KIND, fallback.RECEIPTS_KIND]
    with hub_clock.stopped_at(hub_clock.now() + timedelta(seconds=wait)):
        while items := claim(20, kinds=kinds):
            assert [run(item).state for item in items] == [QueueState.COMPLETED] * len(items)


def after(message: Message) -> list[Message]:
    """Return the messages that went on in place of this one."""
    return list(Message.objects.filter(continues=message).order_by("created", "id"))


def story(recipient: Recipient) -> list[str]:
    return list(MessageEvent.objects.filter(recipient=recipient, state="").values_list("detail", flat=True))
