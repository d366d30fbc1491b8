from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.messaging.api import email as email_api
from integrations.messaging.models import Attachment, Message, Recipient
from integrations.messaging.safety.screening import suppress
from integrations.models import Config, QueueItem, Role, Tenant
from tests.factories import MovableClock, make_config, make_template

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations/email"
WORDS = {"subject": "School fees", "text": "Fees are due."}
BODY = {"to": "jane@x.ke", **WORDS}


@pytest.fixture(autouse=True)
def account(tenant: Tenant) -> Any:
    config = make_config(tenant, "smtp")
    with scope(tenant=tenant):
        yield config


def send(api: APIClient, body: Any, **headers: str) -> Any:
    # Written down here: the client's own writer refuses the half characters that callers may well escape.
    return api.post(f"{BASE}/send", json.dumps(body), content_type="application/json", headers=headers)


def file(content: bytes, **more: Any) -> dict[str, Any]:
    return {"filename": "fees.pdf", "content": base64.b64encode(content).decode(), **more}


def test_send_is_accepted_and_shows_what_will_happen(staff_api: APIClient, clock: MovableClock) -> None:
    body = {
        "to": ["Jane <jane@x.ke>", {"email": "joe@x.ke", "name": "Joe"}],
        "cc": "ann@x.ke",
        "bcc": [{"email": "archive@x.ke"}],
        "from": {"email": "bursar@school.example", "name": "Bursar"},
        "reply_to": "fees@school.example",
        "subject": "School fees",
        "html": "<p>Fees are <b>due</b>.</p>",
        "attachments": [file(b"%PDF-\x00\xff", content_type="application/pdf")],
        "headers": {"X-Term": "1"},
        "category": "notice",
        "track": True,
        "send_at": "2028-01-02T08:00:00+03:00",
        "expires_at": "2028-01-03T08:00:00+03:00",
        "provider": "smtp",
        "reference": {"type": "invoice", "id": "7"},
    }
    answer = send(staff_api, body)
    assert answer.status_code == 202, answer.json()
    shown = answer.json()
    names = ("channel", "status", "provider", "sender", "subject", "message", "category", "reference", "send_at", "counts")
    assert {name: shown[name] for name in names} == {
        "channel": "email",
        "status": "queued",
        "provider": "smtp",
        "sender": "bursar@school.example",
        "subject": "School fees",
        "message": "Fees are due.",
        "category": "notice",
        "reference": {"type": "invoice", "id": "7"},
        "send_at": "2028-01-02T05:00:00Z",
        "counts": {"queued": 4},
    }
    assert [(each["to"], each["name"], each["role"]) for each in shown["recipients"]] == [
        ("jane@x.ke", "Jane", "to"),
        ("joe@x.ke", "Joe", "to"),
        ("ann@x.ke", "", "cc"),
        ("archive@x.ke", "", "bcc"),
    ]
    message = Message.objects.get()
    assert message.content["track"] is True
    assert bytes(Attachment.objects.get(message=message).content) == b"%PDF-\x00\xff"
    assert QueueItem.objects.get().due_at == message.send_at
    assert staff_api.get(f"{BASE}/{message.pk}").json() == shown


def test_personalizations(staff_api: APIClient, tenant: Tenant) -> None:
    make_template(tenant, channel="email", name="fees", subject="Fees", body="Dear {{ name }}: {{ amount }}.")
    people = [
        {"to": "Jane <jane@x.ke>", "data": {"amount": 1}},
        {"to": ["joe@x.ke"], "cc": ["ann@x.ke"], "subject": "Again", "data": {"name": "Joe", "amount": 2}},
    ]
    body = {"template": "fees", "personalizations": people}
    looked_at = staff_api.post(f"{BASE}/preview", body, format="json")
    assert (looked_at.status_code, looked_at.json()) == (
        200,
        {"subject": "Fees", "text": "Dear Jane: 1.", "html": "", "recipients": 3, "letters": 2},
    )
    assert Message.objects.count() == 0
    answer = send(staff_api, body)
    assert answer.status_code == 202, answer.json()
    assert list(Recipient.objects.order_by("id").values_list("address", "envelope")) == [
        ("jane@x.ke", 0),
        ("joe@x.ke", 1),
        ("ann@x.ke", 1),
    ]


def test_a_missing_variable_names_the_letter(staff_api: APIClient, tenant: Tenant) -> None:
    make_template(tenant, channel="email", name="fees", subject="Fees", body="{{ amount }}")
    people = [{"to": "jane@x.ke", "data": {"amount": 1}}, {"to": "joe@x.ke"}]
    for path in ("send", "preview"):
        answer = staff_api.post(f"{BASE}/{path}", {"template": "fees", "personalizations": people}, format="json")
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert (error["attr"], "amount" in error["detail"]) == ("personalizations.1.data", True)
    assert Message.objects.count() == 0


def test_preview_shows_the_words_of_the_only_letter(staff_api: APIClient) -> None:
    Config.objects.update(is_active=False)  # nothing is sent, so no account is needed
    words = {"subject": "{{ n }}", "html": "<p>{{ n }}</p>", "data": {"n": "1<2"}}
    body = {"to": "Jane <jane@x.ke>", "from": "office@x.ke", "category": "news", "attachments": [file(b"x")], **words}
    answer = staff_api.post(f"{BASE}/preview", body, format="json")
    assert answer.json() == {"subject": "1<2", "text": "1<2", "html": "<p>1&lt;2</p>", "recipients": 1, "letters": 1}


def test_the_same_idempotency_key_sends_once(staff_api: APIClient) -> None:
    body = {**BODY, "attachments": [file(b"x" * 1000)]}
    first = send(staff_api, body, **{"Idempotency-Key": "k-1"})
    again = send(staff_api, body, **{"Idempotency-Key": "k-1"})
    other = send(staff_api, {**body, "attachments": [file(b"y" * 1000)]}, **{"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 422)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert (Message.objects.count(), QueueItem.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"to": None}, "to"),
        ({"to": 5}, "to"),
        ({"to": [5]}, "to"),
        ({"to": []}, "to"),
        ({"to": ""}, "to"),
        ({"to": [{"name": "Jane"}]}, "to"),
        ({"to": {"email": "jane@x.ke", "phone": "1"}}, "to"),
        ({"to": {"email": 5}}, "to"),
        ({"to": "j" * 601 + "@x.ke"}, "to"),
        ({"to": ["jane@x.ke"] * 10_001}, "to"),
        ({"to": "Jane\r\nBcc: eve@x.ke <jane@x.ke>"}, "to"),
        ({"to": "jane\u0000@x.ke"}, "to"),
        ({"to": "jane\ud800@x.ke"}, "to"),
        ({"cc": "jane@x.ke"}, "cc"),
        ({"from": ["office@x.ke"]}, "from"),
        ({"from": "office"}, "from"),
        ({"reply_to": ["a@x.ke"] * 11}, "reply_to"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": "a\u0000"}, "subject"),
        ({"subject": "a" * 501}, "subject"),
        ({"subject": ""}, "subject"),
        ({"text": ""}, "text"),
        ({"text": "a\ud800"}, "text"),
        ({"html": "a\u0000"}, "html"),
        ({"html": "a" * 1_000_001}, "html"),
        ({"template": "fees"}, "template"),
        ({"text": "", "template": "none"}, "template"),
        ({"text": "", "template": "n\u0000"}, "template"),
        ({"template_data": {"n": 1}}, "template_data"),
        ({"data": {"n": "\ud800"}}, "data"),
        ({"data": [1]}, "data"),
        ({"headers": {"Bcc": "eve@x.ke"}}, "headers"),
        ({"headers": {"X-A": 5, "X-B": "a\r\nBcc: eve@x.ke"}}, "headers"),
        ({"headers": "X-A: 1"}, "headers"),
        ({"category": "c" * 31}, "category"),
        ({"track": "maybe"}, "track"),
        ({"send_at": "tomorrow"}, "send_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"reference": {"type": "x"}}, "reference.id"),
        ({"config": "x"}, "config"),
        ({"surprise": 1}, "surprise"),
        ({"attachments": [{"filename": "a.pdf"}]}, "attachments.0.content"),
        ({"attachments": [{"filename": "a.pdf", "content": "!!"}]}, "attachments.0.content"),
        ({"attachments": [{"filename": "a.pdf", "content": 5}]}, "attachments.0.content"),
        ({"attachments": [{"filename": "a.pdf", "url": "http://169.254.169.254/"}]}, "attachments.0.content"),
        ({"attachments": [file(b"x", filename="../a.pdf")]}, "attachments.0.filename"),
        ({"attachments": [file(b"x", content_type="a/b\r\nX: y")]}, "attachments.0.content_type"),
        ({"attachments": [file(b"x")] * 21}, "attachments"),
        ({"personalizations": [{"to": "joe@x.ke"}]}, "personalizations"),
        ({"personalizations": [{"cc": "joe@x.ke"}]}, "personalizations.0.to"),
        ({"personalizations": {"to": "joe@x.ke"}}, "personalizations.non_field_errors"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(staff_api: APIClient, changes: dict[str, Any], attr: str) -> None:
    answer = send(staff_api, {**BODY, **changes})
    assert answer.status_code == 400, answer.content[:500]
    assert answer.json()["type"] == "validation_error"
    found = [error["attr"] for error in answer.json()["errors"]]
    assert attr in found or any(each.startswith(f"{attr}.") for each in found), found
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


@pytest.mark.parametrize("body", [[], "text", 5, None])
@pytest.mark.parametrize("path", ["send", "preview"])
def test_a_body_that_is_no_object(staff_api: APIClient, path: str, body: Any) -> None:
    assert staff_api.post(f"{BASE}/{path}", body, format="json").status_code == 400


def test_a_providers_template_where_there_are_none(staff_api: APIClient) -> None:
    answer = send(staff_api, {"to": "jane@x.ke", "template_id": "d-1", "template_data": {"n": 1}})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unsupported_operation")


def test_without_an_account_it_is_said_clearly(staff_api: APIClient) -> None:
    Config.objects.update(is_active=False)
    answer = send(staff_api, BODY)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_configured")


# --- large files


def test_a_file_far_beyond_djangos_own_limit(staff_api: APIClient, settings: Any) -> None:
    content = bytes(range(256)) * (8 * 4096)
    assert len(content) == 8 * 1024 * 1024 > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    answer = send(staff_api, {**BODY, "attachments": [file(content)]}, **{"Idempotency-Key": "large"})
    assert answer.status_code == 202, answer.content[:500]
    assert bytes(Attachment.objects.get().content) == content


def test_files_beyond_what_the_provider_takes(staff_api: APIClient) -> None:
    answer = send(staff_api, {**BODY, "attachments": [file(b"x" * 6 * 1024 * 1024)] * 2})
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "attachments")
    assert Message.objects.count() == 0


@pytest.mark.parametrize("path", ["send", "preview"])
def test_a_body_beyond_all_measure(staff_api: APIClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(email_api, "BODY_LIMIT", 1000)
    body = json.dumps({**BODY, "text": "x" * 1000})
    answer = staff_api.post(f"{BASE}/{path}", body, content_type="application/json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "request_too_large")
    assert Message.objects.count() == 0


# --- who may


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
def test_who_may_send(api: Callable[..., APIClient], tenant: Tenant, role: str, scopes: list[str] | None, status: int) -> None:
    assert send(api(tenant, role, scopes), BODY).status_code == status
    assert Message.objects.count() == (1 if status == 202 else 0)


@pytest.mark.parametrize(("role", "status"), [(Role.STAFF, 403), (Role.ADMIN, 202)])
def test_only_admins_write_to_suppressed_addresses(
    api: Callable[..., APIClient], tenant: Tenant, role: str, status: int
) -> None:
    suppress(tenant_id=tenant.pk, channel="email", address="jane@x.ke", reason="hard_bounce")
    assert send(api(tenant, role), BODY).json()["counts"] == {"failed": 1}
    answer = send(api(tenant, role), {**BODY, "override_suppression": "She asked for it on the phone."})
    assert answer.status_code == status
    if status == 202:
        assert answer.json()["counts"] == {"queued": 1}
    else:
        assert Message.objects.count() == 1


def test_without_credentials() -> None:
    for method, path in (("post", "send"), ("post", "preview"), ("get", "msg_00000000000000000000000000")):
        assert getattr(APIClient(), method)(f"{BASE}/{path}").status_code == 401


def test_another_tenants_e_mail_is_not_there(staff_api: APIClient, other_tenant: Tenant, api: Callable[..., APIClient]) -> None:
    with scope(tenant=other_tenant):
        config = make_config(other_tenant, "smtp", account="studio")
        client = api(other_tenant)
    theirs = send(client, BODY).json()["id"]
    assert staff_api.get(f"{BASE}/{theirs}").status_code == 404
    assert send(staff_api, {**BODY, "config": config.pk}).status_code == 422


def test_a_message_of_another_channel_is_no_e_mail(staff_api: APIClient, tenant: Tenant) -> None:
    message_id = send(staff_api, BODY).json()["id"]
    Message.objects.filter(pk=message_id).update(channel="push")
    assert staff_api.get(f"{BASE}/{message_id}").status_code == 404
