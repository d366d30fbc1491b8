"""Builds the text of one e-mail (RFC 5322, RFC 2045): headers, text, HTML with its pictures, attachments. All of it ASCII."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage as MimeMessage
from email.policy import SMTP, Policy
from email.utils import format_datetime
from typing import Any

from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media

LINE_LENGTH = 78
LONGEST_LINE = 998


class PlainHeader(UnstructuredHeader):
    """A header of no particular grammar, folded between words only.

    The standard library writes a word that does not fit a line as RFC 2047 encoded words, also where it is plain ASCII: mailbox
    providers then see no link in List-Unsubscribe (Python 3.11, seen 2026-11).
    """

    name: str  # set by the registry's own base class

    def fold(self, *, policy: Policy[Any]) -> str:
        text, name = str(self), self.name
        lines = [f"{name}:"]
        for word in text.split(" "):
            if lines[-1] != f"{name}:" and len(lines[-1]) + 1 + len(word) > LINE_LENGTH:
                lines.append("")
            lines[-1] += f" {word}"
        if not text.isascii() or max(len(line) for line in lines) > LONGEST_LINE or not text.strip():
            return str(super().fold(policy=policy))  # type: ignore[misc]
        return policy.linesep.join(lines) + policy.linesep


# 7bit: no server has to offer 8BITMIME for it.
POLICY = SMTP.clone(cte_type="7bit", header_factory=HeaderRegistry(default_class=PlainHeader))
OURS = frozenset(
    {"from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version", "return-path"}
)
HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")


class BadAddress(ValueError):
    """This address can't be written in plain ASCII, or is none."""


def wire_address(address: str) -> str:
    """Return an address as it stands in the SMTP conversation: an international domain in its xn-- form.

    Raises `BadAddress`; also for local parts that are not ASCII, which need SMTPUTF8 on every server of the way.
    """
    local, at, domain = address.rpartition("@")
    try:
        ascii_domain = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadAddress("the domain is none") from None
    if not local.isascii():
        raise BadAddress("the part before the @ is not plain ASCII")
    fits = at and 0 < len(local) <= 64 and 0 < len(ascii_domain) <= 253
    if not fits or not re.fullmatch(r"[^\s<>()\[\],;:\\\"\x00-\x1f\x7f@]+", local):
        raise BadAddress("this is no e-mail address")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", ascii_domain) or ".." in ascii_domain:
        raise BadAddress("the domain is none")
    return f"{local}@{ascii_domain}"


def compose(
    message: EmailMessage, envelope: Envelope, *, sender: Mailbox, message_id: str, at: datetime, provider: str
) -> bytes:
    """Return the message in wire form. Raises `InvalidRequest` where it can't be built; `attr` names the field."""
    try:
        text, html = envelope.text or message.text, envelope.html or message.html
        mime = MimeMessage(policy=POLICY)
        _address(mime, "From", [sender])
        _address(mime, "To", (Mailbox(each.address, each.name) for each in envelope.to))
        _address(mime, "Cc", (Mailbox(each.address, each.name) for each in envelope.cc))
        _address(mime, "Reply-To", message.reply_to)
        if not (envelope.to or envelope.cc):
            mime["To"] = "undisclosed-recipients:;"
        mime["Subject"] = _one_line(envelope.subject or message.subject, "subject", provider)
        mime["Date"] = format_datetime(at)
        mime["Message-ID"] = f"<{message_id}>"
        for name, value in _headers({**message.headers, **envelope.headers}, provider).items():
            mime[name] = value
        mime.set_content(text or "", subtype="plain")
        if html:
            mime.add_alternative(html, subtype="html")
        inside = [each for each in message.attachments if each.content_id and html]
        if inside:
            page = mime.get_body(("html",))
            for media in inside:
                _add(page if isinstance(page, MimeMessage) else mime, media, inside=True)
        for media in message.attachments:
            if media not in inside:
                _add(mime, media, inside=False)
        return mime.as_bytes()
    except InvalidRequest:
        raise
    except BadAddress as error:
        raise InvalidRequest(f"An address can't be used: {error}.", provider=provider, attr="from") from error
    except (ValueError, UnicodeError, LookupError) as error:
        raise InvalidRequest(f"The message can't be built: {error}", provider=provider, attr="message") from error


def _address(mime: MimeMessage, name: str, mailboxes: Iterable[Mailbox]) -> None:
    found = []
    for each in mailboxes:
        try:
            found.append(Address(_plain(each.name), addr_spec=wire_address(each.address)))
        except BadAddress:
            if name == "From":
                raise
            # This recipient alone can't be written to, and is told so; the others get their mail without him in its header.
    if found:
        mime[name] = found


def _plain(name: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def _one_line(text: str, attr: str, provider: str) -> str:
    if re.search(r"[\r\n\0]", text):
        raise InvalidRequest("A header holds a line break.", provider=provider, attr=attr)
    return text


def _headers(given: Mapping[str, str], provider: str) -> Mapping[str, str]:
    for name, value in given.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in OURS or name.lower().startswith("content-"):
            raise InvalidRequest(f"The header {name!r} can't be set.", provider=provider, attr="headers")
        _one_line(value, "headers", provider)
    return given


def _add(part: MimeMessage, media: Media, *, inside: bool) -> None:
    maintype, _, subtype = media.content_type.partition(";")[0].strip().lower().partition("/")
    # Other messages and multiparts may not be base64 (RFC 2046, 5.2.1); as plain bytes they may.
    if not re.fullmatch(r"[a-z0-9.+_-]+", subtype) or maintype not in {
        "application",
        "audio",
        "font",
        "image",
        "text",
        "video",
    }:
        maintype, subtype = "application", "octet-stream"
    filename = _plain(media.filename) or None
    if inside:
        cid = f"<{media.content_id}>"
        part.add_related(media.content, maintype, subtype, cid=cid, filename=filename, disposition="inline")
    else:
        part.add_attachment(media.content, maintype, subtype, filename=filename or "attachment")
