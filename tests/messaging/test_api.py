from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts import clock
from integrations.messaging.handlers import on_message_reported
from integrations.messaging.models import Channel, Message, MessageCategory, Recipient, SendingPolicy
from integrations.messaging.sms.services import send_sms
from integrations.models import Config, Membership, QueueItem, Role, User
from integrations.runtime.worker import Outcome
from integrations.tenancy.authentication import create_api_key
from tests.factories import MovableClock
from tests.messaging.conftest import SLUG, Account, report

BASE = "/api/v1/integrations"
NUMBER = "+254711000123"


def client(account: Account, role: str = Role.STAFF, scopes: list[str] | None = None) -> APIClient:
    with scope(tenant=account.tenant):
        _, key = create_api_key(tenant=account.tenant, name="test", role=role, scopes=scopes)
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return api


def person(account: Account, role: str = Role.STAFF, channels: tuple[str, ...] = tuple(Channel.values)) -> APIClient:
    """A member of the tenant who has logged in with a browser."""
    user = User.objects.create_user(username=f"{role}-{User.objects.count()}", password="correct-horse-battery")
    Membership.unscoped.create(tenant=account.tenant, user=user, role=role, channels=list(channels))
    api = APIClient(raise_request_exception=False)
    api.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return api


def send(api: APIClient, body: dict[str, Any], **headers: str) -> Any:
    return api.post(f"{BASE}/sms/send", body, format="json", headers=headers)


def test_send_is_accepted_and_shows_what_will_happen(school: Account) -> None:
    body = {
        "to": ["0711000123", "+254711000124"],
        "message": "Karibu 😀",
        "sender": "DEMOSCHOOL",
        "provider": SLUG,
        "category": "notice",
        "reference": {"type": "class", "id": "4B"},
    }
    moment = clock.now()
    with clock.stopped_at(moment):
        answer = send(client(school), body)
    assert answer.status_code == 202
    nothing_yet = {"provider_ref": "", "provider_status": "", "error": "", "cost": None}
    never = dict.fromkeys(("sent_at", "delivered_at", "opened_at", "clicked_at"))
    nobody_yet = {"name": "", "role": "", **nothing_yet, **never}
    assert answer.json() == {
        "id": Message.objects.get().pk,
        "channel": "sms",
        "status": "queued",
        "provider": SLUG,
        "sender": "DEMOSCHOOL",
        "subject": "",
        "message": "Karibu 😀",
        "segments": 1,
        "encoding": "UCS-2",
        "category": "notice",
        "template": "",
        "reference": {"type": "class", "id": "4B"},
        **dict.fromkeys(("send_at", "expires_at", "paused_at", "cancelled_at", "continues")),
        "expected": 2,
        "counts": {"queued": 2},
        "created": moment.isoformat().replace("+00:00", "Z"),
        "created_by": Message.objects.get().created_by,
        "recipients": [
            {"to": "+254711000123", "status": "queued", **nobody_yet},
            {"to": "+254711000124", "status": "queued", **nobody_yet},
        ],
    }
    assert QueueItem.objects.count() == 1


def test_one_number_as_text_and_the_unversioned_alias(school: Account) -> None:
    answer = client(school).post("/api/integrations/sms/send", {"to": "0711000123", "message": "Karibu"}, format="json")
    assert answer.status_code == 202
    assert [each["to"] for each in answer.json()["recipients"]] == [NUMBER]


def test_the_same_idempotency_key_sends_once(school: Account) -> None:
    api, body = client(school), {"to": "0711000123", "message": "Karibu"}
    first = send(api, body, **{"Idempotency-Key": "k-1"})
    again = send(api, body, **{"Idempotency-Key": "k-1"})
    other = send(api, {**body, "message": "Kwaheri"}, **{"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 422)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (Message.objects.count(), QueueItem.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"to": None}, "to"),
        ({"to": []}, "to"),
        ({"to": ""}, "to"),
        ({"to": ["0711000123", 5]}, "to"),
        ({"to": {"number": "0711000123"}}, "to"),
        ({"to": ["0711000123", "12"]}, "to"),
        ({"to": ["0711000123"] * 50_001}, "to"),
        ({"to": "0711\u0000000123"}, "to"),
        ({"message": ""}, "message"),
        ({"message": "   "}, "message"),
        ({"message": "a" * 1601}, "message"),
        ({"message": "a\u0000b"}, "message"),
        ({"message": None}, "message"),
        ({"sender": "S" * 21}, "sender"),
        ({"send_at": "tomorrow"}, "send_at"),
        ({"reference": {"type": "class"}}, "reference.id"),
        ({"reference": "4B"}, "reference.non_field_errors"),
        ({"config": "x"}, "config"),
        ({"config": 10**30}, "config"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(school: Account, changes: dict[str, Any], attr: str) -> None:
    answer = send(client(school), {"to": "0711000123", "message": "Karibu", **changes})
    assert answer.status_code == 400
    assert answer.json()["type"] == "validation_error"
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


@pytest.mark.parametrize("body", [[], "text", 5, None])
def test_a_body_that_is_no_object(school: Account, body: Any) -> None:
    assert client(school).post(f"{BASE}/sms/send", body, format="json").status_code == 400
    assert Message.objects.count() == 0


def test_without_an_account_it_is_said_clearly(school: Account) -> None:
    Config.objects.update(is_active=False)
    answer = send(client(school), {"to": "0711000123", "message": "Karibu"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "not_configured"
    assert Message.objects.count() == 0


def test_send_at_is_shown_and_kept(school: Account, clock: MovableClock) -> None:
    answer = send(client(school), {"to": "0711000123", "message": "Karibu", "send_at": "2028-11-20T08:00:00+03:00"})
    assert answer.json()["send_at"] == "2028-11-20T05:00:00Z"
    assert QueueItem.objects.get().due_at == Message.objects.get().send_at


@pytest.mark.parametrize("field", ["send_at", "expires_at"])
@pytest.mark.parametrize(
    "moment", ["2028-11-21T09:00:01Z", "9999-12-30T19:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"]
)
def test_nothing_is_planned_for_times_beyond_two_years(school: Account, clock: MovableClock, field: str, moment: str) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", quiet_from=time(20), quiet_until=time(8))
    answer = send(client(school), {"to": "0711000123", "message": "Karibu", field: moment})
    assert (answer.status_code, [each["attr"] for each in answer.json()["errors"]]) == (400, [field])
    assert not Message.objects.exists()


def test_preview(school: Account) -> None:
    body = {"message": "a" * 161 + "€", "to": ["0711000123", "+254711000123", "0711000124"]}
    answer = client(school).post(f"{BASE}/sms/preview", body, format="json")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "encoding": "GSM-7",
            "units": 163,
            "segments": 2,
            "remaining": 143,
            "unusual": [],
            "recipients": 2,
            "total_segments": 4,
            "cost": None,
            "cap_left": None,
        },
    )
    assert Message.objects.count() == 0


def test_preview_names_what_makes_it_dear(school: Account) -> None:
    answer = client(school).post(f"{BASE}/sms/preview", {"message": "Wanjik\u0169\u2019s fee"}, format="json")
    assert answer.json()["unusual"] == ["\u0169", "\u2019"]
    assert (answer.json()["encoding"], answer.json()["recipients"]) == ("UCS-2", 0)


def test_balance_comes_from_the_provider(school: Account) -> None:
    answer = client(school).get(f"{BASE}/sms/balance")
    assert (answer.status_code, answer.json()) == (
        200,
        {"provider": SLUG, "amount": 178550, "currency": "KES", "value": "1785.50"},
    )


def test_balance_with_refused_credentials_is_a_typed_error(school: Account) -> None:
    school.config.set_secrets({"api_key": "canary-4f7d2b90c1e8"})
    school.config.save()
    answer = client(school).get(f"{BASE}/sms/balance")
    assert answer.status_code == 502
    assert answer.json()["errors"][0]["code"] == "provider_authentication_failed"
    assert (answer.json()["provider"], answer.json()["retryable"]) == (SLUG, False)
    assert "canary" not in answer.content.decode()


def test_details_and_the_story(school: Account, run_due: Callable[[], list[Outcome]]) -> None:
    api = client(school)
    message_id = send(api, {"to": "0711000123", "message": "Karibu"}).json()["id"]
    run_due()
    recipient = Recipient.objects.get()
    on_message_reported(report(school, recipient.provider_ref, NUMBER))
    short = api.get(f"{BASE}/sms/{message_id}").json()
    assert (short["status"], short["recipients"][0]["status"]) == ("delivered", "delivered")
    assert short["recipients"][0]["cost"] == {"value": "0.8", "currency": "KES"}
    assert "events" not in short["recipients"][0]
    long = api.get(f"{BASE}/messages/{message_id}").json()
    story = [(event["status"], event["origin"]) for event in long["recipients"][0]["events"]]
    assert story == [("queued", "hub"), ("sent", "provider"), ("delivered", "report")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["third", "second", "first"]),
        ("?ordering=created", ["first", "second", "third"]),
        ("?to=%2B254711000123", ["third", "first"]),
        ("?to=+254711000123", ["third", "first"]),
        ("?status=sent", ["second", "first"]),
        ("?status=queued", ["third"]),
        ("?category=bulk", ["second"]),
        ("?reference_type=class&reference_id=4B", ["first"]),
        ("?channel=sms&provider=nobody", []),
        ("?page_size=2", ["third", "second"]),
    ],
)
def test_list(school: Account, run_due: Callable[[], list[Outcome]], query: str, found: list[str]) -> None:
    moment = clock.now()
    with clock.stopped_at(moment - timedelta(hours=2)):
        send_sms(tenant=school.tenant, to=[NUMBER], message="first", reference=("class", "4B"))
    with clock.stopped_at(moment - timedelta(hours=1)):
        send_sms(tenant=school.tenant, to=["+254711000124"], message="second", category="bulk")
    run_due()
    send_sms(tenant=school.tenant, to=[NUMBER], message="third")
    answer = client(school).get(f"{BASE}/messages{query}")
    assert answer.status_code == 200
    assert [each["message"] for each in answer.json()["results"]] == found


@pytest.mark.parametrize("query", ["?status=lost", "?channel=pigeon", "?created_after=yesterday"])
def test_a_filter_that_is_none_is_a_400(school: Account, query: str) -> None:
    assert client(school).get(f"{BASE}/messages{query}").status_code == 400


def test_a_list_costs_three_queries_however_long(school: Account) -> None:
    for number in range(12):
        send_sms(tenant=school.tenant, to=[f"+2547110001{n:02}" for n in range(10)], message=f"text {number}")
    api = client(school)
    with CaptureQueriesContext(connection) as queries:
        assert len(api.get(f"{BASE}/messages").json()["results"]) == 12
    assert len([query for query in queries.captured_queries if "messaging_" in query["sql"]]) == 3


def test_another_tenants_message_is_not_there(school: Account, studio: Account) -> None:
    with scope(tenant=studio.tenant):
        theirs = send_sms(tenant=studio.tenant, to=[NUMBER], message="Theirs").pk
    api = client(school, Role.ADMIN)
    for path in (f"sms/{theirs}", f"messages/{theirs}", "messages/msg_00000000000000000000000000", "messages/msg_1"):
        assert api.get(f"{BASE}/{path}").status_code == 404
    assert api.get(f"{BASE}/messages").json()["results"] == []


def test_another_tenants_config_can_not_be_used(school: Account, studio: Account) -> None:
    answer = send(client(school), {"to": "0711000123", "message": "Karibu", "config": studio.config.pk})
    assert answer.status_code == 422
    assert Message.unscoped.count() == 0


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [
        (Role.STAFF, None, 202),
        (Role.ADMIN, None, 202),
        (Role.AUDITOR, None, 403),
        (Role.ADMIN, ["payments:write"], 403),
        (Role.ADMIN, ["messages:read"], 403),
        (Role.ADMIN, ["messages:write"], 202),
    ],
)
def test_who_may_send(school: Account, role: str, scopes: list[str] | None, status: int) -> None:
    answer = send(client(school, role, scopes), {"to": "0711000123", "message": "Karibu"})
    assert answer.status_code == status
    assert Message.objects.count() == (1 if status == 202 else 0)


@pytest.mark.parametrize("path", ["sms/balance", "messages", "messages/msg_00000000000000000000000000"])
def test_without_credentials(school: Account, path: str) -> None:
    assert APIClient().get(f"{BASE}/{path}").status_code == 401


SENDING = {
    "sms": {"to": "0711000123", "message": "Sale!"},
    "email": {"to": "jane@x.ke", "from": "office@x.ke", "subject": "Sale!", "text": "Sale!"},
    "push": {"to": "t" * 40, "title": "Sale!"},
    "whatsapp": {"to": "0711000123", "text": "Sale!"},
}


@pytest.mark.parametrize("channel", sorted(SENDING))
@pytest.mark.parametrize("category", ["otp", "receipt", "alarm"])
def test_critical_categories_are_not_for_the_staff(school: Account, channel: str, category: str) -> None:
    """They pass over what owners of addresses want; the console offers them to admins only, and so does the API."""
    MessageCategory.objects.create(tenant=school.tenant, name="alarm", is_critical=True)
    path, body = f"{BASE}/{channel}/send", {**SENDING[channel], "category": category}
    refused = person(school).post(path, body, format="json", headers={"Idempotency-Key": "k"})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "permission_denied")
    assert not Message.objects.exists()
    for api in (person(school, Role.ADMIN), client(school)):
        assert api.post(path, body, format="json").status_code != 403
    assert person(school).post(path, {**body, "category": "notice"}, format="json").status_code != 403


@pytest.mark.parametrize("category", ["otp", "receipt"])
def test_critical_lists_are_not_for_the_staff(school: Account, category: str) -> None:
    desk = person(school)
    file = SimpleUploadedFile("class.csv", b"Phone\n0711000123\n")
    path = (
        f"{BASE}/recipient-lists/{desk.post(f'{BASE}/recipient-lists', {'file': file}, format='multipart').json()['id']}/send"
    )
    body = {"channel": "sms", "message": "Sale!", "category": category}
    assert desk.post(path, body, format="json").status_code == 403
    assert not Message.objects.exists()
    assert desk.post(path, {**body, "category": "notice"}, format="json").status_code == 202
    assert person(school, Role.ADMIN).post(path, body, format="json").status_code == 202


def test_one_time_codes_are_not_read_at_a_desk(school: Account) -> None:
    code = send_sms(tenant=school.tenant, to=[NUMBER], message="Your code is 123456", category="otp")
    send_sms(tenant=school.tenant, to=[NUMBER], message="School is closed", category="notice")
    desk = person(school)
    one = f"{BASE}/messages/{code.pk}"
    for api in (desk, person(school, Role.AUDITOR)):
        for path in (one, f"{BASE}/sms/{code.pk}", f"{BASE}/messages"):
            answer = api.get(path)
            assert (answer.status_code, b"123456" in answer.content) == (200, False), path
        assert [each["message"] for each in api.get(f"{BASE}/messages").json()["results"]] == ["School is closed", ""]
        assert api.get(one).json()["recipients"][0]["to"] == NUMBER
    assert b"123456" not in desk.post(f"{one}/pause").content
    Recipient.objects.filter(message=code).update(state="failed")
    assert b"123456" not in desk.post(f"{one}/resend").content
    for api in (person(school, Role.ADMIN), client(school), client(school, Role.AUDITOR)):
        assert api.get(one).json()["message"] == "Your code is 123456"
        assert b"123456" in api.get(f"{BASE}/messages").content
