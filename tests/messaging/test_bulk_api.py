"""Lists of recipients and messages on their way, over the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.messaging.lists.files import LARGEST_FILE
from integrations.messaging.models import Message, Preference, Recipient, RecipientList
from integrations.models import QueueItem, Role
from tests.factories import make_config, make_template
from tests.messaging.conftest import Account
from tests.messaging.test_api import BASE, client, send
from tests.messaging.test_list_files import workbook
from tests.messaging.test_lists import CLASS, expand, numbers

LISTS = f"{BASE}/recipient-lists"


def upload(api: Any, content: str | bytes = CLASS, name: str = "class.csv", **headers: str) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    return api.post(LISTS, {"file": SimpleUploadedFile(name, raw)}, format="multipart", headers=headers)


def listed(api: Any) -> str:
    return f"{LISTS}/{upload(api).json()['id']}"


def test_an_upload_says_what_it_holds(school: Account) -> None:
    api = client(school)
    answer = upload(api)
    assert answer.status_code == 201
    kept = RecipientList.objects.get()
    assert {name: answer.json()[name] for name in ("id", "filename", "columns", "rows", "variables", "guess")} == {
        "id": kept.pk,
        "filename": "class.csv",
        "columns": ["Student name", "Phone", "E-mail", "Balance"],
        "rows": 5,
        "variables": {"student_name": "Student name", "phone": "Phone", "e_mail": "E-mail", "balance": "Balance"},
        "guess": {
            "sms": {"address": "Phone", "name": "Student name", "alternatives": {"email": "E-mail"}},
            "email": {"address": "E-mail", "name": "Student name", "alternatives": {"sms": "Phone"}},
            "whatsapp": {"address": "Phone", "name": "Student name", "alternatives": {"email": "E-mail"}},
        },
    }
    assert api.get(f"{LISTS}/{kept.pk}").json() == answer.json()
    assert [each["id"] for each in api.get(LISTS).json()["results"]] == [kept.pk]
    assert upload(api, workbook(["Phone"], [254711000123.0]), "class.xlsx").json()["rows"] == 1


def test_the_same_key_and_file_is_one_list_and_another_file_another_request(school: Account) -> None:
    api = client(school)
    first = upload(api, **{"Idempotency-Key": "u"})
    again = upload(api, **{"Idempotency-Key": "u"})
    other = upload(api, CLASS.replace("Ali", "Abdi"), **{"Idempotency-Key": "u"})
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.json() == first.json()
    assert RecipientList.objects.count() == 1


@pytest.mark.parametrize("content", ["", "Phone\n", "0711000123\n", b"\x00\x01\x02", b"PK\x03\x04x"])
def test_a_bad_file_is_a_400_that_names_it(school: Account, content: str | bytes) -> None:
    answer = upload(client(school), content)
    assert answer.status_code == 400, answer.content
    assert [each["attr"] for each in answer.json()["errors"]] == ["file"]
    assert RecipientList.objects.count() == 0


def test_bodies_that_are_no_upload(school: Account) -> None:
    api = client(school)
    assert api.post(LISTS, {}, format="multipart").status_code == 400
    assert api.post(LISTS, {"file": "text"}, format="multipart").status_code == 400
    assert api.post(LISTS, {"file": "text"}, format="json").status_code == 415
    both = {"file": SimpleUploadedFile("x.csv", b"Phone\n0711000123\n"), "other": "1"}
    assert api.post(LISTS, both, format="multipart").json()["errors"][0]["attr"] == "other"
    huge = SimpleUploadedFile("x.csv", b"x" * (LARGEST_FILE + 70_000))
    assert api.post(LISTS, {"file": huge}, format="multipart").json()["errors"][0]["attr"] == "file"
    assert RecipientList.objects.count() == 0


def test_checking_reports_and_sends_nothing(school: Account) -> None:
    api = client(school)
    answer = api.post(f"{listed(api)}/check", {"channel": "sms", "message": "Dear {{ student_name }}"}, format="json")
    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "rows": 5,
        "good": 3,
        "duplicates": 1,
        "bad": 1,
        "bad_rows": [{"row": 4, "value": "12", "problem": "is no phone number"}],
        "segments": 1,
        "total_segments": 3,
        "encoding": "GSM-7",
        "unusual": [],
        "samples": [
            {"to": "+254711000123", "subject": "", "body": "Dear Jane Wanjiku"},
            {"to": "+254711000124", "subject": "", "body": "Dear Juma"},
            {"to": "+254711000125", "subject": "", "body": "Dear Ali"},
        ],
    }
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


def test_sending_is_accepted_once_and_prepared_in_the_background(school: Account) -> None:
    api = client(school)
    path, body = f"{listed(api)}/send", {"channel": "sms", "message": "Dear {{ student_name }}", "category": "notice"}
    first = api.post(path, body, format="json", headers={"Idempotency-Key": "s"})
    again = api.post(path, body, format="json", headers={"Idempotency-Key": "s"})
    assert (first.status_code, again.json()) == (202, first.json())
    assert (first.json()["status"], first.json()["expected"], first.json()["recipients"]) == ("preparing", 3, [])
    expand()
    message = Message.objects.get()
    shown = api.get(f"{BASE}/messages/{message.pk}").json()
    assert (shown["status"], shown["counts"], len(shown["recipients"])) == ("queued", {"queued": 3}, 3)


@pytest.mark.parametrize(("given", "kept"), [({}, "bulk"), ({"category": ""}, ""), ({"category": "notice"}, "notice")])
def test_a_list_is_an_announcement_unless_said_otherwise(school: Account, given: dict[str, str], kept: str) -> None:
    """Who wants no announcements gets none."""
    Preference.objects.create(tenant=school.tenant, channel="sms", address="+254711000123", category="bulk", allowed=False)
    api = client(school)
    assert api.post(f"{listed(api)}/send", {"channel": "sms", "message": "Hi", **given}, format="json").status_code == 202
    assert Message.objects.get().category == kept
    expand()
    assert Recipient.objects.filter(state="failed").count() == (kept == "bulk")


def test_a_template_with_variables_and_values_for_all(school: Account) -> None:
    make_template(school.tenant, name="due", body="{{ student_name }}: {{ term }}")
    api = client(school)
    path = listed(api)
    body = {"channel": "sms", "template": "due", "data": {"term": "Term 1"}}
    assert api.post(f"{path}/check", body, format="json").json()["samples"][0]["body"] == "Jane Wanjiku: Term 1"
    assert api.post(f"{path}/send", body, format="json").status_code == 202
    message = Message.objects.get()
    assert (message.template_name, message.personal, message.data) == ("due", True, {"term": "Term 1"})


def test_an_email_in_html_alone_gets_its_text(school: Account) -> None:
    make_config(school.tenant, "smtp")
    api = client(school)
    body = {"channel": "email", "subject": "News for {{ student_name }}", "html": "<p>Hello <b>all</b></p>"}
    answer = api.post(f"{listed(api)}/send", body, format="json")
    assert answer.status_code == 202, answer.content
    message = Message.objects.get()
    assert (message.body.strip(), message.html, message.expected) == ("Hello all", "<p>Hello <b>all</b></p>", 2)
    assert "@" in message.sender


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"channel": "push"}, "channel"),
        ({"channel": None}, "channel"),
        ({"message": ""}, "message"),
        ({"message": "{{ nobody }}"}, "data"),
        ({"message": "{% if %}"}, "message"),
        ({"template": "x"}, "template"),
        ({"message": "", "template": "nope"}, "template"),
        ({"columns": {"address": "Nope"}}, "columns"),
        ({"columns": {}}, "columns.address"),
        ({"columns": "Phone"}, "columns.non_field_errors"),
        ({"columns": {"address": "Balance"}}, "file"),
        ({"columns": {"address": "Phone", "alternatives": {"sms": "Phone"}}}, "columns"),
        ({"subject": "Hi"}, "subject"),
        ({"html": "<p>"}, "html"),
        ({"sender": "S" * 21}, "sender"),
        ({"category": "c" * 31}, "category"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"message": "a\u0000b"}, "message"),
        ({"data": []}, "data"),
        ({"other": 1}, "other"),
    ],
)
def test_a_bad_request_names_the_field_and_writes_nothing(school: Account, changes: dict[str, Any], attr: str) -> None:
    api = client(school)
    answer = api.post(f"{listed(api)}/send", {"channel": "sms", "message": "Hi", **changes}, format="json")
    assert answer.status_code == 400, answer.content
    assert [each["attr"].split(".0")[0] for each in answer.json()["errors"]] == [attr]
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


def test_recipients_are_paged_and_filtered(school: Account) -> None:
    api = client(school)
    sent = send(api, {"to": numbers(60), "message": "Hi"}).json()["id"]
    Recipient.objects.filter(address__in=numbers(3)).update(state="delivered")
    path = f"{BASE}/messages/{sent}/recipients"
    page = api.get(path, {"page_size": 50}).json()
    rest = api.get(page["next"]).json()
    assert [each["to"] for each in [*page["results"], *rest["results"]]] == numbers(60)
    assert [each["to"] for each in api.get(path, {"status": "delivered"}).json()["results"]] == numbers(3)
    assert api.get(path, {"status": "nonsense"}).status_code == 400
    api.get(path)
    with CaptureQueriesContext(connection) as few:
        api.get(path, {"page_size": 10})
    with CaptureQueriesContext(connection) as many:
        api.get(path, {"page_size": 60})
    assert len(few) == len(many)


def test_pause_resume_cancel_over_the_api(school: Account) -> None:
    api = client(school)
    sent = send(api, {"to": "0711000123", "message": "Hi"}).json()["id"]
    path = f"{BASE}/messages/{sent}"
    assert api.post(f"{path}/resume").status_code == 409
    first = api.post(f"{path}/pause", headers={"Idempotency-Key": "p"})
    again = api.post(f"{path}/pause", headers={"Idempotency-Key": "p"})
    assert (first.status_code, first.json()["status"], again.json()) == (200, "paused", first.json())
    assert api.post(f"{path}/pause").status_code == 409
    assert api.get(f"{path}/progress").json() == {
        "total": 1,
        "counts": {"queued": 1},
        "done": 0,
        "percent": 0,
        "finished": False,
        "status": "paused",
        "cost": None,
    }
    assert api.post(f"{path}/resume").json()["status"] == "queued"
    assert api.post(f"{path}/cancel").json()["cancelled_at"] is not None
    assert api.post(f"{path}/cancel").status_code == 409


def test_resend_answers_the_new_message(school: Account) -> None:
    api = client(school)
    sent = send(api, {"to": ["0711000123", "0711000124"], "message": "Hi"}).json()["id"]
    path = f"{BASE}/messages/{sent}/resend"
    assert api.post(path).status_code == 409
    Recipient.objects.filter(address__endswith="124").update(state="failed", provider_status="Absent")
    first = api.post(path, headers={"Idempotency-Key": "r"})
    again = api.post(path, headers={"Idempotency-Key": "r"})
    assert (first.status_code, first.json()["continues"], again.json()) == (202, sent, first.json())
    assert [each["to"] for each in first.json()["recipients"]] == ["+254711000124"]
    assert api.post(path).status_code == 409


@pytest.mark.parametrize("action", ["pause", "resume", "cancel", "resend"])
def test_auditors_may_look_and_not_touch(school: Account, action: str) -> None:
    sent = send(client(school), {"to": "0711000123", "message": "Hi"}).json()["id"]
    auditor = client(school, Role.AUDITOR)
    assert auditor.get(f"{BASE}/messages/{sent}/progress").status_code == 200
    assert auditor.get(f"{BASE}/messages/{sent}/recipients").status_code == 200
    assert auditor.post(f"{BASE}/messages/{sent}/{action}").status_code == 403
    assert upload(auditor).status_code == 403


def test_a_key_of_another_kind_may_nothing_of_it(school: Account) -> None:
    other = client(school, scopes=["payments"])
    assert upload(other).status_code == 403
    assert other.get(LISTS).status_code == 403


def test_20_000_numbers_are_accepted_without_writing_to_each_in_the_request(school: Account) -> None:
    api, many = client(school), numbers(20_000)
    with CaptureQueriesContext(connection) as queries:
        answer = send(api, {"to": many, "message": "Hi"})
    assert (answer.status_code, answer.json()["status"], answer.json()["expected"]) == (202, "preparing", 20_000)
    assert (Recipient.objects.count(), len(queries) < 100) == (0, True)
    assert QueueItem.objects.count() == 1


def test_50_000_is_the_most(school: Account) -> None:
    answer = send(client(school), {"to": ["0711000123"] * 50_001, "message": "Hi"})
    assert [each["attr"] for each in answer.json()["errors"]] == ["to"]
    assert answer.status_code == 400
