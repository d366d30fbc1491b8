"""What people write to the tenant: kept, and obeyed where it says "stop" or "start"."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from django.db import IntegrityError, transaction

from integrations.contracts import clock
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import InvalidRequest, NotFound, UnsupportedOperation
from integrations.contracts.inbound import MessageReceived, Trust
from integrations.contracts.messaging import Media, SuppressReason
from integrations.events import DomainEvent, FactErased, emit
from integrations.messaging.models import Channel, InboundMessage, Message, Suppression
from integrations.messaging.reports import lock_addresses
from integrations.messaging.safety.screening import fold, release, suppress
from integrations.messaging.sms.numbers import normalise
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import stamp
from integrations.messaging.whatsapp import whatsapps
from integrations.models import Tenant
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call

STOP_WORDS = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "acha", "sitisha", "ondoa"})
START_WORDS = frozenset({"start", "unstop", "subscribe", "anza"})
"""English and Swahili; only a text that says nothing else is meant so."""
BY_WORDS = frozenset({Channel.SMS.value, Channel.WHATSAPP.value})
"""Channels on which people say so by a word."""

RECIPIENT = "recipient"
REPLACED = "the recipient opted out"
"""Why an earlier entry of the suppression list was released: for one that says so."""

OBJECT_TYPE = "inbound_message"
LARGEST_FILE = 20 * 1024 * 1024


# --- coming in


def receive(event: MessageReceived) -> None:
    """Keep the message, once for each id of the provider, in the caller's transaction; put its sender on the suppression list
    where he says "stop", and take him off where he says "start".

    An unsigned message is kept and changes no list; should the same one come signed after all, that one counts.
    """
    trusted = event.trust is not Trust.HINT
    tenant = Tenant.objects.get(pk=event.tenant_id)
    address = _address(event, tenant)
    lock_addresses(event.tenant_id, [address])
    row = _known(event)
    if row is not None and (row.trusted or not trusted):
        return
    again = row is not None
    row = row or InboundMessage(tenant_id=event.tenant_id)
    row.channel, row.provider, row.config_id = event.channel, event.provider, event.config_id
    row.provider_ref, row.reply_to = _clean(event.provider_ref, 200), _clean(event.reply_to, 200)
    row.address, row.to, row.name = address, _clean(event.to, 512), _clean(event.name, 200)
    row.text = _clean(event.text)
    row.media = [{"type": _clean(kind, 120), "id": _clean(name, 2000)} for kind, name in event.media]
    row.trusted = trusted
    # A clock ahead of ours would keep a window open for longer than it is.
    row.received_at = min(event.occurred_at or clock.now(), clock.now())
    row.opted = _wish(event) if trusted else ""
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        if _known(event) is None:
            raise
        return  # the same id from another address, at the same moment: one of them is kept
    if row.opted == "out":
        _opt_out(row)
    elif row.opted == "in":
        _opt_in(row)
    emit(
        DomainEvent(
            tenant_id=row.tenant_id,
            type="message.received",
            object=public_object(row),
            object_type=OBJECT_TYPE,
            object_id=row.pk,
            key=_signed_key(row) if again else row.pk,
        )
    )


def erase(event: MessageReceived) -> None:
    """Empty the message that came with this report: its text, the sender's name, what the files are; and have what was told of
    it erased. That it came from his address, and what it did to his wishes, stays."""
    tenant = Tenant.objects.get(pk=event.tenant_id)
    row = _known(event)
    if not event.provider_ref:  # known by what it says alone
        mine = InboundMessage.unscoped.filter(tenant_id=event.tenant_id, provider=event.provider, provider_ref="")
        to, text = _clean(event.to, 512), _clean(event.text)
        same = mine.filter(channel=event.channel, address=_address(event, tenant), to=to, text=text)
        row = same.select_for_update().first()
    if row is None:
        return
    row.text, row.name, row.media = "", "", []
    row.save(update_fields=["text", "name", "media"])
    for key in (row.pk, _signed_key(row)):
        emit(FactErased(tenant_id=row.tenant_id, type="message.received", key=key))


def _signed_key(row: InboundMessage) -> str:
    """Return the event's key where the message was told of before, unsigned."""
    return f"{row.pk}:signed"


def public_object(row: InboundMessage) -> dict[str, Any]:
    """Return a message as events and the API show it. Files are named by their place: what the provider calls them may be an
    address with an account's id in it."""
    return {
        "id": row.pk,
        "channel": row.channel,
        "provider": row.provider,
        "config": row.config_id,
        "provider_ref": row.provider_ref,
        "from": row.address,
        "to": row.to,
        "name": row.name,
        "text": row.text,
        "media": [{"index": index, "type": each["type"]} for index, each in enumerate(row.media)],
        "opted": row.opted or None,
        "trusted": row.trusted,
        "reply_to": row.reply_to,
        "received_at": stamp(row.received_at),
    }


def _known(event: MessageReceived) -> InboundMessage | None:
    if not event.provider_ref:
        return None
    rows = InboundMessage.unscoped.filter(
        tenant_id=event.tenant_id, provider=event.provider, provider_ref=_clean(event.provider_ref, 200)
    )
    found: InboundMessage | None = rows.select_for_update().first()
    return found


def _address(event: MessageReceived, tenant: Tenant) -> str:
    """Return the sender's address as our own messages spell it; short codes, names and hidden numbers stay as they are."""
    given = _clean(event.address, 512).strip()
    if event.channel in BY_WORDS and re.fullmatch(r"\+?[0-9]{7,15}", given):
        return normalise(given, country=tenant.country) or given
    return given


def _clean(text: str, limit: int | None = None) -> str:
    """Return a text without what no database stores."""
    return text.replace("\0", "").encode("utf-8", errors="replace").decode()[:limit]


# --- stop and start


def _wish(event: MessageReceived) -> str:
    """Return `out` or `in` where the message says so: by the provider's word, else by its own."""
    if event.opt_out is not None:
        return "out" if event.opt_out else "in"
    if event.channel not in BY_WORDS:
        return ""
    word = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", event.text).casefold())
    return "out" if word in STOP_WORDS else "in" if word in START_WORDS else ""


def _opt_out(row: InboundMessage) -> None:
    """Suppress the sender. What he is on the list for already makes room, and comes back when he opts in again."""
    active = _listed(row)
    if active is not None and active.reason != SuppressReason.OPT_OUT:
        release(active, by=RECIPIENT, reason=REPLACED)
    suppress(
        tenant_id=row.tenant_id,
        channel=row.channel,
        address=row.address,
        reason=SuppressReason.OPT_OUT,
        detail=f"wrote “{' '.join(row.text.split())[:50]}”",
        source=row.provider,
    )


def _opt_in(row: InboundMessage) -> None:
    """Release the sender where he had opted out himself; a bounce or an invalid address is not cured by a wish."""
    active = _listed(row)
    if active is None or active.reason != SuppressReason.OPT_OUT:
        return
    release(active, by=RECIPIENT, reason=f"wrote “{' '.join(row.text.split())[:50]}”")
    before = _entries(row).filter(released_at__gte=active.created, release_reason=REPLACED).order_by("-id").first()
    if before is not None:
        suppress(
            tenant_id=row.tenant_id,
            channel=row.channel,
            address=row.address,
            reason=before.reason,
            detail=before.detail,
            source=before.source,
        )


def _entries(row: InboundMessage) -> Any:
    return Suppression.unscoped.filter(tenant_id=row.tenant_id, channel=row.channel, address=fold(row.channel, row.address))


def _listed(row: InboundMessage) -> Suppression | None:
    found: Suppression | None = _entries(row).filter(released_at__isnull=True).select_for_update().first()
    return found


# --- answering, and what came along


def reply(*, row: InboundMessage, text: str, created_by: str = "") -> Message:
    """Answer on the same channel and account, in the caller's transaction where there is one.

    Raises `InvalidRequest` (attr `text`, or `to` for an address that can't be written to), `OutsideWindow`, `NotConfigured`,
    `UnsupportedOperation` for channels that can't be answered.
    """
    about = (OBJECT_TYPE, row.pk)
    if row.channel == Channel.WHATSAPP:
        return whatsapps.send_whatsapp(
            tenant=row.tenant,
            to=[row.address],
            words=whatsapps.Words(text=text),
            reply_to=row.provider_ref,
            provider=row.provider,
            config_id=row.config_id,
            reference=about,
            created_by=created_by,
        )
    if row.channel != Channel.SMS:
        raise UnsupportedOperation("Messages of this channel can't be answered here.", provider=row.provider)
    try:
        return send_sms(
            tenant=row.tenant,
            to=[row.address],
            message=text,
            # From the number that was written to: an answer from another one belongs to no conversation.
            sender=row.to if len(row.to) <= 20 else "",
            provider=row.provider,
            config_id=row.config_id,
            reference=about,
            created_by=created_by,
        )
    except InvalidRequest as error:
        error.attr = "text" if error.attr == "message" else error.attr
        raise


def fetch_file(row: InboundMessage, index: int) -> Media:
    """Ask the provider for a file that came with the message. Called outside of any transaction.

    Raises `NotFound`, `UnsupportedOperation` where files can't be fetched or are larger than `LARGEST_FILE`, and as any call.
    """
    if not 0 <= index < len(row.media):
        raise NotFound("There is no such file.", provider=row.provider)
    call = Call(
        _fetching(row),
        "fetch_media",
        (str(row.media[index]["id"]),),
        config_id=row.config_id,
        provider=row.provider,
        reference=(OBJECT_TYPE, row.pk),
        in_flight=True,
    )
    found: Media = execute(call, tenant_id=row.tenant_id)
    if len(found.content) > LARGEST_FILE:
        raise UnsupportedOperation("The file is larger than 20 MiB.", provider=row.provider)
    return found


def _fetching(row: InboundMessage) -> Capability:
    """Return the capability whose adapter fetches files: the channel's own, else another of the same provider."""
    try:
        provider = get_provider(row.provider)
    except UnknownProvider:
        raise UnsupportedOperation("This provider is not installed any more.", provider=row.provider) from None
    own = Capability(row.channel)
    for capability in sorted(provider.adapters, key=lambda each: each is not own):
        if hasattr(provider.adapter_class(capability), "fetch_media"):
            return capability
    raise UnsupportedOperation("This provider's media can't be fetched.", provider=row.provider)
