"""The WhatsApp capability: free text and media inside a customer's window, approved templates outside of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import timedelta

from integrations.contracts.adapter import Adapter
from integrations.contracts.errors import UnsupportedOperation
from integrations.contracts.messaging import Balance, Media, RecipientResult, SendQuery, Target

WINDOW = timedelta(hours=24)
"""How long after a customer's own message free text may be sent to him."""


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """An approved template and what fills it in. `id` is the provider's where it has one, else `name` and `language` say it.

    `body` fills `{{1}}`, `{{2}}`, ... in order, `header` those of the header; `buttons` maps a button's index to its value.
    """

    name: str = ""
    language: str = ""
    id: str = ""
    body: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    header_media: Media | None = None
    buttons: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WhatsAppMessage:
    """One message to one person: just one of `text`, `template` and `media` (then `text` is its caption).

    `callback_url` as in `SmsMessage`. `reply_to` is the provider's id of the message that is answered.
    """

    message_id: str
    target: Target
    text: str = ""
    template: TemplateUse | None = None
    media: Media | None = None
    sender: str = ""
    reply_to: str = ""
    callback_url: str = ""


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """A template as the provider has it. `status` is `approved`, `pending`, `rejected`, `paused` or `disabled`; `parameters`
    how many the body takes, `header` the kind of its header (empty, `text`, `image`, `video`, `document`)."""

    name: str
    language: str
    status: str
    category: str = ""
    id: str = ""
    body: str = ""
    parameters: int = 0
    header: str = ""
    buttons: int = 0


class WhatsAppAdapter(Adapter):
    """Sends WhatsApp messages, one a call. How a send ends: as for `SmsAdapter`."""

    @abstractmethod
    def send(self, message: WhatsAppMessage) -> RecipientResult:
        """Send once. Outside of the window a free text is a FAILED result with provider_code and a detail that says so."""

    def find(self, query: SendQuery) -> RecipientResult | None:
        """As `SmsAdapter.find`."""
        raise UnsupportedOperation("This provider can't be asked about a message.", provider=self.config.provider)

    def templates(self) -> tuple[TemplateInfo, ...]:
        """Return all templates of the account, whatever their status."""
        raise UnsupportedOperation("This provider's templates can't be listed.", provider=self.config.provider)

    def fetch_media(self, media_id: str) -> Media:
        """Return a file that a customer sent."""
        raise UnsupportedOperation("This provider's media can't be fetched.", provider=self.config.provider)

    def mark_read(self, provider_ref: str) -> None:
        """Show the customer that his message was read."""
        raise UnsupportedOperation("This provider takes no read receipts.", provider=self.config.provider)

    def balance(self) -> Balance:
        raise UnsupportedOperation("This provider has no balance to ask for.", provider=self.config.provider)
