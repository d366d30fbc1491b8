"""The e-mail capability: DTOs and the abstract adapter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from integrations.contracts.adapter import Adapter
from integrations.contracts.errors import UnsupportedOperation
from integrations.contracts.messaging import Balance, Media, RecipientResult, SendQuery, SendResult, SuppressReason, Target


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with a display name. Neither holds a line break: the core has refused those."""

    address: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One e-mail as its recipients see it: all of `to` and `cc` stand in its header, `bcc` does not.

    `message_id` is its Message-ID without angle brackets, ours and the same for every try. `subject`, `data` and `headers` add
    to, or replace, those of the whole message; `text` and `html` likewise where they are not empty.
    """

    to: tuple[Target, ...]
    cc: tuple[Target, ...] = ()
    bcc: tuple[Target, ...] = ()
    message_id: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipients(self) -> tuple[Target, ...]:
        """All of them, in the order in which results are given."""
        return (*self.to, *self.cc, *self.bcc)


@dataclass(frozen=True, slots=True)
class EmailMessage:
    """What is sent, in at most `batch_size` envelopes.

    `text` is never empty, except where `template_id` names a template at the provider (then `data` of message and envelope
    fill it in). `headers` are ours to set (`List-Unsubscribe`, `Auto-Submitted`, ...). `attachments` together are at most
    the adapter's `attachment_limit` bytes before encoding.
    """

    message_id: str
    sender: Mailbox
    envelopes: tuple[Envelope, ...]
    subject: str = ""
    text: str = ""
    html: str = ""
    reply_to: tuple[Mailbox, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Media, ...] = ()
    template_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    category: str = ""
    track: bool = False
    """Have the provider note openings and clicks; off unless the tenant wants it."""

    @property
    def recipients(self) -> tuple[Target, ...]:
        """All recipients of all envelopes, in the order in which results are given."""
        return tuple(target for envelope in self.envelopes for target in envelope.recipients)


@dataclass(frozen=True, slots=True)
class ListedAddress:
    """An address that the provider itself does not write to any more."""

    address: str
    reason: SuppressReason
    since: datetime | None = None
    detail: str = ""


class EmailAdapter(Adapter):
    """Sends e-mail. `batch_size` is the most envelopes of one call, `recipient_limit` the most recipients of all of them.

    How a send ends: as for `SmsAdapter`. Accepted by the provider is SENT, never DELIVERED.
    """

    batch_size: int = 1
    recipient_limit: int = 50
    attachment_limit: int = 10 * 1024 * 1024
    has_templates: bool = False
    """Whether `template_id` means something to this provider."""

    @abstractmethod
    def send(self, message: EmailMessage) -> SendResult:
        """Send once; one result for each of `message.recipients`, in that order."""

    def find(self, query: SendQuery) -> RecipientResult | None:
        """As `SmsAdapter.find`."""
        raise UnsupportedOperation("This provider can't be asked about an e-mail.", provider=self.config.provider)

    def suppressed(self, cursor: str = "") -> tuple[tuple[ListedAddress, ...], str]:
        """Return one page of the provider's own suppression list, and the cursor of the next (empty: that was all)."""
        raise UnsupportedOperation("This provider keeps no list of refused addresses.", provider=self.config.provider)

    def unsuppress(self, address: str) -> None:
        """Have the provider write to the address again; fine where it is on no list."""
        raise UnsupportedOperation("This provider keeps no list of refused addresses.", provider=self.config.provider)

    def balance(self) -> Balance:
        raise UnsupportedOperation("This provider has no balance to ask for.", provider=self.config.provider)
