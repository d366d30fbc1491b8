"""The SMS capability: DTOs and the abstract adapter."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from integrations.contracts.adapter import Adapter
from integrations.contracts.errors import UnsupportedOperation


class MessageState(StrEnum):
    """Status ladder of one recipient. `delivered` and `failed` are final and sticky; `unknown`: sent, no answer."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One text to `recipients`: E.164 with `+`, no duplicates, at most the adapter's `batch_size` of them."""

    message_id: str
    recipients: tuple[str, ...]
    text: str
    sender: str = ""


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """The provider's word on one recipient. `suppress`: never send to this number again (opted out, does not exist)."""

    number: str
    state: MessageState
    provider_ref: str = ""
    provider_code: str = ""
    detail: str = ""
    retryable: bool = False
    suppress: bool = False
    cost: Decimal | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class SmsResult:
    """One entry for each recipient asked for, in the order asked."""

    recipients: tuple[RecipientResult, ...]


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left in the account, in major units of `currency` (providers bill in fractions of a cent)."""

    amount: Decimal
    currency: str


class SmsAdapter(Adapter):
    """Sends text messages. `batch_size` is the most recipients of one call."""

    batch_size: int = 100
    deduplicates: bool = False

    @abstractmethod
    def send(self, message: SmsMessage) -> SmsResult:
        """Send once. A refusal of the whole request is a `ProviderError`; of one recipient, its own result."""

    def balance(self) -> Balance:
        raise UnsupportedOperation("This provider has no balance to ask for.", provider=self.config.provider)
