"""The words of a message for another account or another channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media
from integrations.messaging.composing import fill, values_of
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.email.html_text import text_of
from integrations.messaging.models import Attachment, Channel, Message, MessageTemplate, Recipient
from integrations.messaging.sms.segments import count_segments
from integrations.messaging.sms.services import MAX_LENGTH
from integrations.messaging.templates import find_template
from integrations.messaging.templating import LONGEST_VALUE, MissingVariables, render

LONGEST = {Channel.SMS: MAX_LENGTH, Channel.WHATSAPP: 4096, Channel.PUSH: 1000, Channel.EMAIL: 100_000}
SUBJECT = 60
OWN_CONTENT: dict[str, dict[str, Any]] = {Channel.PUSH: {"found_by": "user"}}
TEXT_VALUE, SUBJECT_VALUE = "hub_text", "hub_subject"
"""Names of the values that hold a recipient's own words, where they are not the same for all."""


def carried_over(message: Message, recipients: Sequence[Recipient]) -> tuple[Draft, dict[int, Destination]]:
    """Return the message as another account of its channel sends it to some of its recipients, or of those who came after
    them, and {recipient: what is his own of it}."""
    draft = Draft(
        channel=message.channel,
        subject=message.subject,
        body=message.body,
        html=message.html,
        content=message.content,
        personal=message.personal,
        data=message.data,
        template_name=message.template_name,
        language=message.language,
        segments=message.segments,
        encoding=message.encoding,
        override_reason=message.override_reason,
        attachments=tuple(
            Media(each.filename, each.content_type, bytes(each.content), each.url, each.content_id)
            for each in Attachment.unscoped.filter(message=message).order_by("id")
        ),
    )
    return draft, {each.pk: Destination("", data=each.data, envelope=each.envelope, role=each.role) for each in recipients}


def reworded(message: Message, recipients: Sequence[Recipient], channel: Channel) -> tuple[Draft, dict[int, Destination]]:
    """Return the message for another channel: by that channel's template of the same name where there is one, else its own
    words. Raises `InvalidRequest` where it has none (a template at the provider)."""
    template = _template(message, channel)
    words = {each.pk: _words(message, each, channel, template) for each in recipients}
    if not all(text for _subject, text, _html in words.values()):
        raise InvalidRequest("It has no words of its own that this channel could carry.", attr="message")
    same = len(set(words.values())) == 1
    subject, body, html = next(iter(words.values()))
    if not same:
        subject = f"{{{{ {SUBJECT_VALUE} }}}}" if subject else ""
        body, html = f"{{{{ {TEXT_VALUE} }}}}", ""
    parts = [count_segments(text) for _subject, text, _html in words.values()] if channel == Channel.SMS else []
    most = max(parts, key=lambda each: each.count, default=None)
    draft = Draft(
        channel=channel,
        subject=subject,
        body=body,
        html=html,
        personal=not same,
        template_name=template.name if template is not None else "",
        language=message.language,
        segments=most.count if most else 0,
        encoding=most.encoding if most else "",
        content=OWN_CONTENT.get(channel, {}),
    )
    own = {}
    for number, each in enumerate(recipients):
        data = dict(each.data)
        if not same:
            his_subject, his_text, _html = words[each.pk]
            data |= {TEXT_VALUE: _shortened(his_text, LONGEST_VALUE), SUBJECT_VALUE: his_subject}
        # On the way back to e-mail the letter's number says which words were his.
        mail = channel == Channel.EMAIL
        own[each.pk] = Destination("", data=data, envelope=number if mail else each.envelope, role="to" if mail else "")
    return draft, own


def _template(message: Message, channel: Channel) -> MessageTemplate | None:
    if not message.template_name:
        return None
    try:
        return find_template(tenant=message.tenant, channel=channel, name=message.template_name, language=message.language)
    except InvalidRequest:
        return None


def _words(message: Message, recipient: Recipient, channel: Channel, template: MessageTemplate | None) -> tuple[str, str, str]:
    """Return (subject, text, html) as the recipient gets them on the channel."""
    if template is not None:
        values = values_of(message, recipient)
        try:
            made = render(template.subject, values), render(template.body, values), render(template.html, values, html=True)
        except MissingVariables:
            pass  # its own words are whole
        else:
            return made[0] or _subject_of("", made[1], channel), _shortened(made[1], LONGEST[channel]), made[2]
    own = (message.content.get("envelopes") or {}).get(str(recipient.envelope)) or {}
    filled = fill(message, recipient)
    text = (filled.body or (text_of(filled.html) if filled.html else "")).strip()
    subject = str(own.get("subject") or "")
    if message.personal:
        subject = render(subject, values_of(message, recipient))
    subject = subject or filled.subject
    if message.channel == Channel.PUSH and channel not in {Channel.PUSH, Channel.EMAIL}:
        text = "\n".join(filter(None, (subject, text)))
    return _subject_of(subject, text, channel), _shortened(text or subject, LONGEST[channel]), ""


def _subject_of(subject: str, text: str, channel: Channel) -> str:
    """Return a subject for channels that have one: the message's own, else the beginning of its first line."""
    if channel not in {Channel.EMAIL, Channel.PUSH}:
        return ""
    return subject or _shortened(text.strip().partition("\n")[0].strip(), SUBJECT)


def _shortened(text: str, limit: int) -> str:
    # Three full stops: the one character for them would double the price of a text message.
    return text if len(text) <= limit else f"{text[: limit - 3].rstrip()}..."
