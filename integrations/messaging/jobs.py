"""The queue's job for texts: one item is one call for a chunk of a message's recipients."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import OutcomeUnknown, ProviderError
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, Target
from integrations.contracts.sms import SmsMessage
from integrations.messaging import reports
from integrations.messaging.finding import can_be_found, schedule_finding, sent_at
from integrations.messaging.models import Message, Recipient
from integrations.messaging.services import enqueue_send, fail_suppressed
from integrations.messaging.transitions import advance, note, revive
from integrations.models import QueueItem, QueueState
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call, ProviderJob

RETRY_WAITS = (60, 300, 1800, 7200, 21600, 43200)
"""Seconds before a recipient that the provider asked to try later is tried again; together just under a day, so that a
night's do-not-disturb hours and a top-up in the morning are outlived. After the last one it has failed."""


class SmsSendJob(ProviderJob):
    """Sends to those recipients of the item's chunk that are still queued. A lost answer is never followed by a second
    call: its recipients are `unknown` until a delivery report or a person tells."""

    kind = reports.SEND_KIND

    def prepare(self, item: QueueItem) -> Call | None:
        with transaction.atomic():
            recipients = _locked(item)
            for each in recipients:
                if each.given_up:
                    revive(each, at=clock.now())
            waiting = fail_suppressed(item.tenant_id, [each for each in recipients if each.state == MessageState.QUEUED])
        if not waiting:
            return None
        message: Message = waiting[0].message
        text = SmsMessage(
            message_id=message.pk,
            recipients=tuple(Target(each.address, ref=reports.note_of(each)) for each in waiting),
            text=message.body,
            sender=message.sender,
            callback_url=callback_url(message),
        )
        return Call(
            Capability.SMS,
            "send",
            (text,),
            config_id=message.config_id,
            provider=message.provider,
            reference=("message", message.pk),
        )

    def succeeded(self, item: QueueItem, result: SendResult) -> None:
        reports.lock_numbers(item.tenant_id, [each.address for each in result.recipients])
        by_number = {each.address: each for each in _locked(item)}
        again: list[Recipient] = []
        for said in result.recipients:
            recipient = by_number[said.address]
            # An answer that comes after the item was given up as unknown is still the truth.
            if recipient.state in {MessageState.QUEUED, MessageState.UNKNOWN} and _apply(recipient, said):
                again.append(recipient)
        _send_again(item, again)
        reports.adopt_where_clear(item.tenant_id, list(by_number))
        doubtful = Recipient.unscoped.filter(
            tenant_id=item.tenant_id, pk__in=item.payload["recipients"], state=MessageState.UNKNOWN
        ).count()
        if doubtful:
            raise_alert(
                tenant_id=item.tenant_id,
                kind="message_outcome_unknown",
                subject=item.reference_id,
                message=f"The provider did not say what became of {doubtful} recipients.",
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

    def unknown(self, item: QueueItem, error: OutcomeUnknown) -> QueueState:
        numbers = Recipient.unscoped.filter(tenant_id=item.tenant_id, pk__in=item.payload["recipients"])
        reports.lock_numbers(item.tenant_id, numbers.values_list("address", flat=True))
        adopted = []
        for recipient in _locked(item):
            if recipient.state == MessageState.QUEUED:
                advance(recipient, MessageState.UNKNOWN, at=clock.now(), source="queue", detail=error.message)
            if recipient.state == MessageState.UNKNOWN:
                adopted.append(reports.adopt(recipient) and recipient.state != MessageState.UNKNOWN)
        if all(adopted):
            return QueueState.COMPLETED
        doubtful = [each for each in _locked(item) if each.state == MessageState.UNKNOWN]
        if not all(can_be_found(each.message.provider) for each in doubtful):
            return QueueState.NEEDS_REVIEW
        for recipient in doubtful:
            schedule_finding(recipient, sent_at=sent_at(item))
        return QueueState.UNKNOWN

    def waiting(self, item: QueueItem, error: ProviderError) -> None:
        for recipient in _locked(item):
            if recipient.state == MessageState.QUEUED and recipient.detail != error.message:
                recipient.detail = error.message
                recipient.save()
                note(recipient, at=clock.now(), source="queue", detail=f"put off: {error.message}")


def callback_url(message: Message) -> str:
    """Return the unguessable path of the message's account, empty where the installation's account serves."""
    return "" if message.config is None else f"{settings.PUBLIC_BASE_URL}/hooks/{message.config.hook_token}"


def _locked(item: QueueItem) -> list[Recipient]:
    rows = Recipient.unscoped.filter(tenant_id=item.tenant_id, pk__in=item.payload["recipients"])
    return list(rows.select_for_update(of=("self",)).select_related("message").order_by("id"))


def _apply(recipient: Recipient, said: RecipientResult) -> bool:
    """Write down the provider's word on a recipient; tell whether it is to be tried again."""
    now = clock.now()
    if said.cost is not None:
        recipient.cost, recipient.currency = said.cost, said.currency
    if said.provider_ref:
        reports.take_reference(recipient, said.provider_ref)
    if said.suppress:
        reports.suppress(
            tenant_id=recipient.tenant_id, number=recipient.address, reason=said.detail, source=recipient.message.provider
        )
    if said.retryable and recipient.tries < len(RETRY_WAITS):
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
    """Queue new items for these, one for each number of tries behind them."""
    groups: dict[int, list[Recipient]] = {}
    for each in recipients:
        groups.setdefault(each.tries, []).append(each)
    for tries, group in groups.items():
        due_at = clock.now() + timedelta(seconds=RETRY_WAITS[tries - 1])
        enqueue_send(group[0].message, group, key=f"{group[0].message_id}:{item.pk}:{tries}", due_at=due_at)
