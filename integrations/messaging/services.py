"""What others ask of messaging: send a text, ask for the balance, see beforehand what a text costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Balance, MessageState
from integrations.contracts.sms import SmsAdapter
from integrations.messaging import reports
from integrations.messaging.models import Channel, Message, MessageEvent, Recipient, Suppression
from integrations.messaging.numbers import normalise_all
from integrations.messaging.segments import count_segments
from integrations.messaging.transitions import advance
from integrations.models import Tenant
from integrations.registry import get_provider
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.runtime.queue import enqueue
from integrations.runtime.resolve import resolve

MAX_RECIPIENTS = 10_000
MAX_LENGTH = 1600
PRIORITIES = {"otp": 1, "receipt": 3, "bulk": 8}


def send_sms(
    *,
    tenant: Tenant,
    to: Sequence[str],
    message: str,
    sender: str = "",
    provider: str | None = None,
    config_id: int | None = None,
    reference: tuple[str, str] = ("", ""),
    category: str = "",
    send_at: datetime | None = None,
    key: str = "",
    template_name: str = "",
    created_by: str = "",
) -> Message:
    """Accept a text for sending: rows and queue items in one transaction (the caller's where there is one).

    Numbers may be written nationally (read as the tenant's country) and twice. Suppressed ones become failed recipients.
    With a `key` a second call returns the first call's message, whatever else it says. The network is not touched.
    Raises `InvalidRequest` (attr `to`, `message`, `sender` or `send_at`), `NotConfigured`.
    """
    with transaction.atomic():
        if key and (existing := _with_key(tenant, key)) is not None:
            return existing
        _check(message, sender, send_at, category)
        if len(to) > MAX_RECIPIENTS:
            raise InvalidRequest(f"At most {MAX_RECIPIENTS} recipients.", attr="to")
        numbers = normalise_all(to, country=tenant.country)
        view = resolve(Call(Capability.SMS, "send", config_id=config_id, provider=provider), tenant_id=tenant.pk)
        segments = count_segments(message)
        row = Message(
            tenant=tenant,
            channel=Channel.SMS,
            provider=view.provider,
            config_id=view.id,
            sender=sender,
            body=message,
            segments=segments.count,
            encoding=segments.encoding,
            reference_type=reference[0],
            reference_id=reference[1],
            category=category,
            template_name=template_name,
            key=key,
            send_at=send_at,
            created_by=created_by[:150],
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            # Somebody else was faster with the same key; any other violation is ours and stays an error.
            winner = _with_key(tenant, key) if key else None
            if winner is None:
                raise
            return winner
        _queue(row, numbers, _batch_size(view))
        return row


def get_balance(*, tenant: Tenant, provider: str | None = None, config_id: int | None = None) -> tuple[str, Balance]:
    """Ask the provider what is left in the account; return (provider slug, balance). Called outside of any transaction.

    Raises `NotConfigured`, `UnsupportedOperation` where the provider has no balance, and as any call.
    """
    call = Call(Capability.SMS, "balance", config_id=config_id, provider=provider)
    serving = resolve(call, tenant_id=tenant.pk).provider
    balance: Balance = execute(call, tenant_id=tenant.pk)
    return serving, balance


def _check(message: str, sender: str, send_at: datetime | None, category: str) -> None:
    if not message.strip():
        raise InvalidRequest("The message is empty.", attr="message")
    if len(message) > MAX_LENGTH:
        raise InvalidRequest(f"The message has more than {MAX_LENGTH} characters.", attr="message")
    if "\0" in message or "\0" in sender:
        raise InvalidRequest("Null characters can't be sent.", attr="message" if "\0" in message else "sender")
    if len(sender) > 20:
        raise InvalidRequest("The sender has more than 20 characters.", attr="sender")
    if len(category) > 30:
        raise InvalidRequest("The category has more than 30 characters.", attr="category")
    if send_at is not None and send_at.tzinfo is None:
        raise InvalidRequest("The time needs an offset from UTC.", attr="send_at")


def _with_key(tenant: Tenant, key: str) -> Message | None:
    found: Message | None = Message.unscoped.filter(tenant=tenant, key=key).first()
    return found


def _batch_size(view: ConfigView) -> int:
    """Return the most recipients of one call: the config's `batch_size` where the provider declares one, else the adapter's."""
    adapter = get_provider(view.provider).adapter_class(Capability.SMS)
    largest = adapter.batch_size if issubclass(adapter, SmsAdapter) else 1
    return int(view.get("batch_size") or largest)


def _queue(message: Message, numbers: Sequence[str], batch_size: int) -> None:
    now = clock.now()
    recipients = Recipient.unscoped.bulk_create(
        [Recipient(tenant_id=message.tenant_id, message=message, address=number, updated=now) for number in numbers]
    )
    MessageEvent.unscoped.bulk_create(
        [
            MessageEvent(tenant_id=message.tenant_id, recipient=each, at=now, state=MessageState.QUEUED, source="hub")
            for each in recipients
        ]
    )
    waiting = fail_suppressed(message.tenant_id, recipients)
    for start in range(0, len(waiting), batch_size):
        chunk = waiting[start : start + batch_size]
        enqueue_send(message, chunk, key=f"{message.pk}:{start}", due_at=message.send_at)


def enqueue_send(message: Message, recipients: Sequence[Recipient], *, key: str, due_at: datetime | None) -> None:
    """Queue one call for these recipients, in the caller's transaction."""
    enqueue(
        tenant_id=message.tenant_id,
        kind=reports.SEND_KIND,
        payload={"message": message.pk, "recipients": [each.pk for each in recipients]},
        reference=("message", message.pk),
        key=key,
        due_at=due_at,
        config_id=message.config_id,
        priority=PRIORITIES.get(message.category, 5),
    )


def fail_suppressed(tenant_id: int, recipients: Sequence[Recipient]) -> list[Recipient]:
    """Fail those (locked or new) on the tenant's suppression list, with its reason; return the others."""
    listed = dict(
        Suppression.unscoped.filter(
            tenant_id=tenant_id, channel=Channel.SMS, address__in=[each.address for each in recipients]
        ).values_list("address", "reason")
    )
    rest = []
    for each in recipients:
        if each.address in listed:
            detail = f"on the suppression list: {listed[each.address]}"
            advance(
                each, MessageState.FAILED, at=clock.now(), source="suppression", detail=detail, provider_status="suppressed"
            )
        else:
            rest.append(each)
    return rest
