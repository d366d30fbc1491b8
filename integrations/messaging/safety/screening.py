"""Who of a message's recipients is not written to: on the suppression list, or asked to be left alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import MessageState, SuppressReason
from integrations.messaging.email.mailboxes import normalise_address
from integrations.messaging.models import Channel, Message, Preference, Recipient, Suppression
from integrations.messaging.safety.categories import category_of
from integrations.messaging.sms.numbers import normalise
from integrations.messaging.transitions import advance
from integrations.models import Config
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.queue import enqueue

RELEASE_KIND = "suppression.release"


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


def normalised(channel: str, address: str, *, country: str) -> str:
    """Return an address as it is kept, numbers read as those of `country` where they have no country code; raise
    `InvalidRequest` (attr `address`) for what is none of the channel's."""
    given = address.strip()
    if channel in {Channel.SMS, Channel.WHATSAPP}:
        number = normalise(given, country=country)
        if number is None:
            raise InvalidRequest("This is no phone number.", attr="address")
        return number
    if channel == Channel.EMAIL:
        try:
            return fold(channel, normalise_address(given))
        except ValueError as error:
            raise InvalidRequest(f"{str(error).capitalize()}.", attr="address") from error
    if not given or not given.isprintable():
        raise InvalidRequest("This is no device token.", attr="address")
    return given


def spellings(address: str, *, country: str) -> set[str]:
    """Return how an address that somebody looks for may be kept, whatever channel it is of."""
    given = address.strip()
    # An unescaped `+` in a query string arrives as a space.
    return {given, given.casefold(), f"+{given.lstrip('+')}", normalise(given, country=country) or given}


def suppress(
    *,
    tenant_id: int,
    channel: str,
    address: str,
    reason: SuppressReason | str,
    detail: str = "",
    source: str = "",
    at: datetime | None = None,
) -> Suppression | None:
    """Put an address on the tenant's list; return the new row, None where it was listed already: the first reason stays.

    Said `at` that moment, where it is given: an old word that arrives once more does not undo a release that came after it.
    """
    if at is not None and _released_since(tenant_id, channel, address, at):
        return None
    row = Suppression(
        tenant_id=tenant_id,
        channel=channel,
        address=fold(channel, address),
        reason=str(reason),
        detail=detail[:200],
        source=source[:50],
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        if listing(tenant_id, channel, row.address) is None:
            raise
        return None
    return row


def listing(tenant_id: int, channel: str, address: str) -> Suppression | None:
    """Return the row that keeps an address from being written to, where there is one."""
    found: Suppression | None = Suppression.unscoped.filter(
        tenant_id=tenant_id, channel=channel, address=fold(channel, address), released_at__isnull=True
    ).first()
    return found


def _released_since(tenant_id: int, channel: str, address: str, at: datetime) -> bool:
    rows = Suppression.unscoped.filter(tenant_id=tenant_id, channel=channel, address=fold(channel, address))
    return bool(rows.filter(released_at__gt=at).exists())


def release(suppression: Suppression, *, by: str, reason: str) -> bool:
    """Let an address be written to again; the row stays as history. Tell whether it was still held: releasing twice changes
    nothing. Whoever had opted out of everything wants messages again; e-mail providers with lists of their own are told."""
    with transaction.atomic():
        row = Suppression.unscoped.select_for_update().get(pk=suppression.pk)
        held = row.released_at is None
        if held:
            row.released_at, row.released_by, row.release_reason = clock.now(), by[:150], reason[:200]
            row.save()
            if row.reason == SuppressReason.OPT_OUT:
                _forget_general_no(row)
            _tell_providers(row)
    for name in ("released_at", "released_by", "release_reason"):
        setattr(suppression, name, getattr(row, name))
    return held


def prefer(
    *,
    tenant_id: int,
    channel: str,
    address: str,
    category: str,
    allowed: bool,
    source: str,
    at: datetime | None = None,
) -> bool:
    """Write down what the owner of an address wants, said `at` that moment (now, if left out); tell whether that is news. His
    last word counts: one that arrives after a younger one changes nothing."""
    said = min(at or clock.now(), clock.now())
    with transaction.atomic():
        row, is_new = Preference.unscoped.select_for_update().get_or_create(
            tenant_id=tenant_id,
            channel=channel,
            address=fold(channel, address),
            category=category,
            defaults={"allowed": allowed, "source": source[:50], "updated": said},
        )
        if is_new or said < row.updated:
            return is_new
        changed = row.allowed != allowed
        row.allowed, row.source, row.updated = allowed, source[:50], said
        row.save()
        return changed


def _forget_general_no(row: Suppression) -> None:
    Preference.unscoped.filter(
        tenant_id=row.tenant_id, channel=row.channel, address=row.address, category="", allowed=False
    ).update(allowed=True, source="released", updated=clock.now())


def _tell_providers(row: Suppression) -> None:
    """Queue the release at each of the tenant's own e-mail accounts that keeps such a list. The installation's account serves
    others too: its list is the operator's affair."""
    if row.channel != Channel.EMAIL:
        return
    for config in Config.unscoped.filter(tenant_id=row.tenant_id, is_active=True, provider__enabled=True).order_by("id"):
        if keeps_list(config.provider_id):
            enqueue(
                tenant_id=row.tenant_id,
                kind=RELEASE_KIND,
                payload={"suppression": row.pk, "config": config.pk},
                reference=("suppression", str(row.pk)),
                key=f"{row.pk}:{config.pk}",
                config_id=config.pk,
            )


def keeps_list(provider: str) -> bool:
    """Tell whether the provider itself refuses e-mail addresses, and can be told to take one back."""
    try:
        found = get_provider(provider)
    except UnknownProvider:
        return False
    if Capability.EMAIL.value not in found.categories:
        return False
    adapter = found.adapter_class(Capability.EMAIL)
    return issubclass(adapter, EmailAdapter) and adapter.unsuppress is not EmailAdapter.unsuppress


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
