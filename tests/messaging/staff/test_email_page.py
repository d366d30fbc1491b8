"""Writing an e-mail: what is cleaned, what is refused, attachments that outlive a mistake, lists with personal fields."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from integrations.contracts.messaging import Media
from integrations.messaging.models import Attachment, Message, MessageTemplate, Recipient, RecipientList
from integrations.messaging.staff import writing
from integrations.messaging.staff.attaching import token_of
from integrations.messaging.staff.keeping import MOST
from integrations.models import Tenant
from tests.factories import make_config
from tests.messaging.staff.conftest import confirmed, email, to_list

pytestmark = pytest.mark.django_db
FROM = {"sender": "office@springfield.test"}
EVIL = (
    '<img src=x onerror="alert(1)"><script>alert(2)</script><a href="javascript:alert(3)">x</a>'
    '<form action="/x"><input></form><b>Hello</b>'
)


def messages(tenant: Tenant) -> list[Message]:
    return list(Message.unscoped.filter(tenant=tenant).order_by("created", "pk"))


def files_of(message: Message) -> list[tuple[str, bytes]]:
    rows = Attachment.unscoped.filter(message=message).order_by("id")
    return [(row.filename, bytes(row.content)) for row in rows]


def file(name: str = "dates.txt", content: bytes = b"1 May") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, "text/plain")


def token(name: str = "dates.txt", content: bytes = b"1 May") -> str:
    return token_of(Media(name, "text/plain", content=content))


def page_of(answer: Any) -> str:
    return str(answer.content.decode())


def test_one_recipient_goes_out_at_once(jane: Client, office: Tenant) -> None:
    answer = jane.post("/staff/email/", email(**FROM, attachments=[file(), file("more.txt", b"x")]))
    (message,) = messages(office)
    assert (answer.status_code, answer["Location"]) == (302, f"/staff/messages/{message.pk}/")
    assert (message.subject, message.sender, message.body) == ("Term dates", FROM["sender"], "School is closed tomorrow.")
    assert message.html == "<div>School is <strong>closed</strong> tomorrow.</div>"
    assert files_of(message) == [("dates.txt", b"1 May"), ("more.txt", b"x")]


def test_copies_are_recipients_in_their_roles(jane: Client, office: Tenant) -> None:
    given = email(**FROM, to='"Doe, Jane" <jane@example.com>', cc="ben@example.com", bcc="head@example.com")
    answer = jane.post("/staff/email/", given)
    assert "Send this to 3 recipients?" in page_of(jane.get(answer["Location"]))
    assert messages(office) == []
    confirmed(jane, answer["Location"])
    (message,) = messages(office)
    rows = Recipient.unscoped.filter(message=message).values_list("address", "name", "role").order_by("id")
    assert list(rows) == [
        ("jane@example.com", "Doe, Jane", "to"),
        ("ben@example.com", "", "cc"),
        ("head@example.com", "", "bcc"),
    ]


def test_what_is_typed_is_cleaned_before_it_is_shown_or_sent(jane: Client, office: Tenant) -> None:
    for shown in (
        page_of(jane.post("/staff/email/preview/", email(html=EVIL, subject="<script>alert(4)</script>"))),
        page_of(jane.post("/staff/email/", email(html=EVIL, subject="<script>alert(4)</script>", action="preview"))),
    ):
        frame = shown.split("<iframe")[1].split("</iframe>")[0]
        assert 'sandbox=""' in frame
        assert "&lt;b&gt;Hello&lt;/b&gt;" in frame
        for bad in ("onerror", "script&gt;alert", "javascript:", "&lt;form"):
            assert bad not in frame
        assert "<script>alert" not in shown
    jane.post("/staff/email/", email(html=EVIL, **FROM))
    (message,) = messages(office)
    assert "<b>Hello</b>" in message.html
    for bad in ("onerror", "<script", "javascript:", "<form"):
        assert bad not in message.html


def test_message_page_shows_foreign_html_in_a_cage(jane: Client, office: Tenant) -> None:
    jane.post("/staff/email/", email(**FROM))
    (message,) = messages(office)
    Message.unscoped.filter(pk=message.pk).update(html=f"{EVIL}{'x' * 300_000}")
    assert "onerror" not in page_of(jane.get(f"/staff/messages/{message.pk}/"))
    Message.unscoped.filter(pk=message.pk).update(html=EVIL)
    shown = page_of(jane.get(f"/staff/messages/{message.pk}/"))
    assert 'sandbox=""' in shown
    assert "onerror" not in shown


def test_longest_plain_text_goes_out(jane: Client, office: Tenant) -> None:
    jane.post("/staff/email/", email(**FROM, html="", plain='"' * 30_000))
    (message,) = messages(office)
    assert message.body == '"' * 30_000


def test_plain_text_is_no_markup(jane: Client, office: Tenant) -> None:
    jane.post("/staff/email/", email(**FROM, html="", plain="2 < 3\n\n<b>Hello</b>"))
    (message,) = messages(office)
    assert message.html == "<p>2 &lt; 3</p>\n\n<p>&lt;b&gt;Hello&lt;/b&gt;</p>"
    assert message.body.split() == ["2", "<", "3", "<b>Hello</b>"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"to": ""}, "id_to", "Write at least one recipient"),
        ({"to": "jane"}, "id_to", "read: jane"),
        ({"cc": "x@"}, "id_cc", "read: x@"),
        ({"subject": ""}, "id_subject", "This field is required"),
        ({"subject": "a\nBcc: b@example.com"}, "id_subject", "Not sent yet"),
        ({"html": ""}, "id_html", "no text"),
        ({"html": "<div><br></div>"}, "id_html", "no text"),
        ({"html": "x" * 200_001}, "id_html", "at most 200000"),
        ({"html": "x" + " " * 200_000}, "id_html", "at most 200000"),
        ({"plain": '"' * 30_001}, "id_plain", "at most 30000"),
        ({"html": "Dear {{ name }}"}, "id_html", "by real words"),
        ({"sender": "nobody"}, "id_sender", "valid email"),
        ({"sender": ""}, "id_sender", "name the sender"),
        ({"to": "a@example.com", "cc": "a@example.com", "bcc": ""}, "id_to", "once"),
    ],
)
def test_mistakes_stand_by_their_field_and_nothing_is_sent(
    change: dict[str, str], field: str, words: str, jane: Client, office: Tenant
) -> None:
    answer = jane.post("/staff/email/", email(**{**FROM, **change}))
    if answer.status_code == 302:
        answer = confirmed(jane, answer["Location"])
    shown = page_of(answer)
    assert answer.status_code == 400
    assert field in shown
    assert words in shown
    assert messages(office) == []


def test_attachments_outlive_a_mistake_and_the_confirmation(jane: Client, office: Tenant) -> None:
    given = email(**FROM, to="a@example.com, b@example.com", subject="", attachments=[file(), file("wrong.txt")])
    shown = page_of(jane.post("/staff/email/", given))
    assert "dates.txt" in shown
    assert "wrong.txt" in shown
    corrected = {
        **given,
        "subject": "Now with one",
        "remove_file": token("wrong.txt"),
        "attachments": [file("third.txt", b"3")],
    }
    answer = jane.post("/staff/email/", corrected)
    confirm = page_of(jane.get(answer["Location"]))
    assert "dates.txt, third.txt" in confirm
    confirmed(jane, answer["Location"])
    (message,) = messages(office)
    assert files_of(message) == [("dates.txt", b"1 May"), ("third.txt", b"3")]


def test_too_much_is_said_by_its_field(jane: Client, office: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "attachment_limit", lambda tenant: 10)
    answer = jane.post("/staff/email/", email(**FROM, attachments=[file(content=b"x" * 6), file("b.txt", b"x" * 6)]))
    assert answer.status_code == 400
    assert "at most" in page_of(answer)
    assert messages(office) == []


def test_limit_is_that_of_the_account(office: Tenant, other_tenant: Tenant) -> None:
    assert writing.attachment_limit(office) > writing.attachment_limit(other_tenant)


def test_what_nobody_confirms_goes_by_itself(jane: Client, office: Tenant) -> None:
    for number in range(MOST + 3):
        jane.post("/staff/email/", email(**FROM, to="a@example.com, b@example.com", subject=f"Number {number}"))
    assert Session.objects.count() == 1 + MOST
    assert messages(office) == []


def test_template_fills_in_subject_and_text(jane: Client, office: Tenant) -> None:
    row = MessageTemplate.unscoped.create(
        tenant=office, channel="email", name="fees", subject="Fees", body="Please pay.", html="<p>Please <b>pay</b>.</p>"
    )
    shown = page_of(jane.post("/staff/email/", email(template=str(row.pk), action="template")))
    assert 'value="Fees"' in shown
    assert "&lt;p&gt;Please &lt;b&gt;pay&lt;/b&gt;.&lt;/p&gt;" in shown
    assert "Please pay.</textarea>" in shown


def test_list_with_personal_fields_and_a_file(other_tenant: Tenant, at_desk: Any) -> None:
    make_config(other_tenant, "smtp")
    client = at_desk(tenant=other_tenant)
    rows = SimpleUploadedFile("parents.csv", b"Parent,Mail\nAmina,amina@example.com\nBen,nothing\n", "text/csv")
    given = email(to="", subject="Dear {{ parent }}", html="<p>Hello {{ parent }}!</p>", file=rows, attachments=[file()])
    answer = client.post("/staff/email/", {**given, "for": other_tenant.slug})
    shown = page_of(client.get(answer["Location"]))
    for words in ("Ready for 1 recipient", "Dear Amina", "Hello Amina!", "nothing"):
        assert words in shown
    sent = to_list(client, answer["Location"], address="Mail", name="Parent")
    (message,) = messages(other_tenant)
    assert sent["Location"] == f"/staff/messages/{message.pk}/"
    assert (message.personal, message.expected, message.html) == (True, 1, "<p>Hello {{ parent }}!</p>")
    assert message.recipient_list_id == RecipientList.unscoped.get(tenant=other_tenant).pk
    assert files_of(message) == [("dates.txt", b"1 May")]
