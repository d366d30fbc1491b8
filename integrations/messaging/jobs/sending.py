"""The queue's jobs that send: one item is one call for some of a message's recipients. What differs from channel to channel
is only how the call is written (`calls.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import NotConfigured, OutcomeUnknown, ProviderError, Throttled, UnsupportedOperation
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, SuppressReason
from integrations.messaging import reports
from integrations.messaging.calls import build_call
from integrations.messaging.composing import batches, letters
from integrations.messaging.fallback import fallback
from integrations.messaging.finding import can_be_found, schedule_finding, sent_at
from integrations.messaging.jobs.holding import keep_pace, latest_look, still_wanted, wake_if_released
from integrations.messaging.models import Channel, Message, Recipient
from integrations.messaging.push import devices
from integrations.messaging.safety.screening import suppress
from integrations.messaging.sending import enqueue_send, send_kind
from integrations.messaging.transitions import advance, advance_sent, note, revive
from integrations.models import QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, ProviderJob
from integrations.runtime.resolve import resolve

RETRY_WAITS = (60, 300, 1800, 7200, 21600, 43200)
"""Seconds before a recipient that the provider asked to try later is tried again; together just under a day, so that a
night's do-not-disturb hours and a top-up in the morning are outlived. After the last one it has failed."""


class SendJob(ProviderJob):
    """Sends to those recipients of the item that are still queued. A lost answer is never followed by a second call: its
    recipients are `unknown` until a delivery report, the provider or a person tells."""

    lease_seconds = 200.0  # a slow mail server may hold one call for two and a half minutes

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.kind = send_kind(channel)

    def prepare(self, item: QueueItem) -> Call | None:
        with transaction.atomic():
            recipients = _locked(item)
            for each in recipients:
                if each.given_up:
                    revive(each, at=clock.now())
            queued = [each for each in recipients if each.state == MessageState.QUEUED]
            waiting = still_wanted(item, queued)
        if not waiting:
            return None
        message: Message = waiting[0].message
        call = Call(
            Capability(message.channel),
            "send",
            build_call(message, waiting),
            config_id=message.config_id,
            provider=message.provider,
            reference=("message", message.pk),
        )
        keep_pace(item, message, call)
        return call

    def succeeded(self, item: QueueItem, result: SendResult | RecipientResult) -> None:
        said = result.recipients if isinstance(result, SendResult) else (result,)
        _lock_addresses(item)
        recipients = _locked(item)
        by_address = {each.address: each for each in recipients}
        again: list[Recipient] = []
        taken: dict[int, Recipient] = {}
        for word in said:
            recipient = by_address.get(word.address) or recipients[0]
            # An answer that comes after the item was given up as unknown is still the truth.
            if recipient.pk in taken or recipient.state not in {MessageState.QUEUED, MessageState.UNKNOWN}:
                continue
            if word.state is MessageState.SENT and not word.suppress and not word.retryable:
                _take_word(recipient, word)
                taken[recipient.pk] = recipient
            elif _apply(recipient, word):
                again.append(recipient)
        _sent(list(taken.values()))
        _send_again(item, again)
        reports.adopt_where_clear(item.tenant_id, list(by_address))
        sent = [each for each in recipients if each.state == MessageState.SENT]
        if sent:
            fallback.watch(sent[0].message, sent)
        doubtful = [each for each in recipients if each.state == MessageState.UNKNOWN]
        for each in doubtful:
            if can_be_found(each.message):
                schedule_finding(each, sent_at=sent_at(item))
        if doubtful:
            raise_alert(
                tenant_id=item.tenant_id,
                kind="message_outcome_unknown",
                subject=item.reference_id,
                message=f"The provider did not say what became of {len(doubtful)} recipients.",
            )

    def failed(self, item: QueueItem, error: ProviderError) -> None:
        for recipient in _locked(item):
            if recipient.state == MessageState.QUEUED:
                recipient.given_up = True
                advance(
                    recipient,
                    MessageState.FAILED,
                    at=clock.now(),
                    source="queue",
                    detail=error.message,
                    provider_status=error.provider_code or error.code,
                )

    def gives_up(self, item: QueueItem, error: ProviderError) -> bool:
        """With another way to go, a provider that is down is not waited for."""
        if isinstance(error, Throttled):
            return False
        message = Message.unscoped.get(pk=item.payload["message"])
        return fallback.leaves(message, item, error)

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        _lock_addresses(item)
        adopted = []
        for recipient in _locked(item):
            if recipient.state == MessageState.QUEUED:
                advance(recipient, MessageState.UNKNOWN, at=clock.now(), source="queue", detail=error.message)
            if recipient.state == MessageState.UNKNOWN:
                adopted.append(reports.adopt(recipient) and recipient.state != MessageState.UNKNOWN)
        if all(adopted):
            return QueueState.COMPLETED
        doubtful = [each for each in _locked(item) if each.state == MessageState.UNKNOWN]
        if not all(can_be_found(each.message) for each in doubtful):
            return QueueState.NEEDS_REVIEW
        for recipient in doubtful:
            schedule_finding(recipient, sent_at=sent_at(item))
        return QueueState.UNKNOWN

    def waiting(self, item: QueueItem, error: ProviderError) -> None:
        wake_if_released(item, error)
        if isinstance(error, Throttled):
            return  # thousands of lines "held back" in the stories would tell nobody anything
        for recipient in _locked(item):
            if recipient.state == MessageState.QUEUED and recipient.detail != error.message:
                recipient.detail = error.message
                recipient.save()
                note(recipient, at=clock.now(), source="queue", detail=f"put off: {error.message}")


def _lock_addresses(item: QueueItem) -> None:
    """Hold the item's addresses, as all do who might meet a report about them; always before their rows."""
    rows = Recipient.unscoped.filter(tenant_id=item.tenant_id, pk__in=item.payload["recipients"])
    reports.lock_addresses(item.tenant_id, rows.values_list("address", flat=True))


def _locked(item: QueueItem) -> list[Recipient]:
    """Return the item's recipients, locked, all with one and the same message in memory: it may be large, and they many."""
    rows = Recipient.unscoped.filter(tenant_id=item.tenant_id, pk__in=item.payload["recipients"])
    found = list(rows.select_for_update(of=("self",)).select_related("device").order_by("id"))
    message = Message.unscoped.select_related("tenant", "config").get(pk=item.payload["message"], tenant_id=item.tenant_id)
    for each in found:
        each.message = message
    return found


def _take_word(recipient: Recipient, said: RecipientResult) -> None:
    """Take over what the provider says of a text that it has taken; `_sent` writes it down."""
    if said.cost is not None:
        recipient.cost, recipient.currency = said.cost, said.currency
    recipient.provider_ref = said.provider_ref or recipient.provider_ref
    recipient.provider_status = said.provider_code or recipient.provider_status
    recipient.detail = said.detail


def _sent(recipients: list[Recipient]) -> None:
    """Write down, in few statements for a thousand of them, that the provider has these texts."""
    if not recipients:
        return
    named = [each for each in recipients if each.provider_ref]
    reports.publish_references(named)
    advance_sent(recipients, at=clock.now(), source="provider")
    reports.replay_all(named)


def _apply(recipient: Recipient, said: RecipientResult) -> bool:
    """Write down the provider's word on a recipient; tell whether it is to be tried again."""
    now = clock.now()
    if said.cost is not None:
        recipient.cost, recipient.currency = said.cost, said.currency
    if said.provider_ref:
        reports.take_reference(recipient, said.provider_ref)
    if said.suppress is SuppressReason.DEAD_TOKEN:
        devices.prune(recipient, since=said.gone_since, why=said.detail)
    elif said.suppress:
        suppress(
            tenant_id=recipient.tenant_id,
            channel=recipient.message.channel,
            address=recipient.address,
            reason=said.suppress,
            detail=said.detail,
            source=recipient.message.provider,
        )
    if said.retryable and recipient.tries < len(RETRY_WAITS) and not fallback.has_step(recipient.message, recipient):
        recipient.tries += 1
        if recipient.state == MessageState.UNKNOWN:
            advance(recipient, MessageState.QUEUED, at=now, source="provider", detail=said.detail)
        else:
            note(recipient, at=now, source="provider", detail=f"to be tried again: {said.detail}")
        recipient.detail, recipient.provider_status = said.detail, said.provider_code
        recipient.save()
        return True
    advance(recipient, said.state, at=now, source="provider", detail=said.detail, provider_status=said.provider_code)
    if recipient.provider_ref:
        reports.replay(recipient)
    return False


def _send_again(item: QueueItem, recipients: Iterable[Recipient]) -> None:
    """Queue new items for these: apart by the tries behind them, each no larger than the account takes."""
    groups: dict[int, list[Recipient]] = {}
    for each in recipients:
        groups.setdefault(each.tries, []).append(each)
    for tries, group in groups.items():
        message = group[0].message
        due_at = latest_look(message, clock.now() + timedelta(seconds=RETRY_WAITS[tries - 1]))
        for batch in _batches(message, group, item.tenant_id):
            enqueue_send(message, batch, key=f"{message.pk}:{item.pk}:{tries}:{batch[0].pk}", due_at=due_at)


def _batches(message: Message, group: list[Recipient], tenant_id: int) -> list[list[Recipient]]:
    call = Call(Capability(message.channel), "send", config_id=message.config_id, provider=message.provider, in_flight=True)
    try:
        return list(batches(message, group, resolve(call, tenant_id=tenant_id)))
    except (NotConfigured, UnsupportedOperation):
        # The account has gone since; the answer in hand must be written down all the same. One by one fits any account.
        return [list(letter) for letter in letters(group)]
