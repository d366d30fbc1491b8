"""Sending to devices: what the registry has to do with it."""

from __future__ import annotations

from dataclasses import replace

from django.db import transaction

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, SuppressReason
from integrations.messaging.finding import sent_at
from integrations.messaging.jobs.sending import SendJob
from integrations.messaging.models import Channel, Recipient
from integrations.messaging.push import devices
from integrations.messaging.transitions import advance
from integrations.models import AttemptState, QueueItem
from integrations.runtime.alerts import raise_alert
from integrations.runtime.jobs import Call


class PushSendJob(SendJob):
    """Writes to nobody who has left the device since, and learns from the answers.

    A token that a provider calls invalid is not put on the suppression list: with the key file of a wrong project, or devices
    of the other environment, it says that of every device. Only one that it calls dead is let go.
    """

    def __init__(self) -> None:
        super().__init__(Channel.PUSH)

    def prepare(self, item: QueueItem) -> Call | None:
        with transaction.atomic():
            _pass_over_the_moved(item)
        return super().prepare(item)

    def succeeded(self, item: QueueItem, result: SendResult | RecipientResult) -> None:
        said = result.recipients if isinstance(result, SendResult) else (result,)
        for each in said:
            if each.suppress is SuppressReason.INVALID:
                _doubt(item, each)
        kept = tuple(_read(item, each) for each in said)
        super().succeeded(item, SendResult(kept))
        for each in kept:
            devices.learn(tenant_id=item.tenant_id, said=each)


def _read(item: QueueItem, said: RecipientResult) -> RecipientResult:
    if said.suppress is SuppressReason.INVALID:
        return replace(said, suppress=None)
    if said.suppress is SuppressReason.DEAD_TOKEN and said.gone_since is None:
        # Dead when it was asked: an app that registered while the answer was on its way is not meant.
        return replace(said, gone_since=sent_at(item))
    return said


def _pass_over_the_moved(item: QueueItem) -> None:
    """Fail those who were found by the registry and whose device it gives to somebody else, or to nobody, by now: what was
    written for one user is not shown to the next. What an earlier try may have shown already is left as it is."""
    if item.tries.filter(state__in=[AttemptState.SENDING, AttemptState.UNKNOWN]).exists():
        return
    rows = Recipient.unscoped.filter(tenant_id=item.tenant_id, pk__in=item.payload["recipients"])
    for each in rows.select_for_update(of=("self",)).select_related("message", "device").order_by("id"):
        if not (each.state == MessageState.QUEUED or each.given_up) or not _has_moved(each):
            continue
        if each.given_up:
            each.given_up = False
            each.save(update_fields=["given_up"])
        else:
            detail = "the app is not there any more, or not for this user"
            advance(each, MessageState.FAILED, at=clock.now(), source="hub", detail=detail, provider_status="device_moved")


def _has_moved(recipient: Recipient) -> bool:
    found_by = recipient.message.content.get("found_by")
    device = recipient.device
    if not found_by:
        return False
    if device is None or device.gone_at is not None:
        return True
    if found_by == "topic":
        return recipient.message.content.get("followers_of") not in device.topics
    return device.user != recipient.name


def _doubt(item: QueueItem, said: RecipientResult) -> None:
    raise_alert(
        tenant_id=item.tenant_id,
        kind="device_tokens_refused",
        subject=f"config {item.config_id}" if item.config_id else "push",
        message=f"Device tokens are refused as invalid ({said.provider_code}): {said.detail} "
        "Where there are many, look whether the account is that of the app.",
    )
