"""What others ask of messaging: send a text, ask for the balance, see beforehand what a text costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Balance
from integrations.messaging.destinations import fill_each, is_personal, read_destinations
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.lists.parts import send_many
from integrations.messaging.models import Channel, Message
from integrations.messaging.sending import accept, find_by_key
from integrations.messaging.sms.segments import count_segments
from integrations.models import Tenant
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

MAX_RECIPIENTS = 50_000
AT_ONCE = 1_000
"""More recipients than that are written down in the background, as those of a list."""
MAX_LENGTH = 1600


def send_sms(
    *,
    tenant: Tenant,
    to: Sequence[str | Destination],
    message: str,
    sender: str = "",
    provider: str | None = None,
    config_id: int | None = None,
    reference: tuple[str, str] = ("", ""),
    category: str = "",
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    override_reason: str = "",
    key: str = "",
    template_name: str = "",
    language: str = "",
    data: Mapping[str, Any] | None = None,
    created_by: str = "",
) -> Message:
    """Accept a text for sending: rows and queue items in one transaction (the caller's where there is one).

    Numbers may be written nationally (read as the tenant's country) and twice. Suppressed ones become failed recipients; more
    than `AT_ONCE` become recipients in the background.
    Where recipients have values of their own, `message` may have variables: filled in with `data` and those. `template_name`,
    `language` and `data` also tell another channel, should one take over, what to make its words from.
    With a `key` a second call returns the first call's message, whatever else it says. The network is not touched.
    Raises `InvalidRequest` naming the field, `NotConfigured`, `spending.SpendCapReached`.
    """
    if (existing := find_by_key(tenant, key)) is not None:
        return existing
    _check(message, sender)
    if len(to) > MAX_RECIPIENTS:
        raise InvalidRequest(f"At most {MAX_RECIPIENTS} recipients.", attr="to")
    destinations = read_destinations(to, country=tenant.country)
    personal = is_personal(message, destinations)
    texts = fill_each(message, destinations, data or {}) if personal else {message}
    for text in texts:
        _check(text, sender)
    segments = max((count_segments(text) for text in texts), key=lambda each: each.count)
    draft = Draft(
        channel=Channel.SMS,
        body=message,
        sender=sender,
        personal=personal,
        data=dict(data or {}),
        segments=segments.count,
        encoding=segments.encoding,
        provider=provider,
        config_id=config_id,
        reference=reference,
        category=category,
        template_name=template_name,
        language=language,
        send_at=send_at,
        expires_at=expires_at,
        key=key,
        created_by=created_by,
        override_reason=override_reason,
    )
    if len(destinations) > AT_ONCE:
        return send_many(tenant=tenant, destinations=destinations, draft=draft)
    return accept(tenant=tenant, draft=draft, destinations=destinations)


def get_balance(*, tenant: Tenant, provider: str | None = None, config_id: int | None = None) -> tuple[str, Balance]:
    """Ask the provider what is left in the account; return (provider slug, balance). Called outside of any transaction.

    Raises `NotConfigured`, `UnsupportedOperation` where the provider has no balance, and as any call.
    """
    call = Call(Capability.SMS, "balance", config_id=config_id, provider=provider)
    serving = resolve(call, tenant_id=tenant.pk).provider
    balance: Balance = execute(call, tenant_id=tenant.pk)
    return serving, balance


def _check(message: str, sender: str) -> None:
    if not message.strip():
        raise InvalidRequest("The message is empty.", attr="message")
    if len(message) > MAX_LENGTH:
        raise InvalidRequest(f"The message has more than {MAX_LENGTH} characters.", attr="message")
    if "\0" in message or "\0" in sender:
        raise InvalidRequest("Null characters can't be sent.", attr="message" if "\0" in message else "sender")
    if len(sender) > 20:
        raise InvalidRequest("The sender has more than 20 characters.", attr="sender")
