"""How a message is put to its provider: one function a channel, from our rows to the contract's DTOs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings

from integrations.contracts import clock
from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.messaging import Media, Target
from integrations.contracts.push import PushNotification
from integrations.contracts.sms import SmsMessage
from integrations.contracts.whatsapp import TemplateUse, WhatsAppMessage
from integrations.messaging import reports
from integrations.messaging.composing import fill, letters, only_hidden, values_of
from integrations.messaging.models import Attachment, Channel, Message, Recipient
from integrations.messaging.safety.categories import category_of
from integrations.messaging.safety.unsubscribing import list_headers
from integrations.messaging.templating import render
from integrations.messaging.whatsapp.window import keep_window

LONGEST_TTL = 28 * 86_400
"""Seconds for which push services keep a notification for a device that is off, at most."""


def build_call(message: Message, recipients: Sequence[Recipient]) -> tuple[Any, ...]:
    """Return the arguments of the adapter's `send` for these recipients, who all get the same words (e-mail: letters)."""
    return (_BUILDERS[Channel(message.channel)](message, recipients),)


def callback_url(message: Message) -> str:
    """Return the unguessable path of the message's account, empty where the installation's account serves."""
    return "" if message.config is None else f"{settings.PUBLIC_BASE_URL}/hooks/{message.config.hook_token}"


def message_id_of(message: Message, envelope: int | str) -> str:
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
    can_unsubscribe = category_of(message.tenant_id, message.category).can_unsubscribe
    return EmailMessage(
        message_id=message.pk,
        sender=Mailbox(message.sender, str(given.get("from_name") or "")),
        envelopes=tuple(
            envelope
            for letter in letters(recipients)
            for envelope in _envelopes(message, letter, can_unsubscribe=can_unsubscribe)
        ),
        subject=message.subject,
        text=message.body,
        html=message.html,
        reply_to=tuple(Mailbox(each["address"], each.get("name", "")) for each in given.get("reply_to") or ()),
        headers=dict(given.get("headers") or {}),
        attachments=tuple(_media(each) for each in Attachment.unscoped.filter(message=message).order_by("id")),
        template_id=str(given.get("template_id") or ""),
        data=message.data if given.get("template_id") else {},
        category=message.category,
        track=bool(given.get("track")),
    )


def _envelopes(message: Message, letter: Sequence[Recipient], *, can_unsubscribe: bool) -> Iterator[Envelope]:
    """Yield one letter for those of its recipients who are (still, or again) to get it. Providers want somebody in `to`: where
    nobody is left there, those in `cc` are put there; where all are hidden from each other, each gets a copy of his own."""
    if len(letter) > 1 and only_hidden(letter):
        for each in letter:
            yield _envelope(message, [each], can_unsubscribe=can_unsubscribe)
    else:
        yield _envelope(message, letter, can_unsubscribe=can_unsubscribe)


def _envelope(message: Message, letter: Sequence[Recipient], *, can_unsubscribe: bool) -> Envelope:
    first = letter[0]
    own = (message.content.get("envelopes") or {}).get(str(first.envelope)) or {}
    subject, text, html = str(own.get("subject") or ""), "", ""
    if message.personal:
        words = fill(message, first)
        subject = render(subject, values_of(message, first)) if subject else words.subject
        text, html = words.body, words.html
    headers = dict(own.get("headers") or {})
    if len(letter) == 1 and can_unsubscribe:
        headers |= list_headers(first)
    groups = {role: [each for each in letter if (each.role or "to") == role] for role in ("to", "cc", "bcc")}
    lead = next(role for role, group in groups.items() if group)
    if lead != "to":
        groups["to"], groups[lead] = groups[lead], []
    number = f"{first.envelope}.{first.pk}" if _is_copy(first, letter) else first.envelope
    return Envelope(
        to=tuple(_target(each) for each in groups["to"]),
        cc=tuple(_target(each) for each in groups["cc"]),
        bcc=tuple(_target(each) for each in groups["bcc"]),
        message_id=message_id_of(message, number),
        subject=subject,
        text=text,
        html=html,
        # All recipients of a letter carry its values; those of hub templates are filled in already.
        data=first.data if message.content.get("template_id") else {},
        headers=headers,
    )


def _is_copy(first: Recipient, letter: Sequence[Recipient]) -> bool:
    """Tell whether this is one person's own within a shared number: it needs an id of its own, the same at every try."""
    return not first.role or only_hidden(letter)


def letter_id_of(recipient: Recipient) -> str:
    """Return the Message-ID of the letter that the recipient got at the last try."""
    number = recipient.envelope
    if not recipient.role:
        return message_id_of(recipient.message, f"{number}.{recipient.pk}")
    same = Recipient.unscoped.filter(message_id=recipient.message_id, envelope=number)
    # Hidden ones were told apart where nobody else of their letter was (still, or again) to be sent to.
    alone = recipient.role == "bcc" and not same.exclude(role="bcc").filter(state=recipient.state).exists()
    return message_id_of(recipient.message, f"{number}.{recipient.pk}" if alone else number)


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
        ttl=_seconds_to_live(message),
        urgent=bool(given.get("urgent", True)),
        device_environment=device.environment if device is not None and device.environment == "sandbox" else "",
        app=device.app if device is not None else str(given.get("app") or ""),
    )


def _seconds_to_live(message: Message) -> int | None:
    """Return how long a push service may keep what it can't deliver: as asked for, and never past the message's own end."""
    asked: int | None = message.content.get("ttl")
    if message.expires_at is None:
        return asked
    left = max(0, min(int((message.expires_at - clock.now()).total_seconds()), LONGEST_TTL))
    return left if asked is None else min(asked, left)


def _whatsapp(message: Message, recipients: Sequence[Recipient]) -> WhatsAppMessage:
    given = message.content
    recipient = recipients[0]
    keep_window(message, recipient)
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
    file = given.get("header_media")
    return TemplateUse(
        name=str(given.get("name") or ""),
        language=str(given.get("language") or ""),
        id=str(given.get("id") or ""),
        body=tuple(own if isinstance(own := recipient.data.get("body"), list) else given.get("body") or ()),
        header=tuple(given.get("header") or ()),
        header_media=Media(file.get("filename") or "", file["content_type"], url=file["url"]) if file else None,
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
