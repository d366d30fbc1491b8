"""Accepting WhatsApp messages: what is asked for, who may be written to, and the 24 hours for everything but templates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media
from integrations.contracts.whatsapp import TemplateUse, WhatsAppMessage
from integrations.messaging.calls import build_call
from integrations.messaging.models import Attachment, InboundMessage, Message, Recipient, SendingPolicy
from integrations.messaging.safety.screening import suppress
from integrations.messaging.whatsapp.whatsapps import Words, send_whatsapp
from integrations.messaging.whatsapp.window import OutsideWindow
from integrations.models import Config, Membership, QueueItem, Role, Tenant
from tests.factories import MovableClock, make_client, make_config, make_inbound, make_template, make_user

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations"
JANE, JOHN = "+254711000001", "+254711000002"
FEES = {"name": "fees_due", "language": "en", "body": ["Jane", "KES 500", "Friday"]}
SLIP = {"url": "https://files.example/2026/slip%201.pdf", "content_type": "application/pdf"}


@pytest.fixture
def account(tenant: Tenant, clock: MovableClock) -> Iterator[Config]:
    """The tenant's WhatsApp account; its scope is active."""
    config = make_config(tenant, "whatsapp")
    with scope(tenant=tenant):
        yield config


@pytest.fixture
def staff(account: Config) -> APIClient:
    return make_client(account.tenant, Role.STAFF)


def wrote(account: Config, address: str = JANE, **fields: Any) -> InboundMessage:
    given = {"channel": "whatsapp", "provider": account.provider_id, "config": account, "address": address, **fields}
    return make_inbound(account.tenant, **given)


def send(api: APIClient, body: dict[str, Any], **headers: str) -> Any:
    return api.post(f"{BASE}/whatsapp/send", {"to": JANE, **body}, format="json", headers=headers)


def calls() -> list[WhatsAppMessage]:
    """Return what the only message's jobs would hand to the adapter."""
    message = Message.objects.get()
    return [build_call(message, [each])[0] for each in Recipient.objects.filter(state="queued").order_by("id")]


# --- templates: at any time


def test_a_template_needs_no_window(staff: APIClient, account: Config) -> None:
    answer = send(staff, {"to": ["0711000001", JOHN, JANE], "template": FEES, "category": "fees"})
    assert answer.status_code == 202, answer.json()
    body = answer.json()
    shown = (body["channel"], body["provider"], body["status"], body["template"], body["message"], body["counts"])
    assert shown == ("whatsapp", "whatsapp", "queued", "fees_due", "", {"queued": 2})
    assert QueueItem.objects.filter(kind="whatsapp.send", config=account).count() == 2
    first, second = calls()
    assert (first.template, first.text, first.media) == (TemplateUse("fees_due", "en", body=tuple(FEES["body"])), "", None)
    assert [first.target.address, second.target.address] == [JANE, JOHN]
    assert first.target.ref != second.target.ref
    assert first.callback_url.endswith(f"/hooks/{account.hook_token}")


def test_a_fallback_will_know_what_a_template_was_about(staff: APIClient) -> None:
    template = {"name": "order_shipped", "language": "en_US", "body": ["Jane", "1042"]}
    send(staff, {"template": template, "data": {"number": "1042"}})
    message = Message.objects.get()
    assert (message.template_name, message.language, message.data) == ("order_shipped", "en-US", {"number": "1042"})


def test_everything_that_fills_in_a_template(staff: APIClient) -> None:
    template = {
        "id": "920000000000005",
        "header_media": {**SLIP, "filename": "report.pdf"},
        "body": ["Jane"],
        "buttons": {"0": "1042", "2": "x"},
    }
    assert send(staff, {"template": template}).status_code == 202
    (call,) = calls()
    assert call.template == TemplateUse(
        id="920000000000005",
        body=("Jane",),
        header_media=Media("report.pdf", "application/pdf", url=SLIP["url"]),
        buttons={0: "1042", 2: "x"},
    )


# --- text and files: in the window


def test_free_text_within_the_window(staff: APIClient, account: Config, clock: MovableClock) -> None:
    row = wrote(account, provider_ref="wamid.1")
    clock.advance(hours=23, minutes=59)
    answer = send(staff, {"text": "See you on Friday.", "reply_to": row.pk, "reference": {"type": "class", "id": "4B"}})
    assert (answer.status_code, answer.json()["message"]) == (202, "See you on Friday.")
    (call,) = calls()
    assert (call.text, call.reply_to, call.template, call.sender) == ("See you on Friday.", "wamid.1", None, "")


def test_a_file_with_its_text(staff: APIClient, account: Config) -> None:
    wrote(account)
    assert send(staff, {"media": {**SLIP, "caption": "Your slip"}}).status_code == 202
    (call,) = calls()
    assert (call.text, call.media) == ("Your slip", Media("slip 1.pdf", "application/pdf", url=SLIP["url"]))
    assert Attachment.objects.count() == 1


def test_a_template_of_the_hub_goes_as_free_text(staff: APIClient, account: Config) -> None:
    make_template(account.tenant, channel="whatsapp", name="fee-due", body="{{ amount }} is due.")
    asked = {"template": "fee-due", "data": {"amount": "KES 500"}}
    assert send(staff, asked).json()["errors"][0]["code"] == "outside_window"
    wrote(account)
    answer = send(staff, asked)
    assert (answer.status_code, answer.json()["message"], answer.json()["template"]) == (202, "KES 500 is due.", "fee-due")
    assert send(staff, {"template": "fee-due"}).json()["errors"][0]["attr"] == "data"
    assert send(staff, {"template": "other"}).json()["errors"][0]["attr"] == "template"


@pytest.mark.parametrize(
    "fields",
    [
        {"address": JOHN},
        {"channel": "sms"},
        {"provider": "twilio"},
        {"config": None},
        {"trusted": False},
    ],
)
def test_what_opens_no_window(staff: APIClient, account: Config, fields: dict[str, Any]) -> None:
    wrote(account, **fields)
    assert send(staff, {"text": "Hello"}).status_code == 409


def test_a_closed_window_is_said_clearly(staff: APIClient, account: Config, clock: MovableClock) -> None:
    wrote(account)
    clock.advance(hours=24)
    for body, attr in (({"text": "Hello"}, "text"), ({"media": SLIP}, "media")):
        answer = send(staff, body, **{"Idempotency-Key": f"k-{attr}"})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"], error["attr"]) == (409, "outside_window", attr)
        assert "24 h window" in error["detail"]
    assert not Message.objects.exists()
    wrote(account)
    assert send(staff, {"text": "Hello"}, **{"Idempotency-Key": "k-text"}).status_code == 202, "the refusal is not kept"


def test_those_with_a_closed_window_fail_and_the_others_go(staff: APIClient, account: Config) -> None:
    wrote(account, JOHN)
    body = send(staff, {"to": [JANE, JOHN], "text": "Hello"}).json()
    found = {each["to"]: (each["status"], each["provider_status"]) for each in body["recipients"]}
    assert found == {JOHN: ("queued", ""), JANE: ("failed", "outside_window")}
    assert (QueueItem.objects.filter(kind="whatsapp.send").count(), body["expected"]) == (1, 2)
    story = staff.get(f"{BASE}/messages/{body['id']}").json()["recipients"]
    assert [event["status"] for event in story[1]["events"]] == ["queued", "failed"]


def test_a_text_for_later_needs_a_window_then(staff: APIClient, account: Config, clock: MovableClock) -> None:
    wrote(account)
    later = (clock() + timedelta(hours=25)).isoformat()
    soon = (clock() + timedelta(hours=20)).isoformat()
    assert send(staff, {"text": "Hello", "send_at": later}).status_code == 409
    assert send(staff, {"text": "Hello", "send_at": soon}).status_code == 202
    assert send(staff, {"template": FEES, "send_at": later}).status_code == 202


def test_the_window_is_looked_at_again_when_it_is_sent(account: Config, clock: MovableClock) -> None:
    wrote(account)
    message = send_whatsapp(tenant=account.tenant, to=[JANE], words=Words(text="Hello"))
    clock.advance(hours=24)
    with pytest.raises(OutsideWindow):
        build_call(message, list(Recipient.objects.all()))


def test_a_number_of_ones_own_has_its_own_window(account: Config) -> None:
    wrote(account, to="+254700000042")
    ask: dict[str, Any] = {"tenant": account.tenant, "to": [JANE], "words": Words(text="Hello")}
    with pytest.raises(OutsideWindow):
        send_whatsapp(**ask, sender="+254700000043")
    assert send_whatsapp(**ask, sender="+254700000042").sender == "+254700000042"


def test_a_hidden_number_can_only_be_answered(staff: APIClient, account: Config) -> None:
    wrote(account, "US.13491208655302741918")
    body = {"text": "Hello", "to": ["US.13491208655302741918"]}
    assert send(staff, body).status_code == 202
    for strange in ("US.99", "not a number", "+1"):
        answer = send(staff, {**body, "to": [JANE, strange]})
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "to")


def test_a_reply_to_an_inbound_message(staff: APIClient, account: Config, clock: MovableClock) -> None:
    row = wrote(account, provider_ref="wamid.9")
    url = f"{BASE}/inbound-messages/{row.pk}/reply"
    assert staff.post(url, {"text": "Asante."}, format="json").status_code == 202
    (call,) = calls()
    assert (call.text, call.reply_to, call.target.address) == ("Asante.", "wamid.9", JANE)
    clock.advance(hours=24)
    assert staff.post(url, {"text": "Asante."}, format="json").json()["errors"][0]["code"] == "outside_window"


# --- what is refused


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "text"),
        ({"text": "   "}, "text"),
        ({"text": "a" * 4097}, "text"),
        ({"text": "a\0"}, "text"),
        ({"text": "a", "template": FEES}, "template"),
        ({"text": "a", "media": SLIP}, "media"),
        ({"template": FEES, "media": SLIP}, "media"),
        ({"template": 5}, "template"),
        ({"template": "a" * 61}, "template"),
        ({"template": {"name": "fees_due"}}, "template.language"),
        ({"template": {"language": "en"}}, "template.name"),
        ({"template": {**FEES, "footer": "x"}}, "template.footer"),
        ({"template": {**FEES, "body": "Jane"}}, "template.body"),
        ({"template": {**FEES, "body": [""]}}, "template.body.0"),
        ({"template": {**FEES, "body": ["a"] * 61}}, "template.body"),
        ({"template": {**FEES, "header": ["a"], "header_media": SLIP}}, "template.header"),
        ({"template": {**FEES, "header_media": {"url": "x", "content_type": "image/png"}}}, "template.header_media.url"),
        ({"template": {**FEES, "buttons": {"10": "a"}}}, "template.buttons"),
        ({"template": {**FEES, "buttons": {"a": "a"}}}, "template.buttons"),
        ({"text": "a", "data": {"amount": "1"}}, "data"),
        ({"template": FEES, "language": "en"}, "language"),
        ({"media": {"url": "ftp://files.example/a", "content_type": "image/png"}}, "media.url"),
        ({"media": {**SLIP, "content_type": "pdf"}}, "media.content_type"),
        ({"media": {**SLIP, "content_type": "text/html\r\nx: y"}}, "media.content_type"),
        ({"media": {**SLIP, "filename": "../a.pdf"}}, "media.filename"),
        ({"media": {**SLIP, "caption": "a" * 1025}}, "media.caption"),
        ({"text": "a", "to": []}, "to"),
        ({"text": "a", "to": None}, "to"),
        ({"text": "a", "to": [JANE, 5]}, "to"),
        ({"text": "a", "to": [JANE, " "]}, "to"),
        ({"text": "a", "to": ["12"]}, "to"),
        ({"text": "a", "to": [JANE] * 1001}, "to"),
        ({"text": "a", "to": [JANE, JOHN], "reply_to": "wamid.1"}, "reply_to"),
        ({"text": "a", "reply_to": "inm_00000000000000000000000000"}, "reply_to"),
        ({"text": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"text": "a", "send_at": "tomorrow"}, "send_at"),
        ({"text": "a", "config": "x"}, "config"),
        ({"text": "a", "message": "b"}, "message"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(staff: APIClient, account: Config, body: Any, attr: str) -> None:
    wrote(account)
    wrote(account, JOHN)
    answer = send(staff, body)
    assert answer.status_code == 400, answer.json()
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    "words",
    [
        Words(),
        Words(text="a", template=TemplateUse("a", "en")),
        Words(template=TemplateUse("a")),
        Words(template=TemplateUse("a", "en", header=("a",), header_media=Media("a", "image/png", url="https://a.example/a"))),
        Words(template=TemplateUse("a", "en", body=("a\0",))),
        Words(template=TemplateUse("a", "en", body=(" ",))),
    ],
)
def test_the_service_checks_too(account: Config, words: Words) -> None:
    with pytest.raises(InvalidRequest):
        send_whatsapp(tenant=account.tenant, to=[JANE], words=words)


def test_the_same_key_sends_once(staff: APIClient, account: Config) -> None:
    first = send(staff, {"template": FEES}, **{"Idempotency-Key": "k-1"})
    again = send(staff, {"template": FEES}, **{"Idempotency-Key": "k-1"})
    other = send(staff, {"template": FEES, "to": JOHN}, **{"Idempotency-Key": "k-1"})
    assert (first.status_code, again.json(), other.status_code) == (202, first.json(), 422)
    ask: dict[str, Any] = {"tenant": account.tenant, "words": Words(template=TemplateUse("hello_world", "en_US")), "key": "k"}
    assert send_whatsapp(**ask, to=[JANE]).pk == send_whatsapp(**ask, to=[JOHN]).pk
    assert Message.objects.count() == 2


def test_somebody_who_said_stop_gets_no_template_either(staff: APIClient, account: Config) -> None:
    suppress(tenant_id=account.tenant_id, channel="whatsapp", address=JANE, reason="opt_out")
    assert send(staff, {"template": FEES}).json()["recipients"][0]["provider_status"] == "suppressed"


def test_a_spend_cap_counts_here_too(staff: APIClient, account: Config) -> None:
    SendingPolicy.objects.create(tenant=account.tenant, channel="whatsapp", unit_cost=1, currency="KES", spend_cap=1)
    assert send(staff, {"template": FEES}).status_code == 202
    assert send(staff, {"template": FEES}).status_code in {400, 402, 409, 422}
    assert Message.objects.count() == 1


def test_accounts_that_can_not_serve(staff: APIClient, account: Config, other_tenant: Tenant) -> None:
    texts = make_config(account.tenant, "africastalking")
    with scope(tenant=other_tenant):
        theirs = make_config(other_tenant, "whatsapp", account="studio")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"config": texts.pk}, "unsupported_operation"),
        ({"config": theirs.pk}, "not_configured"),
        ({"provider": "africastalking"}, "not_configured"),
        ({"provider": "nobody"}, "not_configured"),
    ]
    for body, code in refused:
        answer = send(staff, {"template": FEES, **body})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code), body
    assert not Message.objects.exists()


def test_anothers_inbound_message_can_not_be_quoted(staff: APIClient, account: Config, other_tenant: Tenant) -> None:
    wrote(account)
    with scope(tenant=other_tenant):
        theirs = make_inbound(other_tenant, channel="whatsapp")
    assert send(staff, {"text": "a", "reply_to": theirs.pk}).json()["errors"][0]["attr"] == "reply_to"


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [
        (Role.STAFF, None, 202),
        (Role.AUDITOR, None, 403),
        (Role.ADMIN, ["messages:read"], 403),
        (Role.ADMIN, ["messages:write"], 202),
    ],
)
def test_who_may_send(account: Config, role: str, scopes: list[str] | None, status: int) -> None:
    assert send(make_client(account.tenant, role, scopes), {"template": FEES}).status_code == status


def test_a_person_needs_the_channel(account: Config) -> None:
    person = make_user("jane", tenant=account.tenant, role=Role.STAFF)
    client = APIClient()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    for channels, status in ((["sms"], 403), (["whatsapp"], 202)):
        Membership.objects.update(channels=channels)
        assert send(client, {"template": FEES}).status_code == status


def test_details_are_of_this_channel_only(staff: APIClient, account: Config) -> None:
    message_id = send(staff, {"template": FEES}).json()["id"]
    assert staff.get(f"{BASE}/whatsapp/{message_id}").json()["id"] == message_id
    Message.objects.update(channel="sms")
    assert staff.get(f"{BASE}/whatsapp/{message_id}").status_code == 404


@pytest.mark.parametrize("path", ["whatsapp/templates", "whatsapp/msg_00000000000000000000000000"])
def test_without_credentials(path: str) -> None:
    assert APIClient().get(f"{BASE}/{path}").status_code == 401


@pytest.mark.parametrize("query", ["?config=x", "?config=0", "?page=2"])
def test_a_question_for_templates_that_is_none(staff: APIClient, query: str) -> None:
    assert staff.get(f"{BASE}/whatsapp/templates{query}").status_code == 400
