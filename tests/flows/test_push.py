"""Notifications to devices, from the API to what the device shows: both push services, over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from integrations.messaging.models import Device, Recipient, SendingPolicy, Suppression
from integrations.models import Alert, QueueItem
from tests.factories import MovableClock, make_config, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
BASE = "/api/v1/integrations/push"
ANDROID = "cR3x:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
APPLE = "c0ffee" + "ab" * 29


@pytest.fixture
def push(school: School) -> School:
    make_config(school.tenant, "fcm", account="school")
    make_config(school.tenant, "apns", account="school")
    return school


def register(school: School, token: str = ANDROID, platform: str = "android", **given: Any) -> int:
    answer = school.api.post(f"{BASE}/devices", {"token": token, "platform": platform, **given}, format="json")
    assert answer.status_code in {200, 201}, answer.json()
    number: int = answer.json()["id"]
    return number


def send(school: School, **given: Any) -> list[str]:
    """Send; return the ids of the messages."""
    answer = school.api.post(f"{BASE}/send", {"title": "Fees", "body": "Term 1 is due", **given}, format="json")
    assert answer.status_code == 202, answer.json()
    return [answer.json()["id"], *answer.json()["also"]]


def shown(school: School, *message_ids: str) -> dict[str, dict[str, Any]]:
    """Return {token: recipient} as the API shows them: it cuts tokens, which are as good as keys to a device."""
    found = [school.api.get(f"/api/v1/integrations/messages/{each}").json() for each in message_ids]
    tokens = Recipient.unscoped.filter(message_id__in=message_ids).values_list("address", flat=True)
    whole = {f"…{each[-8:]}": each for each in tokens}
    return {whole.get(each["to"], each["to"]): each for message in found for each in message["recipients"]}


def at_google(school: School, token: str = ANDROID) -> list[dict[str, Any]]:
    return [each for each in school.control("GET", "fcm/messages")["messages"] if each["to"] == token]


def at_apple(school: School, token: str = APPLE) -> list[dict[str, Any]]:
    return [each for each in school.control("GET", "apns/messages")["messages"] if each["to"] == token]


def alive(school: School, token: str) -> bool:
    return Device.unscoped.get(tenant=school.tenant, token=token).gone_at is None


def test_a_user_with_two_devices_and_what_the_app_tells(push: School, until: Until) -> None:
    register(push, user="student-7")
    register(push, APPLE, "ios", user="student-7")
    messages = send(push, user="student-7", data={"screen": "fees"})
    work_off()
    assert {to: each["status"] for to, each in shown(push, *messages).items()} == {ANDROID: "sent", APPLE: "sent"}
    (google,), (apple,) = at_google(push), at_apple(push)
    assert (google["title"], google["text"], google["data"]["screen"]) == ("Fees", "Term 1 is due", "fees")
    assert (apple["title"], apple["text"], apple["payload"]["screen"]) == ("Fees", "Term 1 is due", "fees")
    to_apple = next(each for each in messages if APPLE in shown(push, each))
    for named in ({"ref": google["ref"], "event": "opened"}, {"message": to_apple, "token": APPLE, "event": "delivered"}):
        assert push.api.post(f"{BASE}/ack", named, format="json").status_code == 200
    found = shown(push, *messages)
    assert {to: each["status"] for to, each in found.items()} == {ANDROID: "delivered", APPLE: "delivered"}
    assert (found[ANDROID]["opened_at"] is not None, found[APPLE]["opened_at"]) == (True, None)
    told = until(lambda: [each for each in push.sink() if each["body"]["type"] == "message.delivered"])
    assert told


def test_a_topic_reaches_those_who_follow_it_now(push: School) -> None:
    register(push, topics=["news", "fees"])
    register(push, APPLE, "ios", topics=["news"])
    register(push, "eeff" * 16, "ios", topics=["fees"])
    work_off()
    messages = send(push, topic="news")
    work_off()
    assert {to: each["status"] for to, each in shown(push, *messages).items()} == {"news": "sent", APPLE: "sent"}
    assert push.control("GET", f"fcm/screen/{ANDROID}")["shown"] == [{"title": "Fees", "text": "Term 1 is due"}]
    assert (len(at_apple(push)), at_apple(push, "eeff" * 16)) == (1, [])
    register(push, topics=["fees"])
    assert push.api.delete(f"{BASE}/devices", {"token": APPLE}, format="json").status_code == 204
    work_off()
    send(push, topic="news", title="Later")
    work_off()
    assert push.control("GET", f"fcm/screen/{ANDROID}")["shown"] == []
    assert len(at_apple(push)) == 1


def test_signing_out_unfollows_at_the_provider(push: School) -> None:
    register(push, topics=["news"])
    work_off()
    push.api.delete(f"{BASE}/devices", {"token": ANDROID}, format="json")
    work_off()
    operations = [each["operation"] for each in push.control("GET", "fcm/requests")]
    assert {"follow", "unfollow"} <= set(operations)
    send(push, topic="news")
    work_off()
    assert push.control("GET", f"fcm/screen/{ANDROID}")["shown"] == []
    assert not QueueItem.unscoped.filter(kind="push.topics").exclude(state="completed").exists()


def test_dead_tokens_are_let_go_and_come_back_alive(push: School) -> None:
    google, apple = "unreg-" + "a" * 40, "dead" + "0" * 60
    register(push, google, user="u", topics=["news"])
    register(push, apple, "ios", user="u")
    found = shown(push, *send(push, user="u"))
    work_off()
    assert set(found) == {google, apple}
    assert (alive(push, google), alive(push, apple)) == (False, False)
    refused = push.api.post(f"{BASE}/send", {"user": "u", "body": "x"}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "user")
    register(push, apple, "ios", user="u")
    assert alive(push, apple)
    assert not Suppression.unscoped.exists()


def test_a_registration_younger_than_the_death_stays(push: School) -> None:
    token = "dea0" + "0" * 60
    register(push, token, "ios", user="u")
    messages = send(push, user="u")
    work_off()
    found = shown(push, *messages)[token]
    assert (found["status"], found["provider_status"]) == ("failed", "Unregistered")
    assert alive(push, token)


def test_a_wrong_key_file_costs_no_device(push: School) -> None:
    token = "mismatch-" + "a" * 40
    register(push, token, user="u")
    for _ in range(2):
        messages = send(push, user="u")
        work_off()
        assert shown(push, *messages)[token]["provider_status"] == "SENDER_ID_MISMATCH"
    assert alive(push, token)
    assert not Suppression.unscoped.exists()
    assert Alert.objects.get(tenant=push.tenant, kind="device_tokens_refused").count == 2


def test_a_development_build_is_found_once_and_remembered(push: School) -> None:
    token = "0de5" + "0" * 60
    register(push, token, "ios", user="u")

    def asked() -> int:
        return len([each for each in push.control("GET", "apns/requests") if each["operation"] == "send"])

    send(push, user="u")
    work_off()
    assert (len(at_apple(push, token)), asked()) == (1, 2)
    assert Device.unscoped.get(token=token).environment == "sandbox"
    send(push, user="u")
    work_off()
    assert (len(at_apple(push, token)), asked()) == (2, 3)


@pytest.mark.parametrize(("slug", "token", "platform"), [("fcm", ANDROID, "android"), ("apns", APPLE, "ios")])
def test_a_lost_answer_is_asked_for_again_and_shown_once(
    push: School, clock: MovableClock, slug: str, token: str, platform: str
) -> None:
    clock.moment = datetime.now(UTC)  # the simulators look at the age of tokens by their own clock
    register(push, token, platform, user="u")
    (message,) = send(push, user="u")
    push.fault(slug, "send", "drop_after_accept")
    work_off()
    assert shown(push, message)[token]["status"] == "queued"
    clock.advance(10)
    work_off()
    assert shown(push, message)[token]["status"] == "sent"
    taken = at_google(push) if slug == "fcm" else at_apple(push)
    keys = {each["collapse_key" if slug == "fcm" else "collapse_id"] for each in taken}
    assert (len(taken), keys) == (2, {message})
    if slug == "fcm":
        assert len(push.control("GET", f"fcm/screen/{token}")["shown"]) == 1


def test_the_night_is_the_devices_own(push: School, clock: MovableClock) -> None:
    now = clock.moment = datetime.now(UTC).replace(second=0, microsecond=0)
    there = now.astimezone(ZoneInfo("Asia/Tokyo"))
    SendingPolicy.unscoped.create(
        tenant=push.tenant,
        channel="push",
        quiet_from=(there - timedelta(hours=1)).time(),
        quiet_until=(there + timedelta(minutes=15)).time(),
    )
    register(push, user="u", time_zone="Africa/Nairobi")
    register(push, APPLE, "ios", user="u", time_zone="Asia/Tokyo")
    messages = send(push, user="u")
    work_off()
    assert {to: each["status"] for to, each in shown(push, *messages).items()} == {ANDROID: "sent", APPLE: "queued"}
    waiting = QueueItem.unscoped.get(kind="push.send", state="pending")
    assert waiting.due_at == now + timedelta(minutes=15)
    clock.moment = now + timedelta(minutes=15)
    work_off()
    assert (shown(push, *messages)[APPLE]["status"], len(at_apple(push))) == ("sent", 1)


def test_a_message_of_which_the_user_left_the_device_is_not_shown(push: School) -> None:
    register(push, user="student-7")
    (message,) = send(push, user="student-7")
    register(push, user="student-8")
    work_off()
    assert shown(push, message)[ANDROID]["provider_status"] == "device_moved"
    assert at_google(push) == []
