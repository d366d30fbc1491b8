"""The device registry: who is where, who follows what, and who is gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.errors import InvalidRequest, OutcomeUnknown, ProviderUnavailable, Undecided
from integrations.contracts.messaging import MessageState, RecipientResult
from integrations.messaging.jobs.topics import ROUNDS, TopicJob
from integrations.messaging.models import Device, Message, Recipient
from integrations.messaging.push import devices
from integrations.models import Alert, Attempt, Config, QueueItem, QueueState, Role, Tenant
from tests.factories import MovableClock, make_client, make_config, make_user

pytestmark = pytest.mark.django_db
PATH = "/api/v1/integrations/push/devices"
TOKEN = "cR3x:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
APPLE = "C0FFEE" + "ab" * 29


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


def post(api: APIClient, **given: Any) -> Any:
    return api.post(PATH, {"token": TOKEN, "platform": "android", **given}, format="json")


def items() -> list[QueueItem]:
    return list(QueueItem.objects.filter(kind="push.topics").order_by("id"))


def follow_ups() -> list[tuple[str, str]]:
    """Return (operation, topic) that the open items would ask for now."""
    calls = [(TopicJob().prepare(item), item) for item in items() if item.state == QueueState.PENDING]
    return sorted((call.operation, call.arguments[0]) for call, _item in calls if call is not None)


def test_registering_is_201_and_renewing_200(admin_api: APIClient, clock: MovableClock) -> None:
    first = post(admin_api, user="student-7", language="en_KE", time_zone="Africa/Nairobi", topics=["news", "fees", "news"])
    assert first.status_code == 201, first.json()
    shown = first.json()
    assert (shown["token"], shown["user"], shown["alive"]) == (TOKEN, "student-7", True)
    assert (shown["language"], shown["time_zone"], shown["topics"]) == ("en-KE", "Africa/Nairobi", ["news", "fees"])
    clock.advance(60)
    again = post(admin_api, user="student-8")
    assert (again.status_code, again.json()["id"]) == (200, shown["id"])
    assert (again.json()["user"], again.json()["language"], again.json()["topics"]) == ("student-8", "", [])
    assert Device.objects.get().registered_at == clock()


def test_topics_stay_while_the_user_does(admin_api: APIClient) -> None:
    post(admin_api, user="student-7", topics=["news"])
    assert post(admin_api, user="student-7").json()["topics"] == ["news"]
    assert post(admin_api, user="student-7", topics=[]).json()["topics"] == []


def test_apples_tokens_are_one_whatever_their_case(admin_api: APIClient) -> None:
    first = post(admin_api, token=APPLE, platform="ios", environment="sandbox")
    again = post(admin_api, token=APPLE.lower(), platform="ios")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["environment"] == "sandbox"
    assert Device.objects.get().token == APPLE.lower()


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        ({"token": ""}, "token"),
        ({"token": "short"}, "token"),
        ({"token": "has a space in it"}, "token"),
        ({"token": "x" * 513}, "token"),
        ({"token": "schlüssel-1"}, "token"),
        ({"token": APPLE}, "platform"),
        ({"platform": "symbian"}, "platform"),
        ({"platform": None}, "platform"),
        ({"language": "english please"}, "language"),
        ({"language": "e"}, "language"),
        ({"time_zone": "Nairobi"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "Africa"}, "time_zone"),
        ({"topics": ["no spaces"]}, "topics"),
        ({"topics": ["/topics/news"]}, "topics"),
        ({"topics": "news"}, "topics"),
        ({"topics": [f"t{n}" for n in range(201)]}, "topics"),
        ({"environment": "staging"}, "environment"),
        ({"app": "com example"}, "app"),
        ({"user": "u" * 151}, "user"),
        ({"provider": "nobody"}, "provider"),
        ({"provider": "africastalking"}, "provider"),
        ({"config": 999_999}, "config"),
        ({"config": 10**30}, "config"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(admin_api: APIClient, given: dict[str, Any], attr: str) -> None:
    answer = post(admin_api, **given)
    assert answer.status_code == 400
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert Device.objects.count() == 0


def test_an_account_must_be_ones_own_and_reach_the_platform(
    admin_api: APIClient, apns: Config, fcm: Config, other_tenant: Tenant
) -> None:
    with scope(tenant=other_tenant):
        theirs = make_config(other_tenant, "fcm", account="studio")
    assert post(admin_api, config=theirs.pk).json()["errors"][0]["attr"] == "config"
    assert post(admin_api, config=apns.pk).json()["errors"][0]["attr"] == "platform"
    assert post(admin_api, config=fcm.pk, provider="apns").json()["errors"][0]["attr"] == "config"
    assert Device.objects.count() == 0
    assert post(admin_api, config=fcm.pk, provider="fcm").json()["config"] == fcm.pk


def test_the_same_idempotency_key_registers_once(admin_api: APIClient) -> None:
    body = {"token": TOKEN, "platform": "android"}
    answers = [admin_api.post(PATH, body, format="json", headers={"Idempotency-Key": "k-1"}) for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 201]
    assert answers[1].headers["Idempotent-Replayed"] == "true"


def test_lists_mask_tokens_and_are_filtered(admin_api: APIClient, tenant: Tenant) -> None:
    one, _ = devices.register(tenant=tenant, token=TOKEN, platform="android", user="a", topics=["news"])
    two, _ = devices.register(tenant=tenant, token=APPLE, platform="ios", user="b", topics=["fees"])
    Device.objects.filter(pk=two.pk).update(gone_at=two.registered_at)

    def found(query: str = "") -> list[int]:
        answer = admin_api.get(PATH + query)
        assert answer.status_code == 200
        assert TOKEN not in answer.content.decode()
        return [each["id"] for each in answer.json()["results"]]

    assert found() == [two.pk, one.pk]
    assert found("?user=a") == found("?platform=android") == found("?topic=news") == found("?alive=true") == [one.pk]
    assert found("?alive=false") == found("?topic=fees") == [two.pk]
    assert admin_api.get(PATH + "?platform=tv").status_code == 400
    shown = admin_api.get(f"{PATH}/{one.pk}").json()
    assert (shown["token"], shown["alive"]) == (f"…{TOKEN[-8:]}", True)


def test_signing_out_forgets_the_device_and_is_no_error_twice(admin_api: APIClient, fcm: Config) -> None:
    post(admin_api, user="student-7", topics=["news"])
    for _ in range(2):
        assert admin_api.delete(PATH, {"token": TOKEN}, format="json").status_code == 204
    assert Device.objects.count() == 0
    assert follow_ups() == [("unfollow", "news")]
    assert admin_api.delete(PATH, {}, format="json").json()["errors"][0]["attr"] == "token"


def test_removing_by_id(admin_api: APIClient) -> None:
    number = post(admin_api).json()["id"]
    assert admin_api.delete(f"{PATH}/{number}").status_code == 204
    assert admin_api.get(f"{PATH}/{number}").status_code == 404
    assert admin_api.delete(f"{PATH}/{number}").status_code == 404


def test_one_tenants_token_is_not_anothers(admin_api: APIClient, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        theirs, _ = devices.register(tenant=other_tenant, token=TOKEN, platform="android", user="theirs")
    assert post(admin_api, user="ours").status_code == 201
    admin_api.delete(PATH, {"token": TOKEN}, format="json")
    assert Device.unscoped.get().pk == theirs.pk


@pytest.mark.parametrize(("role", "status"), [("staff", 201), ("auditor", 403)])
def test_who_may_register(tenant: Tenant, role: str, status: int) -> None:
    assert post(make_client(tenant, role)).status_code == status


def test_an_admin_lets_one_go_and_never_sees_its_token(tenant: Tenant, fcm: Config) -> None:
    device, _ = devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news"])
    QueueItem.objects.all().delete()
    browser = Client()
    browser.force_login(make_user("head", tenant=tenant, role=Role.ADMIN))
    place = reverse("admin:messaging_device_changelist")
    for page in (place, f"{place}{device.pk}/change/", f"{place}{device.pk}/delete/"):
        answer = browser.get(page)
        assert answer.status_code == 200
        assert TOKEN not in answer.content.decode()
    assert browser.post(f"{place}{device.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Device.objects.exists()
    assert follow_ups() == [("unfollow", "news")]


# --- which account reaches a device


def test_the_account_made_for_a_platform_comes_first(tenant: Tenant, fcm: Config, apns: Config) -> None:
    accounts = devices.Accounts(tenant.pk)

    def reached(**fields: Any) -> int | None:
        account = accounts.of(Device(tenant=tenant, **fields))
        return account.config_id if account else None

    assert reached(token=TOKEN, platform="android") == fcm.pk
    assert reached(token=APPLE, platform="ios") == apns.pk
    # An app that uses the other service's kit on Apple's device has that service's token.
    assert reached(token=TOKEN, platform="ios") == fcm.pk
    assert reached(token=APPLE, platform="ios", provider="fcm") == fcm.pk
    assert reached(token=TOKEN, platform="ios", config_id=apns.pk) == apns.pk


def test_without_an_account_of_its_own_a_platform_is_reached_by_another(tenant: Tenant, fcm: Config) -> None:
    account = devices.Accounts(tenant.pk).of(Device(tenant=tenant, token=APPLE, platform="ios"))
    assert account is not None
    assert account.config_id == fcm.pk
    assert devices.Accounts(tenant.pk).of(Device(tenant=tenant, token=APPLE, platform="ios", provider="apns")) is None


# --- topics


def test_what_changes_is_told_and_nothing_else(tenant: Tenant, fcm: Config) -> None:
    def register(*topics: str) -> None:
        devices.register(tenant=tenant, token=TOKEN, platform="android", topics=topics)

    register("news", "fees")
    assert follow_ups() == [("follow", "fees"), ("follow", "news")]
    QueueItem.objects.all().delete()
    register("news", "sport")
    assert follow_ups() == [("follow", "sport"), ("unfollow", "fees")]
    QueueItem.objects.all().delete()
    register("sport", "news")
    assert items() == []


def test_a_device_that_comes_back_follows_all_anew(tenant: Tenant, fcm: Config) -> None:
    device, _ = devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news"])
    QueueItem.objects.all().delete()
    Device.objects.filter(pk=device.pk).update(gone_at=device.registered_at, gone_why="Unregistered")
    back, is_new = devices.register(tenant=tenant, token=TOKEN, platform="android")
    assert (is_new, back.gone_at, back.gone_why) == (False, None, "")
    assert follow_ups() == [("follow", "news")]


def test_a_service_without_topics_is_told_nothing(tenant: Tenant, apns: Config) -> None:
    devices.register(tenant=tenant, token=APPLE, platform="ios", topics=["news"])
    assert items() == []


def test_the_item_holds_no_token_and_the_last_word_counts(tenant: Tenant, fcm: Config) -> None:
    devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news"])
    devices.register(tenant=tenant, token=TOKEN, platform="android", topics=[])
    (item,) = items()
    assert TOKEN not in str(item.payload) + item.key
    call = TopicJob().prepare(item)
    assert call is not None
    assert (call.operation, call.arguments, call.config_id) == ("unfollow", ("news", (TOKEN,)), fcm.pk)


def begun(item: QueueItem, operation: str) -> QueueItem:
    """Return the item as it is while the call is made."""
    QueueItem.objects.filter(pk=item.pk).update(state=QueueState.PROCESSING)
    Attempt.unscoped.create(tenant_id=item.tenant_id, item=item, fence=1, operation=operation, started_at=item.created)
    item.refresh_from_db()
    return item


def test_what_changed_during_the_call_is_told_afterwards(tenant: Tenant, fcm: Config) -> None:
    devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news"])
    item = begun(items()[0], "follow")
    devices.remove(tenant_id=tenant.pk, token=TOKEN)
    assert len(items()) == 1, "the running item has the same key"
    TopicJob().succeeded(item, {})
    assert follow_ups() == [("unfollow", "news")]


def test_a_topic_that_is_refused_for_the_device_is_dropped(tenant: Tenant, fcm: Config) -> None:
    devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news", "fees"])
    item = begun(next(each for each in items() if each.payload["topic"] == "news"), "follow")
    TopicJob().succeeded(item, {TOKEN: "INVALID_ARGUMENT"})
    assert Device.objects.get().topics == ["fees"]


def test_a_lost_answer_is_asked_for_again_and_in_the_end_told(tenant: Tenant, fcm: Config, clock: MovableClock) -> None:
    devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news"])
    error: OutcomeUnknown = Undecided("no answer")
    for number in range(ROUNDS):
        (item,) = QueueItem.objects.filter(kind="push.topics", state=QueueState.PENDING)
        assert TopicJob().unknown(begun(item, "follow"), error) == QueueState.COMPLETED
        QueueItem.objects.filter(pk=item.pk).update(state=QueueState.COMPLETED)
        assert Alert.objects.filter(kind="topic_not_followed").exists() == (number == ROUNDS - 1)
    assert not QueueItem.objects.filter(state=QueueState.PENDING).exists()
    TopicJob().failed(items()[0], ProviderUnavailable("away"))
    assert Alert.objects.get(kind="topic_not_followed").count == 2


def test_a_token_that_can_not_be_read_any_more_fails_and_settles(tenant: Tenant, fcm: Config) -> None:
    devices.register(tenant=tenant, token=TOKEN, platform="android", topics=["news"])
    (item,) = items()
    item.payload["token"] = "gone." + item.payload["token"].partition(".")[2]
    with pytest.raises(InvalidRequest):
        TopicJob().prepare(item)
    TopicJob().failed(item, InvalidRequest("unreadable"))
    assert not Alert.objects.exists()


# --- gone


def test_pruning_spares_what_registered_later(tenant: Tenant, clock: MovableClock) -> None:
    device, _ = devices.register(tenant=tenant, token=TOKEN, platform="android")
    message = Message.objects.create(tenant=tenant, channel="push", provider="fcm")
    recipient = Recipient.objects.create(tenant=tenant, message=message, address=TOKEN, device=device)
    assert not devices.prune(recipient, since=clock() - timedelta(days=30), why="old news")
    assert devices.prune(recipient, since=clock() + timedelta(seconds=1), why="Unregistered")
    device.refresh_from_db()
    assert (device.gone_at, device.gone_why) == (clock(), "Unregistered")
    assert not devices.prune(recipient, since=None, why="again")


def test_a_development_build_is_remembered(tenant: Tenant) -> None:
    devices.register(tenant=tenant, token=APPLE, platform="ios")
    plain = RecipientResult(APPLE.lower(), MessageState.SENT)
    devices.learn(tenant_id=tenant.pk, said=plain)
    assert Device.objects.get().environment == "production"


@pytest.mark.parametrize("token", ["a" * 7, "a" * 513, "tab\there-token", "", "null\0null"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        devices.clean_token(token)
    assert caught.value.attr == "token"


@pytest.mark.parametrize(
    ("given", "clean"), [("", ""), ("EN", "en"), ("en-ke", "en-KE"), ("zh_Hans_CN", "zh-CN"), ("swa", "swa"), ("sr-Latn", "sr")]
)
def test_languages_as_devices_say_them(given: str, clean: str) -> None:
    assert devices.clean_language(given) == clean
