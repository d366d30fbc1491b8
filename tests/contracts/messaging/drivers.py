"""What differs between the providers of messages when all are held to one contract: who is written to, and what their
simulators call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from integrations import registry
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.ids import new_id
from integrations.contracts.messaging import Target
from integrations.contracts.provider import Provider
from integrations.contracts.push import PushNotification
from integrations.contracts.sms import SmsMessage
from integrations.contracts.whatsapp import TemplateUse, WhatsAppMessage

_numbers = count(100_000)


def phone() -> str:
    """Return a number that nobody was written to at yet, whose last digits choose nothing."""
    return f"+2547{next(_numbers) - 100_000:05d}555"


def mailbox() -> str:
    return f"parent{next(_numbers)}@example.com"


def android() -> str:
    return f"token-{next(_numbers)}:" + "A" * 40


def iphone() -> str:
    return f"a1{next(_numbers):062x}"


@dataclass(frozen=True)
class Driver:
    """`bad` is refused at once, for himself (empty where the provider takes everybody and reports later); `operation` is what
    the simulator's log calls a send; `template_text` what its WhatsApp template says."""

    slug: str
    capability: Capability
    good: Callable[[], str]
    bad: str
    operation: str = "send"
    template: TemplateUse | None = None
    template_text: str = ""

    @property
    def provider(self) -> Provider:
        return registry.get_provider(self.slug)

    def __str__(self) -> str:
        return f"{self.slug}-{self.capability.value}"

    def targets(self, number: int = 1) -> list[Target]:
        return [Target(self.good(), ref=f"r{next(_numbers)}") for _ in range(number)]

    def message(self, targets: Sequence[Target], message_id: str = "") -> Any:
        """Return what the adapter's `send` takes, for these recipients (just one where the channel is called for each)."""
        message_id = message_id or new_id("msg")
        match self.capability:
            case Capability.SMS:
                return SmsMessage(message_id, tuple(targets), f"School is closed tomorrow. {message_id[-6:]}")
            case Capability.EMAIL:
                letters = tuple(
                    Envelope(to=(each,), message_id=f"{message_id}.{number}@example.com") for number, each in enumerate(targets)
                )
                return EmailMessage(
                    message_id, Mailbox(self.sender, "Springfield School"), letters, subject="Fees", text="Fees are due."
                )
            case Capability.PUSH:
                return PushNotification(message_id, target=targets[0], title="Fees", body="Fees are due.")
            case _:
                return WhatsAppMessage(message_id, targets[0], template=self.template)

    @property
    def sender(self) -> str:
        return "office@springfield.example"


class SmtpDriver(Driver):
    """Its account may send from its own domain only."""

    @property
    def sender(self) -> str:
        return "office@school.example"


DRIVERS = [
    Driver("africastalking", Capability.SMS, phone, "+254711000403", "sms_send"),
    Driver("twilio", Capability.SMS, phone, "+15005550001"),
    Driver(
        "twilio",
        Capability.WHATSAPP,
        phone,
        "+15005550001",
        template=TemplateUse(id=f"HX{2:032x}"),
        template_text="Your pictures are ready.",
    ),
    Driver("whatsapp", Capability.WHATSAPP, phone, "", template=TemplateUse(name="hello_world", language="en_US")),
    Driver("sendgrid", Capability.EMAIL, mailbox, ""),
    Driver("mailgun", Capability.EMAIL, mailbox, ""),
    SmtpDriver("smtp", Capability.EMAIL, mailbox, "bad@example.com"),
    Driver("fcm", Capability.PUSH, android, "unreg-" + "A" * 40),
    Driver("apns", Capability.PUSH, iphone, "dead" + "0" * 60),
]
BATCHING = [each for each in DRIVERS if each.capability in {Capability.SMS, Capability.EMAIL}]
REFUSING = [each for each in DRIVERS if each.bad]
