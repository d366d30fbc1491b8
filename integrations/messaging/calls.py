"""How a message is put to its provider: one function a channel, from our rows to the contract's DTOs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings

from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.messaging import Media, Target
from integrations.contracts.push import PushNotification
from integrations.contracts.sms import SmsMessage
from integrations.contracts.whatsapp import TemplateUse, WhatsAppMessage
from integrations.messaging import reports
from integrations.messaging.categories import category_of
from integrations.messaging.composing import fill, values_of
from integrations.messaging.models import Attachment, Channel, Message, Recipient
from integrations.messaging.unsubscribing import list_headers


def build_call(message: Message, recipients: Sequence[Recipient]) -> tuple[Any, ...]:
    """Return the arguments of the adapter's `send` for these recipients, who all get the same words (e-mail: letters)."""
    return (_BUILDERS[Channel(message.channel)](message, recipients),)


def callback_url(message: Message) -> str:
    """Return the unguessable path of the message's account, empty where the installation's account serves."""
    return "" if message.config is None else f"{settings.PUBLIC_BASE_URL}/hooks/{message.config.hook_token}"


def message_id_of(message: Message, envelope: int) -> str:
    """Return the Message-ID of one letter, without angle brackets: the same for every try."""
    domain = message.sender.rpartition("@")[2] or "localhost"
    return f"{message.pk}.{envelope}@{domain}"


def _target(recipient: Recipient) -> Target:
    return Target(recipient.address, ref=reports.note_of(recipient), name=recipient.name)


def _sms(message: Message, recipients: Sequence[Recipient]) -> SmsMessage:
    return SmsMessage(
        message_id=message.pk,
        recipients=tuple(_target(each) for each in recipients),
        text=fill(message, recipients[0]).body,
        sender=message.sender,
        callback_url=callback_url(message),
        expires_at=message.expires_at,
    )


def _email(message: Message, recipients: Sequence[Recipient]) -> EmailMessage:
    given = message.content
    by_envelope: dict[int, list[Recipient]] = {}
    for each in recipients:
        by_envelope.setdefault(each.envelope, []).append(each)
    headers = dict(given.get("headers") or {})
    return EmailMessage(
        message_id=message.pk,
        sender=Mailbox(message.sender, str(given.get("from_name") or "")),
        envelopes=tuple(_envelope(message, number, letter) for number, letter in by_envelope.items()),
        subject=message.subject,
        text=message.body,
        html=message.html,
        reply_to=tuple(Mailbox(each["address"], each.get("name", "")) for each in given.get("reply_to") or ()),
        headers=headers,
        attachments=tuple(_media(each) for each in Attachment.unscoped.filter(message=message).order_by("id")),
        template_id=str(given.get("template_id") or ""),
        data=message.data,
        category=message.category,
        track=bool(given.get("track")),
    )


def _envelope(message: Message, number: int, letter: Sequence[Recipient]) -> Envelope:
    own = (message.content.get("envelopes") or {}).get(str(number)) or {}
    first = letter[0]
    words = fill(message, first)
    alone = len(letter) == 1
    headers = dict(own.get("headers") or {})
    if alone and category_of(message.tenant_id, message.category).can_unsubscribe:
        headers |= list_headers(first)
    data = dict(own.get("data") or {})
    if alone and not message.personal:
        data |= first.data
    return Envelope(
        to=tuple(_target(each) for each in letter if each.role in ("", "to")),
        cc=tuple(_target(each) for each in letter if each.role == "cc"),
        bcc=tuple(_target(each) for each in letter if each.role == "bcc"),
        message_id=message_id_of(message, number),
        subject=own.get("subject") or (words.subject if message.personal else ""),
        text=own.get("text") or (words.body if message.personal else ""),
        html=own.get("html") or (words.html if message.personal else ""),
        data=values_of(message, first) if message.personal and not own else data,
        headers=headers,
    )


def _push(message: Message, recipients: Sequence[Recipient]) -> PushNotification:
    given = message.content
    recipient = recipients[0]
    words = fill(message, recipient)
    device = recipient.device
    topic = str(given.get("topic") or "")
    return PushNotification(
        message_id=message.pk,
        target=None if topic else _target(recipient),
        topic=topic,
        title=words.subject,
        body=words.body,
        data={str(name): str(value) for name, value in (given.get("data") or {}).items()},
        image_url=str(given.get("image_url") or ""),
        link=str(given.get("link") or ""),
        sound=str(given.get("sound") or ""),
        badge=given.get("badge"),
        # Ours where nobody named one: should an answer get lost, a second try replaces the first on the device.
        collapse_key=str(given.get("collapse_key") or message.pk),
        ttl=given.get("ttl"),
        urgent=bool(given.get("urgent", True)),
        device_environment=device.environment if device is not None and device.environment == "sandbox" else "",
        app=device.app if device is not None else str(given.get("app") or ""),
    )


def _whatsapp(message: Message, recipients: Sequence[Recipient]) -> WhatsAppMessage:
    given = message.content
    recipient = recipients[0]
    media = Attachment.unscoped.filter(message=message).order_by("id").first()
    return WhatsAppMessage(
        message_id=message.pk,
        target=_target(recipient),
        text=fill(message, recipient).body,
        template=_template(given.get("template"), recipient),
        media=None if media is None else _media(media),
        sender=message.sender,
        reply_to=str(given.get("reply_to") or ""),
        callback_url=callback_url(message),
    )


def _template(given: dict[str, Any] | None, recipient: Recipient) -> TemplateUse | None:
    if not given:
        return None
    header_media = given.get("header_media")
    return TemplateUse(
        name=str(given.get("name") or ""),
        language=str(given.get("language") or ""),
        id=str(given.get("id") or ""),
        body=tuple(recipient.data.get("body") or given.get("body") or ()),
        header=tuple(given.get("header") or ()),
        header_media=Media("", header_media["content_type"], url=header_media["url"]) if header_media else None,
        buttons={int(index): str(value) for index, value in (given.get("buttons") or {}).items()},
    )


def _media(row: Attachment) -> Media:
    return Media(row.filename, row.content_type, content=bytes(row.content), url=row.url, content_id=row.content_id)


_BUILDERS: dict[Channel, Callable[[Message, Sequence[Recipient]], Any]] = {
    Channel.SMS: _sms,
    Channel.EMAIL: _email,
    Channel.PUSH: _push,
    Channel.WHATSAPP: _whatsapp,
}
