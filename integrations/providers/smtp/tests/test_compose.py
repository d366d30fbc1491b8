"""What a mail looks like on the wire, read back with the standard library's parser."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage as MimeMessage
from typing import Any

import pytest

from integrations.contracts.email import EmailMessage, Envelope, Mailbox
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media, Target
from integrations.providers.smtp.compose import BadAddress, compose, wire_address
from integrations.providers.smtp.tests.conftest import JANE, JOE, NOW, message

LINK = "https://hub.example.org/u/" + "a1b2c3d4" * 30


def raw(given: EmailMessage, envelope: Envelope | None = None) -> bytes:
    chosen = envelope or given.envelopes[0]
    return compose(given, chosen, sender=given.sender, message_id="m1@school.example", at=NOW, provider="smtp")


def read(given: EmailMessage, envelope: Envelope | None = None) -> MimeMessage:
    # The parser hands out text as it came; this module's tests are about everything but line ends.
    found = message_from_bytes(raw(given, envelope).replace(b"\r\n", b"\n"), policy=policy.default)
    assert isinstance(found, MimeMessage)
    return found


def test_the_headers() -> None:
    envelope = Envelope(to=(Target(JANE, name="Jané Wanjikũ"),), cc=(Target(JOE),), bcc=(Target("secret@example.net"),))
    given = message(
        subject="Fees for Ümit: 1.500 €",
        reply_to=(Mailbox("bursar@school.example", "Bursar"),),
        headers={"Auto-Submitted": "auto-generated"},
    )
    found = read(given, envelope)
    assert found["From"] == "Springfield School <office@school.example>"
    assert found["To"] == f"Jané Wanjikũ <{JANE}>"
    assert (found["Cc"], found["Bcc"]) == (JOE, None)
    assert found["Reply-To"] == "Bursar <bursar@school.example>"
    assert found["Subject"] == "Fees for Ümit: 1.500 €"
    assert found["Message-ID"] == "<m1@school.example>"
    assert found["Date"] == "Sat, 21 Nov 2026 08:15:00 +0000"
    assert found["Auto-Submitted"] == "auto-generated"
    assert b"secret@example.net" not in raw(given, envelope)


def test_it_is_plain_ascii_with_crlf_and_short_lines() -> None:
    text = "grüße " * 500 + "\r\nmixed\rline\nends\n" + "x" * 3000
    wire = raw(
        message(text=text, html=f"<p>{text}</p>", attachments=(Media("ä.pdf", "application/pdf", b"\r\n.\n\x00\xff" * 99),))
    )
    assert wire.isascii()
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")
    assert max(len(line) for line in wire.split(b"\r\n")) <= 998


def test_a_long_unsubscribe_link_stays_as_it_is() -> None:
    value = f"<{LINK}>, <mailto:u+{'f' * 60}@bounce.school.example>"
    headers = {"List-Unsubscribe": value, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    wire = raw(message(headers=headers))
    assert b"=?" not in wire
    assert b"List-Unsubscribe: <https://hub.example.org/u/" in wire
    words = raw(message(headers={"X-Words": "word " * 40 + "end", "X-Umlaut": "grüße " * 30}))
    assert max(len(line) for line in words.split(b"\r\n")) <= 78
    assert read(message(headers={"X-Umlaut": "grüße " * 30 + "end"}))["X-Umlaut"] == "grüße " * 30 + "end"
    assert LINK.encode() in wire
    assert read(message(headers=headers))["List-Unsubscribe"].replace(" ", "") == value.replace(" ", "")


def test_text_html_pictures_and_attachments() -> None:
    logo = Media("logo.png", "image/png", b"\x89PNG", content_id="logo")
    receipt = Media("quittung ü.pdf", "application/pdf", b"%PDF-1.7")
    notes = Media("notes.txt", "text/plain; charset=utf-8", "Grüße".encode())
    other = Media("mail.eml", "message/rfc822", b"Subject: x\r\n\r\nbody")
    found = read(message(html='<img src="cid:logo">', attachments=(logo, receipt, notes, other)))
    assert found.get_content_type() == "multipart/mixed"
    alternative, *attached = found.iter_parts()
    assert alternative.get_content_type() == "multipart/alternative"
    text, related = alternative.iter_parts()
    assert (text.get_content_type(), related.get_content_type()) == ("text/plain", "multipart/related")
    page, picture = related.iter_parts()
    assert page.get_content() == '<img src="cid:logo">\n'
    assert (picture["Content-ID"], picture.get_content(), picture.get_content_disposition()) == ("<logo>", b"\x89PNG", "inline")
    assert [(each.get_filename(), each.get_content_type()) for each in attached] == [
        ("quittung ü.pdf", "application/pdf"),
        ("notes.txt", "text/plain"),
        ("mail.eml", "application/octet-stream"),
    ]
    assert [each.get_payload(decode=True) for each in attached] == [receipt.content, notes.content, other.content]


def test_an_envelope_adds_to_the_message_or_replaces() -> None:
    envelope = Envelope(to=(Target(JANE),), subject="Yours", text="for Jane", headers={"X-Class": "4b"})
    found = read(message(html="<p>all</p>", headers={"X-Class": "all", "X-Term": "1"}), envelope)
    assert (found["Subject"], found["X-Class"], found["X-Term"]) == ("Yours", "4b", "1")
    plain, html = found.get_body(("plain",)), found.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert (plain.get_content(), html.get_content()) == ("for Jane\n", "<p>all</p>\n")


def test_only_hidden_recipients() -> None:
    found = read(message(), Envelope(to=(), bcc=(Target(JANE),)))
    assert "undisclosed" in found["To"]
    assert JANE.encode() not in raw(message(), Envelope(to=(), bcc=(Target(JANE),)))


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"subject": "Fees\r\nBcc: thief@example.com"}, "subject"),
        ({"headers": {"X-A": "1\r\nBcc: thief@example.com"}}, "headers"),
        ({"headers": {"X-A\r\nBcc": "thief@example.com"}}, "headers"),
        ({"headers": {"Bcc": "thief@example.com"}}, "headers"),
        ({"headers": {"content-type": "text/html"}}, "headers"),
        ({"headers": {"From": "thief@example.com"}}, "headers"),
        ({"sender": Mailbox("office@school.example>, <thief@example.com")}, "from"),
    ],
)
def test_nothing_gets_into_a_header(changes: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        raw(message(**changes))
    assert caught.value.attr == attr


def test_a_name_can_not_become_a_header_or_an_address() -> None:
    evil = 'Jane"\r\nBcc: thief@example.com\x00 <x@y>, '
    found = read(message(sender=Mailbox("office@school.example", evil)), Envelope(to=(Target(JANE, name=evil),)))
    assert found["Bcc"] is None
    assert [each.addr_spec for each in found["To"].addresses] == [JANE]
    assert [each.addr_spec for each in found["From"].addresses] == ["office@school.example"]


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        (JANE, JANE),
        ("o'brien+tag@example.net", "o'brien+tag@example.net"),
        ("jane@bücher.example", "jane@xn--bcher-kva.example"),
    ],
)
def test_addresses_on_the_wire(address: str, wire: str) -> None:
    assert wire_address(address) == wire


@pytest.mark.parametrize(
    "address",
    [
        "jane", "@example.net", "jane@", "jané@example.net", "ja ne@example.net", "jane@exa mple.net", "jane\r\n@example.net",
        "jane@example.net\r\nRCPT TO:<thief@example.com>", "<jane@example.net>", "a@b@example.net", "jane@-example.net",
        "jane@exa..mple", "x" * 65 + "@example.net", "jane@" + "é" * 64 + ".example", "",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        wire_address(address)
