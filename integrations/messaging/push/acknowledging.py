"""What apps tell of notifications, through their own backend: push services themselves report nothing."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.messaging import Engagement, MessageState
from integrations.messaging.closing import finish_items_of
from integrations.messaging.models import Channel, Recipient
from integrations.messaging.push.devices import clean_token
from integrations.messaging.reports import lock_addresses
from integrations.messaging.safety.engagements import engage
from integrations.messaging.transitions import advance
from integrations.models import Attempt, Tenant

DELIVERED, OPENED = "delivered", "opened"
SOURCE = "app"


def acknowledge(*, tenant: Tenant, event: str, message_id: str = "", token: str = "", ref: str = "") -> Recipient:
    """Apply that an app got (`delivered`) or its user opened (`opened`) a notification; telling it twice changes nothing.

    `ref` is the note that came with it to the app; else `message_id`, with the `token` where it went to several devices.
    Raises `Recipient.DoesNotExist`, `InvalidRequest` naming the field, `Conflict` where it was never sent.
    """
    with transaction.atomic():
        found = _find(tenant, message_id, token, ref)
        lock_addresses(tenant.pk, [found.address])
        rows = Recipient.unscoped.select_for_update(of=("self",)).select_related("message")
        recipient: Recipient = rows.get(pk=found.pk)
        if recipient.state == MessageState.QUEUED and not _was_begun(recipient):
            raise Conflict("This notification has not been sent yet.")
        now = clock.now()
        if recipient.state in {MessageState.QUEUED, MessageState.SENT, MessageState.UNKNOWN}:
            doubtful = recipient.state == MessageState.UNKNOWN
            advance(recipient, MessageState.DELIVERED, at=now, source=SOURCE, detail="the app says so")
            if doubtful:
                finish_items_of(recipient)
        if event == OPENED and recipient.opened_at is None:
            engage(recipient, Engagement.OPENED, at=now, detail="", source=SOURCE)
    return recipient


def _find(tenant: Tenant, message_id: str, token: str, ref: str) -> Recipient:
    rows: QuerySet[Recipient] = Recipient.unscoped.filter(tenant=tenant, message__channel=Channel.PUSH)
    if message_id:
        rows = rows.filter(message_id=message_id)
    if ref:
        number = ref.removeprefix("r")
        if not ref.startswith("r") or not number.isascii() or not number.isdecimal() or len(number) > 18:
            raise InvalidRequest("This is no note of the hub's.", attr="ref")
        rows = rows.filter(pk=int(number))
    elif not message_id:
        raise InvalidRequest("Name the message, or the note that came with it.", attr="message")
    if token:
        rows = rows.filter(address=clean_token(token))
    found = list(rows.select_related("message").order_by("id")[:2])
    if not found:
        raise Recipient.DoesNotExist
    if len(found) > 1:
        raise InvalidRequest("This message went to several devices: say which.", attr="token")
    if found[0].message.content.get("topic"):
        raise InvalidRequest("Of a message to a topic nobody knows whom it reached.", attr="message")
    return found[0]


def _was_begun(recipient: Recipient) -> bool:
    """Tell whether a call for the recipient was made: its answer may still be on the way."""
    tries = Attempt.unscoped.filter(
        tenant_id=recipient.tenant_id, item__reference_type="message", item__reference_id=recipient.message_id
    )
    return bool(tries.filter(item__payload__recipients__contains=recipient.pk).exists())
