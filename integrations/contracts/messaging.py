"""What all message channels share: the status ladder, who is written to, and what a provider says of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class MessageState(StrEnum):
    """Status ladder of one recipient. `unknown`: sent, no answer, and nobody can say yet.

    SENT: the provider has taken it. DELIVERED: the recipient's side has. READ: shown to a person there. FAILED: it will not
    arrive. BOUNCED: the receiving mail server sent it back, perhaps after it had said "delivered". COMPLAINED: the recipient
    called it spam. CANCELLED and EXPIRED never left the hub (or were called back at the provider in time).
    """

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Engagement(StrEnum):
    """What happened around a message and moves no state. Openings by machines are not reported at all."""

    DEFERRED = "deferred"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"


class SuppressReason(StrEnum):
    """Why an address must not be written to again. DEAD_TOKEN: the app is gone from the device."""

    INVALID = "invalid"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    OPT_OUT = "opt_out"
    DEAD_TOKEN = "dead_token"  # noqa: S105 a reason, not a password
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Target:
    """One recipient. `address`: phone in E.164 with `+`, e-mail address, or device token. `ref` is ours (at most 64 of
    `[0-9a-z_]`) and different for each recipient and try: providers that echo such a note get it, and reports are found by it.
    """

    address: str
    ref: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """The provider's word on one recipient.

    `retryable`: nothing was sent, and the same may be tried again (after `retry_after` seconds, where it says so). `suppress`:
    never write to this address again, and why. `gone_since`: the moment from which a device token is dead; a registration that
    is younger stays. `cost` in major units of `currency`.
    """

    address: str
    state: MessageState
    provider_ref: str = ""
    provider_code: str = ""
    detail: str = ""
    retryable: bool = False
    retry_after: float | None = None
    suppress: SuppressReason | None = None
    gone_since: datetime | None = None
    cost: Decimal | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class SendResult:
    """One entry for each recipient asked for, in the order asked. `provider_ref` is the id of the whole call, where there is
    one beside those of the recipients."""

    recipients: tuple[RecipientResult, ...]
    provider_ref: str = ""


@dataclass(frozen=True, slots=True)
class SendQuery:
    """Ask what became of one recipient of a send whose answer was lost (`provider_ref` empty) or that nothing was heard of.

    `sent_at` is when the call was made; `text` what was to be said, for providers that can only be searched by that.
    """

    message_id: str
    target: Target
    provider_ref: str = ""
    sent_at: datetime | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left in the account, in major units of `currency` (providers bill in fractions of a cent). For accounts that
    count messages instead of money `currency` is empty and `unit` says what is counted."""

    amount: Decimal
    currency: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Media:
    """A file that goes along. Either `content`, or a public `url` that the provider fetches itself."""

    filename: str
    content_type: str
    content: bytes = field(default=b"", repr=False)
    url: str = ""
    content_id: str = ""
    """For pictures inside of an HTML text: without angle brackets."""
