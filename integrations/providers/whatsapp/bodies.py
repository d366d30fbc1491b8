"""What a message looks like on the wire, and the checks that need no call. No network here.

Limits: text 4096 characters; caption 1024 (unconfirmed); image 5 MB, audio and video 16 MB, document 100 MB, sticker 500 kB
(unconfirmed).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media
from integrations.contracts.whatsapp import TemplateUse, WhatsAppMessage

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
REF_LIMIT = 512
MEGABYTE = 1024 * 1024
SIZE_LIMITS = {
    "image": 5 * MEGABYTE,
    "audio": 16 * MEGABYTE,
    "video": 16 * MEGABYTE,
    "document": 100 * MEGABYTE,
    "sticker": 500 * 1024,
}
CAPTIONED = frozenset({"image", "video", "document"})
HEADER_KINDS = frozenset({"image", "video", "document"})
KINDS = {"image/jpeg": "image", "image/png": "image", "image/webp": "sticker", "video/mp4": "video", "video/3gpp": "video"}


def kind_of(media: Media) -> str:
    """Return Meta's name for this sort of file; whatever it shows in no other way goes as a document."""
    content_type = media.content_type.partition(";")[0].strip().lower()
    return KINDS.get(content_type) or ("audio" if content_type.startswith("audio/") else "document")


def check(message: WhatsAppMessage, own_number_id: str, provider: str) -> None:
    """Raise `InvalidRequest` naming what is wrong with a message."""

    def refuse(text: str, attr: str) -> None:
        raise InvalidRequest(text, provider=provider, attr=attr)

    if not re.fullmatch(r"\+[1-9][0-9]{6,14}", message.target.address):
        refuse(f"Not an E.164 number: {message.target.address[:40]}", "to")
    if message.sender not in ("", own_number_id):
        # Reports of another number would be refused: they belong to the config that has it.
        refuse("This config sends from one phone number, named by its ID.", "from")
    if len(message.target.ref) > REF_LIMIT:
        refuse(f"The reference is at most {REF_LIMIT} characters.", "ref")
    if message.template is not None and (message.text or message.media is not None):
        refuse("A template goes without text and file.", "template")
    if message.template is not None:
        _check_template(message.template, provider)
    elif message.media is not None:
        _check_media(message.media, message.text, provider)
    elif not message.text.strip():
        refuse("The message is empty.", "message")
    elif len(message.text) > TEXT_LIMIT:
        refuse(f"A text is at most {TEXT_LIMIT} characters.", "message")


def _check_template(template: TemplateUse, provider: str) -> None:
    if not re.fullmatch(r"[a-z0-9_]{1,512}", template.name):
        raise InvalidRequest("A template's name is small letters, digits and underscores.", provider=provider, attr="template")
    if not re.fullmatch(r"[a-z]{2,3}(_[A-Za-z]{2,4})?", template.language):
        raise InvalidRequest("A template needs its language, as en or en_US.", provider=provider, attr="template")
    if template.header and template.header_media is not None:
        raise InvalidRequest("A header is text or a file, not both.", provider=provider, attr="template")
    if any(not 0 <= index <= 9 for index in template.buttons):
        raise InvalidRequest("Buttons are numbered from 0 to 9.", provider=provider, attr="template")
    if template.header_media is not None:
        if kind_of(template.header_media) not in HEADER_KINDS:
            raise InvalidRequest("A header is an image, a video or a document.", provider=provider, attr="template")
        _check_media(template.header_media, "", provider)


def _check_media(media: Media, caption: str, provider: str) -> None:
    kind = kind_of(media)
    if bool(media.content) == bool(media.url):
        raise InvalidRequest("A file has either its content or an address.", provider=provider, attr="media")
    if media.url and not re.fullmatch(r"https?://[\x21-\x7e]{1,1990}", media.url):
        raise InvalidRequest("The file's address is no web address.", provider=provider, attr="media")
    if len(media.content) > SIZE_LIMITS[kind]:
        limit = SIZE_LIMITS[kind] // 1024
        raise InvalidRequest(f"A file of this kind ({kind}) is at most {limit} kB.", provider=provider, attr="media")
    if caption and kind not in CAPTIONED:
        raise InvalidRequest(f"A file of this kind ({kind}) takes no text.", provider=provider, attr="message")
    if len(caption) > CAPTION_LIMIT:
        raise InvalidRequest(f"A file's text is at most {CAPTION_LIMIT} characters.", provider=provider, attr="message")


def body_of(message: WhatsAppMessage, uploaded: str) -> dict[str, Any]:
    """Return the request body of a checked message. `uploaded` is the id of its file where that had to be uploaded."""
    body: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.target.address,
    }
    if message.reply_to:
        body["context"] = {"message_id": message.reply_to}
    if message.template is not None:
        body |= {"type": "template", "template": _template(message.template, uploaded)}
    elif message.media is not None:
        kind = kind_of(message.media)
        body |= {"type": kind, kind: _file(message.media, uploaded, message.text)}
    else:
        body |= {"type": "text", "text": {"body": message.text, "preview_url": False}}
    if message.target.ref:
        body["biz_opaque_callback_data"] = message.target.ref
    return body


def _file(media: Media, uploaded: str, caption: str = "") -> dict[str, str]:
    found = {"id": uploaded} if uploaded else {"link": media.url}
    if caption:
        found["caption"] = caption
    if kind_of(media) == "document" and media.filename:
        found["filename"] = media.filename
    return found


def _template(template: TemplateUse, uploaded: str) -> dict[str, Any]:
    components: list[dict[str, Any]] = []
    if template.header_media is not None:
        kind = kind_of(template.header_media)
        file = _file(template.header_media, uploaded)
        components.append({"type": "header", "parameters": [{"type": kind, kind: file}]})
    elif template.header:
        components.append({"type": "header", "parameters": _texts(template.header)})
    if template.body:
        components.append({"type": "body", "parameters": _texts(template.body)})
    for index, value in sorted(template.buttons.items()):
        components.append({"type": "button", "sub_type": "url", "index": str(index), "parameters": _texts((value,))})
    found: dict[str, Any] = {"name": template.name, "language": {"code": template.language}}
    return {**found, "components": components} if components else found


def _texts(values: tuple[str, ...]) -> list[Mapping[str, str]]:
    return [{"type": "text", "text": value} for value in values]
