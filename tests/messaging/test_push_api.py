"""Sending to devices through the API: who gets which message, and what is refused at the door."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.messaging import MessageState, RecipientResult, SuppressReason
from integrations.contracts.push import PushNotification
from integrations.messaging.jobs.pushing import PushSendJob
from integrations.messaging.models import Device, Message, Recipient, Suppression
from integrations.messaging.push import devices
from integrations.messaging.push.pushes import send_push
from integrations.models import Alert, Attempt, Config, QueueItem, Tenant
from tests.factories import MovableClock, make_client, make_config, make_template

pytestmark = pytest.mark.django_db
BASE = "/api/v1/integrations/push"
TOKEN = "cR3x:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
OTHER = "fQ7y:APA91bFoi3lMMre9G3XzR1LrF4ZT82_15MsMdEI"
APPLE = "c0ffee" + "ab" * 29


@pytest.fixture(autouse=True)
def _in_scope(tenant: Tenant) -> Iterator[None]:
    with scope(tenant=tenant):
        yield


@pytest.fixture
def fcm(tenant: Tenant) -> Config:
    return make_config(tenant, "fcm")


@pytest.fixture
def apns(tenant: Tenant) -> Config:
    return make_config(tenant, "apns")


def device(tenant: Tenant, token: str = TOKEN, platform: str = "android", **given: Any) -> Device:
    found, _ = devices.register(tenant=tenant, token=token, platform=platform, **given)
    return found


def send(api: APIClient, **body: Any) -> Any:
    return api.post(f"{BASE}/send", {"title": "Fees", "body": "Term 1 is due", **body}, format="json")


def addresses(message_id: str) -> list[str]:
    return list(Recipient.objects.filter(message_id=message_id).order_by("id").values_list("address", flat=True))


def notification(message_id: str) -> PushNotification:
    """Return what the first item of the message puts to its provider now."""
    item = QueueItem.objects.filter(kind="push.send", reference_id=message_id).order_by("id").first()
    assert item is not None
    call = PushSendJob().prepare(item)
    assert call is not None
    (found,) = call.arguments
    assert isinstance(found, PushNotification)
    return found


# --- to whom


def test_tokens_need_no_registry(admin_api: APIClient, fcm: Config) -> None:
    answer = send(admin_api, to=[TOKEN, OTHER, TOKEN], reference={"type": "invoice", "id": "INV-1"}, category="fees")
    assert answer.status_code == 202, answer.json()
    shown = answer.json()
    assert (shown["channel"], shown["provider"], shown["subject"], shown["also"]) == ("push", "fcm", "Fees", [])
    assert [each["to"] for each in shown["recipients"]] == [f"…{TOKEN[-8:]}", f"…{OTHER[-8:]}"]
    assert list(Recipient.unscoped.order_by("id").values_list("address", flat=True)) == [TOKEN, OTHER]
    assert QueueItem.objects.filter(kind="push.send").count() == 2
    assert send(admin_api, to=TOKEN).status_code == 202


def test_a_users_devices_are_reached_through_the_account_of_each(
    admin_api: APIClient, tenant: Tenant, fcm: Config, apns: Config
) -> None:
    device(tenant, user="student-7")
    device(tenant, APPLE, "ios", user="student-7")
    device(tenant, OTHER, user="student-8")
    shown = send(admin_api, user="student-7").json()
    (also,) = shown["also"]
    by_provider = {each.provider: addresses(each.pk) for each in Message.objects.filter(pk__in=[shown["id"], also])}
    assert by_provider == {"fcm": [TOKEN], "apns": [APPLE]}
    both = send(admin_api, users=["student-7", "student-8", "nobody"], provider="fcm").json()
    assert (sorted(addresses(both["id"])), both["also"]) == (sorted([TOKEN, OTHER]), [])


def test_each_device_in_its_own_language(admin_api: APIClient, tenant: Tenant, fcm: Config) -> None:
    make_template(tenant, channel="push", subject="Fees", body="{{ amount }} is due", language="en")
    make_template(tenant, channel="push", subject="Ada", body="{{ amount }} inadaiwa", language="sw")
    device(tenant, user="u", language="sw-KE")
    device(tenant, OTHER, user="u", language="fr")
    body = {"user": "u", "template": "fee-due", "template_data": {"amount": "KES 10"}, "title": "", "body": ""}
    refused = send(admin_api, **body)
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "language")
    shown = send(admin_api, **body, language="en").json()
    said = {each.body: (each.language, addresses(each.pk)) for each in Message.objects.all()}
    assert said == {"KES 10 inadaiwa": ("sw", [TOKEN]), "KES 10 is due": ("en", [OTHER])}
    assert {shown["id"], *shown["also"]} == set(Message.objects.values_list("pk", flat=True))


def test_a_topic_goes_to_the_service_or_to_the_followers(
    admin_api: APIClient, tenant: Tenant, fcm: Config, apns: Config
) -> None:
    device(tenant, topics=["news"], user="a")
    device(tenant, APPLE, "ios", topics=["news"], user="b")
    device(tenant, "dd" * 32, "ios", topics=["fees"])
    shown = send(admin_api, topic="news").json()
    sent = {each.provider: each for each in Message.objects.filter(pk__in=[shown["id"], *shown["also"]])}
    assert addresses(sent["fcm"].pk) == ["news"]
    assert addresses(sent["apns"].pk) == [APPLE]
    to_topic = notification(sent["fcm"].pk)
    assert (to_topic.topic, to_topic.target) == ("news", None)
    assert notification(sent["apns"].pk).target is not None
    alone = send(admin_api, topic="sport", provider="apns")
    assert (alone.status_code, alone.json()["errors"][0]["attr"]) == (400, "topic")


@pytest.mark.parametrize("asked", [{"user": "nobody"}, {"users": ["nobody", "none"]}])
def test_a_user_without_a_living_device(admin_api: APIClient, tenant: Tenant, fcm: Config, asked: dict[str, Any]) -> None:
    gone = device(tenant, user="nobody")
    Device.objects.filter(pk=gone.pk).update(gone_at=gone.registered_at)
    answer = send(admin_api, **asked)
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, next(iter(asked)))
    assert Message.objects.count() == 0


def test_devices_of_another_tenant_are_not_reached(admin_api: APIClient, fcm: Config, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        device(other_tenant, user="student-7", topics=["news"])
    assert send(admin_api, user="student-7").status_code == 400
    # A token is all that counts when one is named; the registry's row of somebody else is not used.
    shown = send(admin_api, to=TOKEN).json()
    assert Recipient.objects.get(message_id=shown["id"]).device_id is None


def test_without_an_account_it_is_said_clearly(admin_api: APIClient, tenant: Tenant) -> None:
    device(tenant, user="u")
    for asked in ({"user": "u"}, {"to": TOKEN}, {"topic": "news"}):
        answer = send(admin_api, **asked)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_configured")


def test_a_token_that_no_account_reaches(admin_api: APIClient, apns: Config) -> None:
    answer = send(admin_api, to=TOKEN)
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "to")
    assert TOKEN not in answer.content.decode()
    sms = make_config(apns.tenant, "africastalking")
    assert send(admin_api, to=APPLE, config=sms.pk).json()["errors"][0]["attr"] == "config"


# --- what is refused


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        ({"to": []}, "to"),
        ({"to": [5]}, "to"),
        ({"to": "a b c d e f"}, "to"),
        ({"to": [TOKEN] * 1001}, "to"),
        ({"to": None}, "to"),
        ({"user": "u"}, "user"),
        ({"to": TOKEN, "topic": "news"}, "topic"),
        ({"to": TOKEN, "title": "t" * 501}, "title"),
        ({"to": TOKEN, "body": "b" * 4001}, "body"),
        ({"to": TOKEN, "body": "é" * 2100}, "body"),
        ({"to": TOKEN, "body": "a\0b"}, "body"),
        ({"to": TOKEN, "template": "fee-due"}, "template"),
        ({"to": TOKEN, "title": "", "body": "", "template": "none"}, "template"),
        ({"to": TOKEN, "title": "", "body": ""}, "body"),
        ({"to": TOKEN, "data": {"a": "x" * 4000}}, "data"),
        ({"to": TOKEN, "data": {"a": {"b": 1}}}, "data.a"),
        ({"to": TOKEN, "data": {"from": "x"}}, "data"),
        ({"to": TOKEN, "data": {"google.x": "x"}}, "data"),
        ({"to": TOKEN, "data": {"aps": "x"}}, "data"),
        ({"to": TOKEN, "data": ["x"]}, "data"),
        ({"to": TOKEN, "image_url": "http://example.com/a.png"}, "image_url"),
        ({"to": TOKEN, "image_url": "picture"}, "image_url"),
        ({"to": TOKEN, "collapse_key": "k" * 65}, "collapse_key"),
        ({"to": TOKEN, "collapse_key": "ключ"}, "collapse_key"),
        ({"to": TOKEN, "ttl": -1}, "ttl"),
        ({"to": TOKEN, "ttl": 28 * 86_400 + 1}, "ttl"),
        ({"to": TOKEN, "badge": -1}, "badge"),
        ({"to": TOKEN, "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"to": TOKEN, "category": "c" * 31}, "category"),
        ({"topic": "no spaces"}, "topic"),
        ({"topic": "news", "body": "x" * 2048}, "body"),
        ({"to": TOKEN, "colour": "red"}, "colour"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(
    admin_api: APIClient, fcm: Config, given: dict[str, Any], attr: str
) -> None:
    answer = send(admin_api, **given)
    assert answer.status_code == 400, answer.json()
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


def test_the_same_idempotency_key_sends_once(admin_api: APIClient, fcm: Config) -> None:
    body = {"to": TOKEN, "body": "Once"}
    answers = [admin_api.post(f"{BASE}/send", body, format="json", headers={"Idempotency-Key": "k-1"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert Message.objects.count() == 1


def test_a_key_of_ours_counts_for_all_its_messages(tenant: Tenant, fcm: Config, apns: Config) -> None:
    device(tenant, user="u")
    device(tenant, APPLE, "ios", user="u")
    first = send_push(tenant=tenant, users=["u"], body="x", key="rule:1")
    again = send_push(tenant=tenant, users=["u"], body="x", key="rule:1")
    assert (again.pk, again.content["also"]) == (first.pk, first.content["also"])
    assert Message.objects.count() == 2


@pytest.mark.parametrize(("role", "status"), [("staff", 202), ("auditor", 403)])
def test_who_may_send(tenant: Tenant, fcm: Config, role: str, status: int) -> None:
    assert send(make_client(tenant, role), to=TOKEN).status_code == status


# --- what is put to the provider


def test_everything_reaches_the_adapter(admin_api: APIClient, tenant: Tenant, apns: Config, clock: MovableClock) -> None:
    device(tenant, APPLE, "ios", user="u", environment="sandbox", app="com.example.other")
    given = {
        "data": {"screen": "fees"},
        "image_url": "https://example.com/a.png",
        "link": "app://fees/1",
        "sound": "default",
        "badge": 0,
        "collapse_key": "fees",
        "urgent": False,
        "ttl": 3600,
        "expires_at": (clock() + timedelta(minutes=10)).isoformat(),
    }
    found = notification(send(admin_api, user="u", **given).json()["id"])
    assert (found.title, found.body, found.data) == ("Fees", "Term 1 is due", {"screen": "fees"})
    assert (found.image_url, found.link, found.sound, found.badge) == (given["image_url"], "app://fees/1", "default", 0)
    assert (found.collapse_key, found.urgent, found.ttl) == ("fees", False, 600)
    assert (found.device_environment, found.app) == ("sandbox", "com.example.other")


def test_a_silent_one_and_the_hubs_own_collapse_key(admin_api: APIClient, fcm: Config) -> None:
    shown = send(admin_api, to=TOKEN, title="", body="", data={"sync": "1"}).json()
    found = notification(shown["id"])
    assert (found.silent, found.collapse_key, found.ttl) == (True, shown["id"], None)


# --- between accepting and sending


def prepared(message_id: str) -> Any:
    return PushSendJob().prepare(QueueItem.objects.get(kind="push.send", reference_id=message_id))


@pytest.mark.parametrize("change", ["signed_out", "another_user", "gone"])
def test_what_was_for_one_user_is_not_shown_to_the_next(admin_api: APIClient, tenant: Tenant, fcm: Config, change: str) -> None:
    found = device(tenant, user="student-7")
    message_id = send(admin_api, user="student-7").json()["id"]
    if change == "signed_out":
        devices.remove(tenant_id=tenant.pk, token=TOKEN)
    elif change == "another_user":
        device(tenant, user="student-8")
    else:
        Device.objects.filter(pk=found.pk).update(gone_at=found.registered_at)
    assert prepared(message_id) is None
    recipient = Recipient.objects.get(message_id=message_id)
    assert (recipient.state, recipient.provider_status, recipient.given_up) == ("failed", "device_moved", False)


def test_a_follower_who_left_the_topic_is_passed_over(admin_api: APIClient, tenant: Tenant, apns: Config) -> None:
    device(tenant, APPLE, "ios", user="a", topics=["news"])
    message_id = send(admin_api, topic="news").json()["id"]
    device(tenant, APPLE, "ios", user="b", topics=["news"])
    device(tenant, APPLE, "ios", user="b", topics=[])
    assert prepared(message_id) is None
    assert Recipient.objects.get().provider_status == "device_moved"


def test_a_token_that_was_named_is_written_to_all_the_same(admin_api: APIClient, tenant: Tenant, fcm: Config) -> None:
    device(tenant, user="student-7")
    message_id = send(admin_api, to=TOKEN).json()["id"]
    device(tenant, user="student-8")
    assert prepared(message_id) is not None


# --- what the provider says


def test_a_wrong_key_file_kills_no_device(admin_api: APIClient, tenant: Tenant, fcm: Config) -> None:
    device(tenant, user="u")
    message_id = send(admin_api, user="u").json()["id"]
    item = QueueItem.objects.get(kind="push.send")
    refused = RecipientResult(
        TOKEN, MessageState.FAILED, provider_code="MISMATCH", detail="another project", suppress=SuppressReason.INVALID
    )
    PushSendJob().succeeded(item, refused)
    assert Recipient.objects.get(message_id=message_id).state == "failed"
    assert Device.objects.get().gone_at is None
    assert not Suppression.objects.exists()
    assert "MISMATCH" in Alert.objects.get(kind="device_tokens_refused").message


@pytest.mark.parametrize("back", [False, True])
def test_dead_when_asked_is_not_dead_for_who_came_since(
    admin_api: APIClient, tenant: Tenant, fcm: Config, clock: MovableClock, back: bool
) -> None:
    device(tenant, user="u")
    send(admin_api, user="u")
    item = QueueItem.objects.get(kind="push.send")
    clock.advance(5)
    Attempt.unscoped.create(tenant=tenant, item=item, fence=1, operation="send", started_at=clock())
    clock.advance(5)
    if back:
        device(tenant, user="u")
    PushSendJob().succeeded(item, RecipientResult(TOKEN, MessageState.FAILED, suppress=SuppressReason.DEAD_TOKEN))
    assert (Device.objects.get().gone_at is None) is back
