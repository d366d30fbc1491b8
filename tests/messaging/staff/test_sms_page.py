"""Writing a text message: what is refused, what is shown before, and that it goes out once."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from integrations.messaging.models import Message, MessageCategory, MessageTemplate, Recipient, RecipientList, SendingPolicy
from integrations.models import Role, Tenant
from tests.factories import MovableClock
from tests.messaging.staff.conftest import confirmed, sms, to_list

pytestmark = pytest.mark.django_db
Desk = Callable[..., Client]
QUOTED = "Don\N{RIGHT SINGLE QUOTATION MARK}t come \N{LEFT DOUBLE QUOTATION MARK}today\N{RIGHT DOUBLE QUOTATION MARK} "
PUPILS = "Student name,Parent phone,Balance\nAmina,0711000001,1500\nBen,0711000002,0\nNobody,12,3\nAmina,0711000001,1\n"


def messages(tenant: Tenant) -> list[Message]:
    return list(Message.unscoped.filter(tenant=tenant).order_by("created", "pk"))


def addresses(message: Message) -> list[str]:
    return list(Recipient.unscoped.filter(message=message).order_by("id").values_list("address", flat=True))


def csv(text: str = PUPILS, name: str = "pupils.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode(), "text/csv")


def page_of(answer: Any) -> str:
    return str(answer.content.decode())


def test_one_recipient_goes_out_at_once(jane: Client, office: Tenant) -> None:
    answer = jane.post("/staff/sms/", sms(sender="SCHOOL"))
    (message,) = messages(office)
    assert (answer.status_code, answer["Location"]) == (302, f"/staff/messages/{message.pk}/")
    assert (message.body, message.sender, message.created_by) == ("School is closed tomorrow.", "SCHOOL", "user jane")
    assert addresses(message) == ["+254711000001"]


def test_same_form_twice_sends_once_and_other_words_are_another_message(jane: Client, office: Tenant) -> None:
    given = sms()
    first, second = jane.post("/staff/sms/", given), jane.post("/staff/sms/", given)
    assert first["Location"] == second["Location"]
    assert len(messages(office)) == 1
    jane.post("/staff/sms/", {**given, "text": "School is open after all."})
    assert [each.body for each in messages(office)] == ["School is closed tomorrow.", "School is open after all."]


def test_several_are_confirmed_first(jane: Client, office: Tenant) -> None:
    SendingPolicy.unscoped.create(tenant=office, channel="sms", unit_cost=Decimal("0.8"), currency="KES")
    answer = jane.post("/staff/sms/", sms(to="0711000001, 0711000002\n0711000002"))
    assert messages(office) == []
    shown = page_of(jane.get(answer["Location"]))
    for words in ("Send this to 2 recipients?", "KES 1.60", "School is closed tomorrow.", "GSM-7", "+254711000002"):
        assert words in shown
    sent, again = confirmed(jane, answer["Location"]), confirmed(jane, answer["Location"])
    (message,) = messages(office)
    assert sent["Location"] == again["Location"] == f"/staff/messages/{message.pk}/"
    assert addresses(message) == ["+254711000001", "+254711000002"]


def test_going_back_brings_the_words_along(jane: Client) -> None:
    answer = jane.post("/staff/sms/", sms(to="0711000001, 0711000002", sender="SCHOOL"))
    unsent = answer["Location"].split("/")[-2]
    shown = page_of(jane.get(f"/staff/sms/?unsent={unsent}"))
    for words in ("School is closed tomorrow.", "0711000001, 0711000002", 'value="SCHOOL"', f'value="{unsent}"'):
        assert words in shown


def test_confirmation_is_the_persons_own(jane: Client, at_desk: Desk, office: Tenant) -> None:
    answer = jane.post("/staff/sms/", sms(to="0711000001, 0711000002"))
    other = at_desk(name="mary")
    assert other.get(answer["Location"]).status_code == 404
    assert other.post(answer["Location"], {"for": office.slug}).status_code == 404
    assert messages(office) == []


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"to": ""}, "id_to", "Write at least one recipient"),
        ({"to": "0711000001\nJane"}, "id_to", "read: Jane"),
        ({"text": ""}, "id_text", "This field is required"),
        ({"text": "x" * 1601}, "id_text", "at most 1600"),
        ({"text": "Dear {{ name }}"}, "id_text", "by real words"),
        ({"text": "Dear {{ name"}, "id_text", "is no variable"),
        ({"text": "a\0b"}, "id_text", "Null characters"),
        ({"sender": "x" * 21}, "id_sender", "at most 20"),
        ({"category": "nonsense"}, "id_category", "not one of the available choices"),
        ({"category": "otp"}, "id_category", "not one of the available choices"),
        ({"when": "later", "send_at": ""}, "id_send_at", "Give a date and a time"),
        ({"when": "later", "send_at": "2020-01-01T08:00"}, "id_send_at", "in the past"),
        ({"when": "soon"}, "id_when", "not one of the available choices"),
        ({"id": "../../x"}, "", "Open the form anew"),
        ({"upload": "lst_x"}, "id_file", "not there any more"),
        ({"upload": "lst_\0"}, "id_file", "not there any more"),
    ],
)
def test_mistakes_stand_by_their_field_and_nothing_is_sent(
    change: dict[str, str], field: str, words: str, jane: Client, office: Tenant
) -> None:
    answer = jane.post("/staff/sms/", sms(**change))
    shown = page_of(answer)
    assert answer.status_code == 400
    assert words in shown
    assert 'role="alert"' in shown
    assert field in shown
    assert messages(office) == []


def test_without_account_it_says_so(at_desk: Desk, other_tenant: Tenant) -> None:
    client = at_desk(tenant=other_tenant)
    answer = client.post("/staff/sms/", sms(**{"for": other_tenant.slug}))
    assert answer.status_code == 400
    assert "Not sent yet" in page_of(answer)


def test_cap_is_said_by_the_recipients(jane: Client, office: Tenant) -> None:
    SendingPolicy.unscoped.create(tenant=office, channel="sms", unit_cost=1, currency="KES", spend_cap=Decimal("0.5"))
    answer = jane.post("/staff/sms/", sms())
    assert answer.status_code == 400
    assert "is left" in page_of(answer)


def test_later_is_in_the_tenants_time(jane: Client, office: Tenant, clock: MovableClock) -> None:
    jane.post("/staff/sms/", sms(when="later", send_at="2026-11-21T08:30"))
    (message,) = messages(office)
    assert message.send_at is not None
    assert message.send_at.isoformat() == "2026-11-21T05:30:00+00:00"
    assert message.send_at - clock() > timedelta(hours=20)


def test_critical_categories_are_for_admins(jane: Client, at_desk: Desk, office: Tenant) -> None:
    MessageCategory.unscoped.create(tenant=office, name="alarm", label="Alarms", is_critical=True)
    MessageCategory.unscoped.create(tenant=office, name="news", label="School news")
    shown = page_of(jane.get("/staff/sms/"))
    assert ("School news" in shown, "Alarms" in shown, "Announcements" in shown) == (True, False, True)
    assert "Alarms" in page_of(at_desk(Role.ADMIN, name="head").get("/staff/sms/"))


def test_preview_tells_parts_characters_bad_numbers_and_cost(jane: Client, office: Tenant) -> None:
    SendingPolicy.unscoped.create(tenant=office, channel="sms", unit_cost=Decimal("0.8"), currency="KES")
    answer = jane.post("/staff/sms/preview/", sms(text=QUOTED + "x" * 60, to="0711000001\n0711000002\nJane"))
    shown = page_of(answer)
    assert answer.status_code == 200
    for words in ("UCS-2", "right single quotation mark", "left double quotation mark", "KES 3.20", "Jane", "<dd>4</dd>"):
        assert words in shown
    assert messages(office) == []


def test_preview_button_works_without_scripts(jane: Client, office: Tenant) -> None:
    answer = jane.post("/staff/sms/", sms(action="preview", to="0711000001"))
    shown = page_of(answer)
    assert answer.status_code == 200
    assert '<p class="bubble">School is closed tomorrow.</p>' in shown
    assert messages(office) == []


def test_everything_typed_is_escaped(jane: Client) -> None:
    evil = "<script>alert(1)</script>"
    for path in ("/staff/sms/", "/staff/sms/preview/"):
        shown = page_of(jane.post(path, sms(text=evil, to=f"0711000001\n{evil}", action="preview")))
        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert" in shown


def test_template_fills_in_the_text(jane: Client, office: Tenant) -> None:
    row = MessageTemplate.unscoped.create(tenant=office, channel="sms", name="fees", body="Fees of {{ name }}: {{ amount }}")
    MessageTemplate.unscoped.create(tenant=office, channel="sms", name="old", body="Old", is_active=False)
    MessageTemplate.unscoped.create(tenant=office, channel="email", name="letter", subject="Hi", body="Letter")
    shown = page_of(jane.get("/staff/sms/"))
    assert ("fees" in shown, ">old<" in shown, "letter" in shown) == (True, False, False)
    filled = page_of(jane.post("/staff/sms/", sms(template=str(row.pk), action="template", text="")))
    assert "Fees of {{ name }}: {{ amount }}</textarea>" in filled
    assert "0711000001" in filled
    jane.post("/staff/sms/", sms(template=str(row.pk), text="Fees of Ben: 5"))
    assert [each.template_name for each in messages(office)] == ["fees"]


def test_file_leads_to_the_columns_then_out(jane: Client, office: Tenant) -> None:
    text = "Dear parent of {{ student_name }}, balance {{ balance }}."
    answer = jane.post("/staff/sms/", sms(to="", text=text, file=csv()))
    stored = RecipientList.unscoped.get(tenant=office)
    assert answer.status_code == 302
    assert answer["Location"].startswith(f"/staff/lists/{stored.pk}/?unsent=")
    shown = page_of(jane.get(answer["Location"]))
    for words in ("Ready for 2 recipients", "Nobody", "Parent phone", "Dear parent of Amina, balance 1500.", "student_name"):
        assert words in shown
    assert messages(office) == []
    picked = {"address": "Parent phone", "name": "Student name"}
    sent, again = (to_list(jane, answer["Location"], **picked) for _ in range(2))
    (message,) = messages(office)
    assert sent["Location"] == again["Location"] == f"/staff/messages/{message.pk}/"
    assert (message.expected, message.personal, message.recipient_list_id) == (2, True, stored.pk)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": "Balance"}, "No row can be used"),
        ({"address": ""}, "This field is required"),
        ({"address": "Nothing"}, "not one of the available choices"),
    ],
)
def test_wrong_columns_send_nothing(change: dict[str, str], words: str, jane: Client, office: Tenant) -> None:
    answer = jane.post("/staff/sms/", sms(to="", file=csv("Phone,Balance\n0711000001,zero\n")))
    report = to_list(jane, answer["Location"], **{"address": "Phone", "name": "", **change})
    assert words in page_of(report)
    assert messages(office) == []


def test_variable_without_a_column_is_named(jane: Client, office: Tenant) -> None:
    answer = jane.post("/staff/sms/", sms(to="", text="Dear {{ surname }}", file=csv()))
    report = jane.get(answer["Location"])
    assert report.status_code == 400
    assert "surname" in page_of(report)
    assert "student_name" in page_of(report)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"Phone\n"])
def test_unreadable_file_is_said_by_its_field(content: bytes, jane: Client, office: Tenant) -> None:
    file = SimpleUploadedFile("x.csv", content, "text/csv") if content else io.BytesIO(b"")
    answer = jane.post("/staff/sms/", sms(to="", file=file))
    assert answer.status_code == 400
    assert 'class="errorlist" id="id_file_error"' in page_of(answer)
    assert messages(office) == []


def test_uploaded_list_stays_with_the_form_and_can_be_removed(jane: Client, office: Tenant) -> None:
    shown = page_of(jane.post("/staff/sms/", sms(to="", text="", file=csv())))
    stored = RecipientList.unscoped.get(tenant=office)
    assert f'name="upload" value="{stored.pk}"' in shown
    assert "pupils.csv" in shown
    removed = page_of(jane.post("/staff/sms/", sms(to="", upload=stored.pk, remove_upload="1")))
    assert "Write at least one recipient" in removed
    assert "pupils.csv" not in removed


def test_list_by_itself_shows_its_first_rows(jane: Client, office: Tenant) -> None:
    jane.post("/staff/sms/", sms(to="", text="", file=csv("Phone,Note\n0711000001,<b>x</b>\n")))
    stored = RecipientList.unscoped.get(tenant=office)
    shown = page_of(jane.get(f"/staff/lists/{stored.pk}/"))
    assert "&lt;b&gt;x&lt;/b&gt;" in shown
    assert f"/staff/sms/?upload={stored.pk}" in shown
    assert "pupils.csv" in page_of(jane.get(f"/staff/sms/?upload={stored.pk}"))
