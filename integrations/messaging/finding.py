"""Asking the provider what became of a text whose answer was lost, where it can be asked: never sent again, but found."""

from __future__ import annotations

from datetime import datetime, timedelta

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter
from integrations.contracts.errors import NotConfigured, OutcomeUnknown, ProviderError, UnsupportedOperation
from integrations.contracts.messaging import MessageState, RecipientResult, SendQuery, Target
from integrations.contracts.sms import SmsAdapter
from integrations.contracts.whatsapp import WhatsAppAdapter
from integrations.messaging import reports
from integrations.messaging.calls import letter_id_of
from integrations.messaging.closing import call_a_person, finish_items_of, look_again, open_items_of
from integrations.messaging.composing import fill
from integrations.messaging.models import Channel, Message, Recipient
from integrations.messaging.transitions import advance, note
from integrations.models import Attempt, QueueItem, QueueState
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.jobs import Call, ProviderJob
from integrations.runtime.queue import enqueue

WAITS = (60, 300, 900, 3600, 21600)
"""Seconds after the lost answer at which the provider is asked."""
CONCLUSIVE = timedelta(minutes=10)
"""How long after the call "no such text" may still mean "not yet"."""
FINDERS: dict[str, type[SmsAdapter] | type[EmailAdapter] | type[WhatsAppAdapter]] = {
    Channel.SMS: SmsAdapter,
    Channel.EMAIL: EmailAdapter,
    Channel.WHATSAPP: WhatsAppAdapter,
}
"""The channels whose providers may be asked, and the class that says "can't be asked"."""


def find_kind(channel: str) -> str:
    """Return the kind of the queue's job that asks about a message of a channel."""
    return f"{channel}.find"


def can_be_found(message: Message) -> bool:
    """Tell whether the provider of a message can be asked about one that it gave no id for."""
    base = FINDERS.get(message.channel)
    try:
        adapter = get_provider(message.provider).adapter_class(Capability(message.channel))
    except (UnknownProvider, KeyError):
        return False
    return base is not None and issubclass(adapter, base) and adapter.find is not base.find


def schedule_finding(recipient: Recipient, *, sent_at: datetime, number: int = 0) -> None:
    """Queue the question about a recipient whose outcome is unknown, in the caller's transaction."""
    enqueue(
        tenant_id=recipient.tenant_id,
        kind=find_kind(recipient.message.channel),
        payload={"recipient": recipient.pk, "sent_at": sent_at.isoformat(), "number": number},
        reference=("message", recipient.message_id),
        key=f"{recipient.pk}:{number}",
        due_at=max(clock.now(), sent_at + timedelta(seconds=WAITS[number])),
        config_id=recipient.message.config_id,
    )


def sent_at(item: QueueItem) -> datetime:
    """Return when the item's call was begun."""
    begun = Attempt.unscoped.filter(item=item).order_by("-fence").values_list("started_at", flat=True).first()
    return begun or clock.now()


class FindJob(ProviderJob):
    """Asks about one recipient. What the provider never got has failed; what it can't say in the end is for a person."""

    max_attempts = 3

    def __init__(self, channel: Channel) -> None:
        self.kind = find_kind(channel)

    def prepare(self, item: QueueItem) -> Call | None:
        recipient = Recipient.unscoped.select_related("message").get(pk=item.payload["recipient"])
        if recipient.state != MessageState.UNKNOWN:
            return None
        message = recipient.message
        query = SendQuery(
            message_id=letter_id_of(recipient) if message.channel == Channel.EMAIL else message.pk,
            target=Target(recipient.address, ref=reports.note_of(recipient)),
            provider_ref=recipient.provider_ref,
            sent_at=self._sent_at(item),
            text=fill(message, recipient).body,
        )
        return Call(
            Capability(message.channel),
            "find",
            (query,),
            config_id=message.config_id,
            provider=message.provider,
            reference=("message", message.pk),
            in_flight=True,
        )

    def succeeded(self, item: QueueItem, result: RecipientResult | None) -> None:
        recipient = self._locked(item)
        if recipient is None:
            return
        if result is not None and result.provider_ref and self._is_anothers(recipient, result.provider_ref):
            result = None  # an older text of the same words: it has its own recipient here
        if result is None:
            if clock.now() - self._sent_at(item) < CONCLUSIVE:
                self._again(item, recipient)
                return
            detail = "the provider never got it"
            advance(
                recipient,
                MessageState.FAILED,
                at=clock.now(),
                source="provider",
                detail=detail,
                provider_status="never_arrived",
            )
        elif result.state is MessageState.UNKNOWN:
            self._again(item, recipient)
            return
        else:
            if result.provider_ref:
                reports.take_reference(recipient, result.provider_ref)
            if result.cost is not None:
                recipient.cost, recipient.currency = result.cost, result.currency
            # Waiting at the provider is taken by the provider: nothing of it waits here any more.
            state = MessageState.SENT if result.state is MessageState.QUEUED else result.state
            if not advance(
                recipient,
                state,
                at=clock.now(),
                source="provider",
                detail=result.detail,
                provider_status=result.provider_code,
            ):
                self._again(item, recipient)
                return
            if recipient.provider_ref:
                reports.replay(recipient)  # what was said of this id while nobody knew whose it was
        finish_items_of(recipient)

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        recipient = self._locked(item)
        if recipient is None:
            return
        if isinstance(error, UnsupportedOperation | NotConfigured):
            self._give_up(recipient, error.message)
        else:
            self._again(item, recipient)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        self.failed(item, error)
        return QueueState.COMPLETED  # a question has no effect: it is simply asked again

    def _again(self, item: QueueItem, recipient: Recipient) -> None:
        number = int(item.payload["number"]) + 1
        if number < len(WAITS):
            schedule_finding(recipient, sent_at=self._sent_at(item), number=number)
        else:
            self._give_up(recipient, "the provider could not say what became of it")

    @staticmethod
    def _give_up(recipient: Recipient, why: str) -> None:
        note(recipient, at=clock.now(), source="queue", detail=why)
        for item in open_items_of(recipient).filter(state=QueueState.UNKNOWN):
            call_a_person(item, why)
        # One that is being settled at this moment was passed over.
        look_again(recipient.message_id, recipient.tenant_id)

    @staticmethod
    def _locked(item: QueueItem) -> Recipient | None:
        """Return the recipient, locked as reports lock him, where his outcome is still unknown."""
        mine = Recipient.unscoped.filter(pk=item.payload["recipient"])
        reports.lock_addresses(item.tenant_id, mine.values_list("address", flat=True))
        found: Recipient | None = (
            mine.filter(state=MessageState.UNKNOWN).select_for_update(of=("self",)).select_related("message").first()
        )
        return found

    @staticmethod
    def _is_anothers(recipient: Recipient, provider_ref: str) -> bool:
        same = Recipient.unscoped.filter(tenant_id=recipient.tenant_id, provider_ref=provider_ref)
        same = same.filter(message__provider=recipient.message.provider)
        # The recipients of one letter share its id at some providers.
        return same.exclude(message=recipient.message, envelope=recipient.envelope).exists()

    @staticmethod
    def _sent_at(item: QueueItem) -> datetime:
        return datetime.fromisoformat(item.payload["sent_at"])
