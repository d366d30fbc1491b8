"""From our message to Mailgun's form fields, and which envelopes may share one call.

One call has one subject, one text and one HTML text. What differs between recipients goes through `recipient-variables`
(documentation.mailgun.com, "Batch sending"): the note, the Message-ID, the subject and headers. Texts and a template's data
that differ go in calls of their own: whether Mailgun reads a value for variables again, or escapes it in JSON, is unconfirmed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from email.utils import formataddr
from typing import Any

from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media, Target
from integrations.providers.mailgun.calls import Part
from integrations.providers.mailgun.reading import REF, REFS, tag_of

TAG_LIMIT = 128
PARAMETER_LIMIT = 15_000
"""Bytes of all `o: h: v: t:` parameters with which our own notes still fit; Mailgun's limit is 16 KB."""

Fields = list[tuple[str, Part]]


def grouped(message: EmailMessage) -> list[list[Envelope]]:
    """Return the envelopes in calls: neighbours that may share one call stand together, all others alone."""
    groups: list[list[Envelope]] = []
    for envelope in message.envelopes:
        if groups and _shares(message, groups[-1], envelope):
            groups[-1].append(envelope)
        else:
            groups.append([envelope])
    return groups


def _shares(message: EmailMessage, group: Sequence[Envelope], envelope: Envelope) -> bool:
    first = group[0]
    if not (_is_simple(message, first) and _is_simple(message, envelope)):
        return False
    if (first.text or message.text, first.html or message.html) != (
        envelope.text or message.text,
        envelope.html or message.html,
    ):
        return False
    if _names(first.headers) != _names(envelope.headers) or bool(first.message_id) != bool(envelope.message_id):
        return False
    address = envelope.to[0].address.lower()
    return all(each.to[0].address.lower() != address for each in group)


def _is_simple(message: EmailMessage, envelope: Envelope) -> bool:
    """One recipient, and nothing of its own but values that a variable carries safely."""
    if len(envelope.to) != 1 or envelope.cc or envelope.bcc:
        return False
    if message.template_id and envelope.data:
        return False
    return all("%recipient" not in value for value in (*envelope.headers.values(), envelope.subject))


def _names(values: Mapping[str, str]) -> list[str]:
    return sorted({name.lower() for name in values})


def fields_of(message: EmailMessage, group: Sequence[Envelope], *, test_mode: bool) -> Fields:
    """Return the form of one call. Raises `InvalidRequest` for what Mailgun would mangle or drop without a word."""
    fields = _addressing(message, group)
    fields += _content(message, group)
    fields += _options(message, test_mode=test_mode)
    fields += _headers(message, group)
    fields += _notes(group, used=sum(len(name) + len(_bytes(value)) for name, value in fields if name[1:2] == ":"))
    if len(group) > 1:
        fields.append(("recipient-variables", _json(_variables(message, group))))
    for media in message.attachments:
        fields.append(_file(media))
    return fields


def _addressing(message: EmailMessage, group: Sequence[Envelope]) -> Fields:
    if not message.sender.address.isascii():
        raise InvalidRequest("Mailgun can't send from an address with letters beyond ASCII.", attr="from")
    fields: Fields = [("from", mailbox(message.sender))]
    for name in ("to", "cc", "bcc"):
        for envelope in group:
            targets: tuple[Target, ...] = getattr(envelope, name)
            fields += [(name, mailbox(Mailbox(target.address, target.name))) for target in targets]
    return fields


def _content(message: EmailMessage, group: Sequence[Envelope]) -> Fields:
    first = group[0]
    subjects = {envelope.subject or message.subject for envelope in group}
    subject = "%recipient.hub_subject%" if len(subjects) > 1 else subjects.pop()
    # A stored template may bring a subject of its own.
    fields: Fields = [("subject", subject)] if subject or not message.template_id else []
    if message.template_id:
        fields.append(("template", message.template_id))
        data = {**message.data, **first.data}
        if data:
            fields.append(("t:variables", _json(data)))
    text, html = first.text or message.text, first.html or message.html
    if text:
        fields.append(("text", text))
    # Mailgun refuses a template and an own HTML text in one call.
    if html and not message.template_id:
        fields.append(("html", html))
    return fields


def _options(message: EmailMessage, *, test_mode: bool) -> Fields:
    tracking = "yes" if message.track else "no"
    fields: Fields = [
        ("o:tracking", tracking),
        ("o:tracking-opens", tracking),
        ("o:tracking-clicks", "htmlonly" if message.track else "no"),
    ]
    tag = message.category.encode("ascii", "ignore").decode().strip()[:TAG_LIMIT]
    if tag:
        fields.append(("o:tag", tag))
    if test_mode:
        fields.append(("o:testmode", "yes"))
    return fields


def _headers(message: EmailMessage, group: Sequence[Envelope]) -> Fields:
    first = group[0]
    own: dict[str, str] = dict(first.headers)
    if len(group) > 1:
        places = {name: place for place, name in enumerate(_names(own))}
        own = {name: f"%recipient.header_{places[name.lower()]}%" for name in own}
    layers = [message.headers, own]
    if message.reply_to:
        layers.append({"Reply-To": ", ".join(mailbox(each) for each in message.reply_to)})
    if first.message_id:
        # A Message-ID for each recipient of a batch: tried on the service by the makers of Ghost (pull request 30776, 2026).
        layers.append({"Message-Id": f"<{'%recipient.hub_mid%' if len(group) > 1 else first.message_id}>"})
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        merged |= {name.lower(): (f"h:{name}", value) for name, value in layer.items()}
    return list(merged.values())


def _notes(group: Sequence[Envelope], *, used: int) -> Fields:
    """Return our notes as custom variables. Recipients can read them in the message, so hidden ones get none."""
    first = group[0]
    if len(group) > 1:
        return [(f"v:{REF}", f"%recipient.{REF}%")]
    own = first.to[0].ref if first.to else ""
    visible = (*first.to, *first.cc)
    fields: Fields = [(f"v:{REF}", own)] if own else []
    if len(first.recipients) > 1 and own:
        notes = _json({tag_of(target.address, own): target.ref for target in visible if target.ref})
        # Always there with several recipients, even empty: else all would be taken for the first.
        fields.append((f"v:{REFS}", notes if used + len(notes) < PARAMETER_LIMIT else "{}"))
    return fields


def _variables(message: EmailMessage, group: Sequence[Envelope]) -> dict[str, dict[str, str]]:
    """Return what differs, by address. Every recipient has every variable: a missing one would stay in the text."""
    return {
        envelope.to[0].address: {
            REF: envelope.to[0].ref,
            **({"hub_mid": envelope.message_id} if envelope.message_id else {}),
            "hub_subject": envelope.subject or message.subject,
            **{f"header_{_names(envelope.headers).index(name.lower())}": each for name, each in envelope.headers.items()},
        }
        for envelope in group
    }


def _file(media: Media) -> tuple[str, Part]:
    name = media.content_id or media.filename
    if not media.content or not name:
        raise InvalidRequest("An attachment needs its content and a name: Mailgun drops the others.", attr="attachments")
    # It stands in the head of the part: a line break there would begin another header.
    kind = media.content_type if media.content_type.isprintable() and media.content_type else "application/octet-stream"
    return ("inline" if media.content_id else "attachment"), (name, media.content, kind)


def mailbox(box: Mailbox) -> str:
    """Return an address with its name as a header has it; the name in ASCII, however it is written."""
    if not box.name:
        return box.address
    return f"{formataddr((box.name, 'a@b')).removesuffix('<a@b>')}<{box.address}>"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def _bytes(value: Part) -> bytes:
    return value.encode() if isinstance(value, str) else value[1]
