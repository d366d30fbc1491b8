"""From the hub's message to the body of `/v3/mail/send`, and the checks that spare a refusal."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media, Target
from integrations.providers.sendgrid.codes import RESERVED_HEADERS
from integrations.providers.sendgrid.notes import args_for, same_address, wire_address

DYNAMIC_TEMPLATE = "d-"
LONGEST_CATEGORY = 255


@dataclass(frozen=True, slots=True)
class Batch:
    """Envelopes that can share a request: SendGrid knows one text for all of its personalizations. `places` are theirs in the
    message."""

    text: str
    html: str
    envelopes: tuple[Envelope, ...]
    places: tuple[int, ...]


def batches(message: EmailMessage) -> list[Batch]:
    """Return the message's envelopes by what they say, in the order in which that first comes up."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, envelope in enumerate(message.envelopes):
        said = ("", "") if message.template_id else (envelope.text or message.text, envelope.html or message.html)
        found.setdefault(said, []).append(place)
    return [
        Batch(text, html, tuple(message.envelopes[place] for place in places), tuple(places))
        for (text, html), places in found.items()
    ]


def check(message: EmailMessage, *, batch_size: int, recipient_limit: int, attachment_limit: int) -> None:
    """Raise `InvalidRequest` naming the attribute for whatever SendGrid would refuse as a whole."""
    for attr, text in _problems(message, batch_size, recipient_limit, attachment_limit):
        raise InvalidRequest(text, provider="sendgrid", attr=attr)


def _problems(message: EmailMessage, batch_size: int, recipient_limit: int, attachment_limit: int) -> Iterator[tuple[str, str]]:
    if not 1 <= len(message.envelopes) <= batch_size:
        yield "to", f"Between 1 and {batch_size} envelopes."
    if len(message.recipients) > recipient_limit:
        yield "to", f"At most {recipient_limit} recipients."
    for envelope in message.envelopes:
        addresses = [same_address(target.address) for target in envelope.recipients]
        if not envelope.to:
            yield "to", "An envelope without a recipient."
        if len(set(addresses)) != len(addresses):
            yield "to", "A recipient stands twice in an envelope."
        if any(name.lower() in RESERVED_HEADERS for name in (*message.headers, *envelope.headers)):
            yield "headers", f"SendGrid sets these headers itself: {', '.join(sorted(RESERVED_HEADERS))}."
    if message.template_id:
        if not message.template_id.startswith(DYNAMIC_TEMPLATE):
            yield "template", "Only dynamic templates, whose ids begin with d-."
    else:
        if not all(envelope.subject.strip() or message.subject.strip() for envelope in message.envelopes):
            yield "subject", "The message has no subject."
        if not all(each.text.strip() or each.html.strip() for each in batches(message)):
            yield "message", "The message is empty."
    if len(message.category) > LONGEST_CATEGORY:
        yield "category", f"At most {LONGEST_CATEGORY} characters."
    if any(not each.content or not each.filename for each in message.attachments):
        yield "attachments", "SendGrid fetches no files: an attachment needs a name and its content."
    if sum(len(each.content) for each in message.attachments) > attachment_limit:
        yield "attachments", f"At most {attachment_limit} bytes of attachments."


def body(message: EmailMessage, batch: Batch, *, sandbox: bool) -> dict[str, Any]:
    """Return the JSON body that sends one batch. With `sandbox` SendGrid checks it and delivers nothing."""
    made: dict[str, Any] = {
        "personalizations": [_personalization(message, envelope) for envelope in batch.envelopes],
        "from": _mailbox(message.sender),
    }
    if len(message.reply_to) == 1:
        made["reply_to"] = _mailbox(message.reply_to[0])
    elif message.reply_to:
        made["reply_to_list"] = [_mailbox(each) for each in message.reply_to]
    if message.subject:
        made["subject"] = message.subject
    if message.template_id:
        made["template_id"] = message.template_id
    else:
        parts = (("text/plain", batch.text), ("text/html", batch.html))
        made["content"] = [{"type": kind, "value": value} for kind, value in parts if value.strip()]
    if message.category:
        made["categories"] = [message.category]
    # Said each time: where it is left out, the account's own settings hold.
    made["tracking_settings"] = {
        "click_tracking": {"enable": message.track, "enable_text": False},
        "open_tracking": {"enable": message.track},
    }
    if sandbox:
        made["mail_settings"] = {"sandbox_mode": {"enable": True}}
    if message.attachments:
        made["attachments"] = [_attachment(each) for each in message.attachments]
    return made


def _personalization(message: EmailMessage, envelope: Envelope) -> dict[str, Any]:
    made: dict[str, Any] = {"to": _targets(envelope.to)}
    if envelope.cc:
        made["cc"] = _targets(envelope.cc)
    if envelope.bcc:
        made["bcc"] = _targets(envelope.bcc)
    if envelope.subject:
        made["subject"] = envelope.subject
    headers = _headers(message, envelope)
    if headers:
        made["headers"] = headers
    args = args_for(envelope.recipients)
    if args:
        made["custom_args"] = args
    if message.template_id:
        made["dynamic_template_data"] = {**message.data, **envelope.data}
    return made


def _headers(message: EmailMessage, envelope: Envelope) -> dict[str, str]:
    """Return the envelope's headers with those of the whole message, spelt as they were last; names know no case."""
    found: dict[str, tuple[str, str]] = {}
    given = [*message.headers.items(), *envelope.headers.items()]
    if envelope.message_id:
        given.append(("Message-ID", f"<{envelope.message_id}>"))
    for name, value in given:
        found[name.lower()] = (name, value)
    return dict(found.values())


def _targets(targets: Sequence[Target]) -> list[dict[str, str]]:
    return [_address(each.address, _quoted(each.name)) for each in targets]


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    return _address(mailbox.address, mailbox.name)


def _address(address: str, name: str) -> dict[str, str]:
    made = {"email": wire_address(address)}
    return {**made, "name": name} if name else made


def _quoted(name: str) -> str:
    # SendGrid takes a comma or semicolon in a recipient's name for the end of the address and then drops the message; not so in
    # `from` and `reply_to` (sendgrid-python issue 291).
    if not set(name) & {",", ";"}:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _attachment(media: Media) -> dict[str, str]:
    made = {"content": base64.b64encode(media.content).decode("ascii"), "filename": media.filename}
    if media.content_type:
        made["type"] = media.content_type
    if media.content_id:
        return {**made, "disposition": "inline", "content_id": media.content_id}
    return {**made, "disposition": "attachment"}
