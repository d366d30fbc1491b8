"""Who of a message's recipients is not written to: on the suppression list, or asked to be left alone."""

from __future__ import annotations

from collections.abc import Sequence

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState, SuppressReason
from integrations.messaging.categories import category_of
from integrations.messaging.models import Channel, Message, Preference, Recipient, Suppression
from integrations.messaging.transitions import advance


def screen(message: Message, recipients: Sequence[Recipient]) -> list[Recipient]:
    """Fail those (locked or new) who are not to be written to, each with the reason; return the others."""
    addresses = [fold(message.channel, each.address) for each in recipients]
    listed: dict[str, str] = {} if message.override_reason else _suppressed(message, addresses)
    refused: set[str] = set() if category_of(message.tenant_id, message.category).is_critical else _refused(message, addresses)
    rest = []
    for each, address in zip(recipients, addresses, strict=True):
        if address in listed:
            _fail(each, f"on the suppression list: {listed[address]}", "suppressed")
        elif address in refused:
            _fail(each, f"does not want {message.category or 'such'} messages", "unsubscribed")
        else:
            rest.append(each)
    return rest


def fold(channel: str, address: str) -> str:
    """Return an address as lists of refused ones spell it: e-mail addresses are compared without regard to case."""
    return address.casefold() if channel == Channel.EMAIL else address


def suppress(
    *, tenant_id: int, channel: str, address: str, reason: SuppressReason | str, detail: str = "", source: str = ""
) -> None:
    """Put an address on the tenant's list; the first reason stays."""
    row = Suppression(
        tenant_id=tenant_id,
        channel=channel,
        address=fold(channel, address),
        reason=str(reason),
        detail=detail[:200],
        source=source[:50],
    )
    Suppression.unscoped.bulk_create([row], ignore_conflicts=True)


def release(suppression: Suppression, *, by: str, reason: str) -> None:
    """Let an address be written to again; the row stays as history. Releasing twice changes nothing."""
    if suppression.released_at is None:
        suppression.released_at, suppression.released_by, suppression.release_reason = clock.now(), by[:150], reason[:200]
        suppression.save()


def prefer(*, tenant_id: int, channel: str, address: str, category: str, allowed: bool, source: str) -> None:
    """Write down what the owner of an address wants; his last word counts."""
    Preference.unscoped.update_or_create(
        tenant_id=tenant_id,
        channel=channel,
        address=fold(channel, address),
        category=category,
        defaults={"allowed": allowed, "source": source[:50], "updated": clock.now()},
    )


def _suppressed(message: Message, addresses: Sequence[str]) -> dict[str, str]:
    rows = Suppression.unscoped.filter(
        tenant_id=message.tenant_id, channel=message.channel, address__in=addresses, released_at__isnull=True
    )
    return {row.address: row.detail or row.get_reason_display() for row in rows}


def _refused(message: Message, addresses: Sequence[str]) -> set[str]:
    """Return the addresses whose narrowest preference says no."""
    rows = Preference.unscoped.filter(
        tenant_id=message.tenant_id,
        channel=message.channel,
        address__in=addresses,
        category__in={"", message.category},
    )
    wishes = {}
    for row in rows.order_by("category"):  # the one without category comes first, and the narrower one replaces it
        wishes[row.address] = row.allowed
    return {address for address, allowed in wishes.items() if not allowed}


def _fail(recipient: Recipient, detail: str, code: str) -> None:
    advance(recipient, MessageState.FAILED, at=clock.now(), source="suppression", detail=detail, provider_status=code)
