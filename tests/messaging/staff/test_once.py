"""What was written goes out once, with the files that the page showed, whatever is clicked twice or gone back to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from integrations.messaging.models import Attachment, Message, MessageCategory, MessageTemplate, Preference, Recipient
from integrations.messaging.staff import writing
from integrations.messaging.staff.keeping import PLACE
from integrations.models import Tenant
from tests.factories import MovableClock
from tests.messaging.staff.conftest import confirmed, email, hidden, sms, to_list

pytestmark = pytest.mark.django_db
FROM = {"sender": "office@springfield.test"}


def sent(tenant: Tenant) -> list[list[str]]:
    """The names of the files of each message."""
    rows = Message.unscoped.filter(tenant=tenant).order_by("created", "id")
    return [
        list(Attachment.unscoped.filter(message=each).order_by("filename").values_list("filename", flat=True)) for each in rows
    ]


def file(name: str = "dates.txt", content: bytes = b"1 May") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, "text/plain")


def page_of(answer: Any) -> str:
    return str(answer.content.decode())


def test_attachment_sent_twice_is_one_message(jane: Client, office: Tenant) -> None:
    given = email(**FROM)
    first, second = (jane.post("/staff/email/", {**given, "attachments": [file(), file("b.txt")]}) for _ in range(2))
    assert first["Location"] == second["Location"]
    # Back, with the files forgotten by the browser; then in another order.
    third = jane.post("/staff/email/", given)
    fourth = jane.post("/staff/email/", {**given, "attachments": [file("b.txt"), file(), file()]})
    assert first["Location"] == third["Location"] == fourth["Location"]
    assert sent(office) == [["b.txt", "dates.txt"]]


def test_file_taken_out_and_sent_twice_is_one_message(jane: Client, office: Tenant) -> None:
    given = email(**FROM)
    names = ("a.txt", "b.txt", "c.txt")
    shown = page_of(jane.post("/staff/email/", {**given, "action": "preview", "attachments": [file(each) for each in names]}))
    tokens = [each.split('"')[0] for each in shown.split('name="has_file" value="')[1:]]
    without = {**given, "has_file": tokens, "remove_file": tokens[0]}
    assert jane.post("/staff/email/", without)["Location"] == jane.post("/staff/email/", without)["Location"]
    assert sent(office) == [["b.txt", "c.txt"]]


def test_the_same_form_again_answers_with_its_message_although_nothing_is_kept_any_more(jane: Client, office: Tenant) -> None:
    given = email(**FROM)
    first = jane.post("/staff/email/", {**given, "attachments": [file()]})
    session = jane.session
    session[PLACE] = {}
    session.save()
    assert jane.post("/staff/email/", given)["Location"] == first["Location"]
    assert jane.post("/staff/email/", {**given, "subject": "Another"}).status_code == 302
    assert sent(office) == [["dates.txt"], []]


def test_other_files_are_another_message(jane: Client, office: Tenant) -> None:
    given = email(**FROM)
    jane.post("/staff/email/", {**given, "attachments": [file()]})
    jane.post("/staff/email/", {**given, "attachments": [file("b.txt")]})
    shown = page_of(jane.post("/staff/email/", {**given, "action": "preview"}))
    jane.post("/staff/email/", {**given, "action": "preview", "remove_file": hidden(shown, "has_file")})
    jane.post("/staff/email/", given)
    assert sent(office) == [["dates.txt"], ["b.txt", "dates.txt"], ["b.txt"]]


def test_too_large_a_file_is_said_also_after_sending(jane: Client, office: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "attachment_limit", lambda tenant: 10)
    given = email(**FROM)
    jane.post("/staff/email/", {**given, "attachments": [file()]})
    answer = jane.post("/staff/email/", {**given, "attachments": [file("b.txt", b"x" * 8)]})
    assert answer.status_code == 400
    assert "at most" in page_of(answer)
    assert sent(office) == [["dates.txt"]]


@pytest.mark.parametrize("goes_meanwhile", [False, True])
def test_what_is_kept_stays_in_its_place(
    goes_meanwhile: bool, jane: Client, office: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = email(**FROM)
    jane.post("/staff/email/", {**given, "action": "preview", "attachments": [file()]})
    place = jane.session[PLACE][given["id"]]
    if goes_meanwhile:

        def save(store: SessionStore, must_create: bool = False) -> None:
            if store.session_key == place:
                raise UpdateError
            whole(store, must_create)

        whole = SessionStore.save
        monkeypatch.setattr(SessionStore, "save", save)
    shown = page_of(jane.post("/staff/email/", {**given, "action": "preview", "attachments": [file("b.txt")]}))
    assert ("dates.txt" in shown, "b.txt" in shown) == (True, True)
    # A second click that has read the old place finds the files there.
    assert (jane.session[PLACE][given["id"]] == place) == (not goes_meanwhile)
    jane.post("/staff/email/", given)
    assert sent(office) == [["b.txt", "dates.txt"]]


def test_files_that_are_not_kept_any_more_are_missed(jane: Client, office: Tenant) -> None:
    given = email(**FROM)
    shown = page_of(jane.post("/staff/email/", {**given, "action": "preview", "attachments": [file()]}))
    session = jane.session
    session[PLACE] = {}
    session.save()
    again = {**given, "has_file": hidden(shown, "has_file")}
    answer = jane.post("/staff/email/", again)
    assert answer.status_code == 400
    assert "not kept any more" in page_of(answer)
    assert sent(office) == []
    jane.post("/staff/email/", {**again, "attachments": [file()]})
    assert sent(office) == [["dates.txt"]]


def test_removed_file_stays_removed_beside_a_mistake(jane: Client, office: Tenant) -> None:
    given = email(**FROM)
    shown = page_of(jane.post("/staff/email/", {**given, "action": "preview", "attachments": [file()]}))
    wrong = page_of(jane.post("/staff/email/", {**given, "subject": "", "remove_file": hidden(shown, "has_file")}))
    assert "dates.txt" not in wrong
    jane.post("/staff/email/", given)
    assert sent(office) == [[]]


def test_files_stay_when_a_template_is_used_without_scripts(jane: Client, office: Tenant) -> None:
    row = MessageTemplate.unscoped.create(tenant=office, channel="email", name="fees", subject="Fees", body="Pay", html="")
    given = email(**FROM, template=str(row.pk))
    jane.post("/staff/email/", {**given, "action": "preview", "attachments": [file()]})
    shown = page_of(jane.post("/staff/email/", {**given, "action": "template", "attachments": [file("new.txt")]}))
    assert ("dates.txt" in shown, "new.txt" in shown, 'value="Fees"' in shown) == (True, True, True)
    jane.post("/staff/email/", given)
    assert sent(office) == [["dates.txt", "new.txt"]]


def test_unreadable_list_is_said_when_a_template_is_used(jane: Client, office: Tenant) -> None:
    MessageTemplate.unscoped.create(tenant=office, channel="sms", name="fees", body="Pay")
    answer = jane.post("/staff/sms/", sms(action="template", file=SimpleUploadedFile("x.csv", b"\x00\x01\x02")))
    assert 'role="alert"' in page_of(answer)


def test_sent_form_answers_with_its_message_when_its_time_has_come(jane: Client, office: Tenant, clock: MovableClock) -> None:
    at = (clock().astimezone(office.zone) + timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M")
    one, two = sms(when="later", send_at=at), sms(when="later", send_at=at, to="0711000001, 0711000002")
    first = jane.post("/staff/sms/", one)
    url = jane.post("/staff/sms/", two)["Location"]
    shown = page_of(jane.get(url))
    press = {"for": office.slug, "said": hidden(shown, "said")}
    second = jane.post(url, press)
    clock.advance(minutes=10)
    assert jane.post("/staff/sms/", one)["Location"] == first["Location"]
    assert jane.post("/staff/sms/", two)["Location"] == jane.post(url, press)["Location"] == second["Location"]
    assert len(sent(office)) == 2


def test_only_what_was_shown_is_confirmed(jane: Client, office: Tenant) -> None:
    given = sms(to="0711000001, 0711000002", text="Text A")
    url = jane.post("/staff/sms/", given)["Location"]
    press = {"for": office.slug, "said": hidden(page_of(jane.get(url)), "said")}
    jane.post("/staff/sms/", {**given, "to": "0711000001, 0711000002, 0711000003", "text": "Text B"})
    for stale in (press, {"for": office.slug}):
        answer = jane.post(url, stale)
        assert answer.status_code == 409
        for words in ("The text has changed, look again", "Text B", "Send this to 3 recipients?"):
            assert words in page_of(answer)
        assert sent(office) == []
    confirmed(jane, url)
    (message,) = Message.unscoped.filter(tenant=office)
    assert (message.body, Recipient.unscoped.filter(message=message).count()) == ("Text B", 3)


def upload(client: Client, **changes: Any) -> str:
    rows = SimpleUploadedFile("l.csv", b"Phone,Name\n0711000001,A\n0711000002,B\n", "text/csv")
    return str(client.post("/staff/sms/", {**sms(to="", **changes), "file": rows})["Location"])


def test_only_the_report_that_was_shown_is_sent(jane: Client, office: Tenant) -> None:
    url = upload(jane, text="Text A")
    shown = page_of(jane.get(url))
    unsent, stored = hidden(shown, "unsent"), url.split("/")[3]
    jane.post("/staff/sms/", sms(id=unsent, to="", text="Text B", upload=stored))
    answer = jane.post(
        url, {"for": office.slug, "said": hidden(shown, "said"), "unsent": unsent, "address": "Phone", "action": "send"}
    )
    assert answer.status_code == 409
    assert "The text has changed, look again" in page_of(answer)
    assert "Text B" in page_of(answer)
    assert sent(office) == []
    assert to_list(jane, url, address="Phone").status_code == 302
    assert [each.body for each in Message.unscoped.filter(tenant=office)] == ["Text B"]


def test_time_that_passes_over_the_columns_is_said(jane: Client, office: Tenant, clock: MovableClock) -> None:
    at = (clock().astimezone(office.zone) + timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M")
    url = upload(jane, when="later", send_at=at)
    shown = page_of(jane.get(url))
    press = {name: hidden(shown, name) for name in ("for", "said", "unsent")}
    clock.advance(minutes=10)
    answer = jane.post(url, {**press, "address": "Phone", "name": "Name", "action": "send"})
    assert answer.status_code == 400
    for words in ("Not sent yet", "in the past", 'action="/staff/sms/"', "l.csv"):
        assert words in page_of(answer)
    assert sent(office) == []


@pytest.mark.parametrize(("picked", "category"), [("", "bulk"), ("-", ""), ("receipts", "receipts"), ("bulk", "bulk")])
def test_list_is_an_announcement_unless_said_otherwise(picked: str, category: str, jane: Client, office: Tenant) -> None:
    MessageCategory.unscoped.create(tenant=office, name="receipts", label="Receipts of ours")
    url = upload(jane, category=picked)
    label = {"bulk": "Announcements", "": "Ordinary message", "receipts": "Receipts of ours"}[category]
    assert f"<dd>{label}</dd>" in page_of(jane.get(url))
    to_list(jane, url, address="Phone")
    assert [each.category for each in Message.unscoped.filter(tenant=office)] == [category]


def test_typed_recipients_get_an_ordinary_message(jane: Client, office: Tenant) -> None:
    Preference.unscoped.create(tenant=office, channel="sms", address="+254711000001", category="bulk", allowed=False)
    for picked in ("", "-", "bulk"):
        jane.post("/staff/sms/", sms(category=picked))
    assert [each.category for each in Message.unscoped.filter(tenant=office).order_by("created", "id")] == ["", "", "bulk"]
