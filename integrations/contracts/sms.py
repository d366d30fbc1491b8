"""The SMS capability: DTOs and the abstract adapter."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime

from integrations.contracts.adapter import Adapter
from integrations.contracts.errors import UnsupportedOperation
from integrations.contracts.messaging import Balance, RecipientResult, SendQuery, SendResult, Target


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One text to `recipients`: no address twice, at most the adapter's `batch_size` of them.

    `callback_url` is this config's own unguessable path without the purpose, for providers that are told with each message
    where to report (empty where the installation's account serves). `expires_at`: not to be delivered later than that.
    """

    message_id: str
    recipients: tuple[Target, ...]
    text: str
    sender: str = ""
    callback_url: str = ""
    expires_at: datetime | None = None


class SmsAdapter(Adapter):
    """Sends text messages. `batch_size` is the most recipients of one call; `per_second` how many texts a sender may send.

    A call that may have sent and whose answer was lost raises `OutcomeUnknown`; where only some recipients' fate is unknown,
    their results are.
    """

    batch_size: int = 100
    per_second: float | None = None

    @abstractmethod
    def send(self, message: SmsMessage) -> SendResult:
        """Send once. A refusal of the whole request is a `ProviderError`; of one recipient, its own result."""

    def find(self, query: SendQuery) -> RecipientResult | None:
        """Ask the provider what became of a text, changing nothing; None where it has no such text (conclusive only some
        minutes after the call). Raises `UnsupportedOperation` where it can't be asked or searched."""
        raise UnsupportedOperation("This provider can't be asked about a text.", provider=self.config.provider)

    def cancel(self, provider_ref: str) -> bool:
        """Call back a text that the provider has not sent yet; False where it is too late."""
        raise UnsupportedOperation("This provider can't call a text back.", provider=self.config.provider)

    def balance(self) -> Balance:
        raise UnsupportedOperation("This provider has no balance to ask for.", provider=self.config.provider)
