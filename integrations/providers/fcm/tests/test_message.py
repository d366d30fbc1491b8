"""What is sent for what: the bodies, and what is refused before."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Target
from integrations.contracts.push import PushNotification
from integrations.providers.fcm.message import build, web_topic
from integrations.providers.fcm.tests.discovery import check_request
from integrations.providers.fcm.tests.support import DEVICE, NOW, RecordingHttp, fixture, make_adapter, notification, view


def body(given: PushNotification, channel: str = "") -> dict[str, Any]:
    found = build(given, now=NOW, android_channel=channel, validate_only=False)
    check_request(found)
    message: dict[str, Any] = found["message"]
    return message


def test_everything_that_can_be_said() -> None:
    found = body(
        notification(
            data={"order": "1042"},
            image_url="https://cdn.example.org/a.png",
            link="https://shop.example.org/orders/1042",
            sound="default",
            badge=2,
            collapse_key="order-1042",
            ttl=3600,
        ),
        "orders",
    )
    assert found == {
        "token": DEVICE,
        "notification": {"title": "Order shipped", "body": "Arrives today", "image": "https://cdn.example.org/a.png"},
        "data": {"order": "1042", "link": "https://shop.example.org/orders/1042", "hub_message": "m7"},
        "android": {
            "priority": "HIGH",
            "ttl": "3600s",
            "collapse_key": "order-1042",
            "notification": {"channel_id": "orders", "sound": "default", "tag": "order-1042", "notification_count": 2},
        },
        "apns": {
            "headers": {"apns-priority": "10", "apns-expiration": "1795254200", "apns-collapse-id": "order-1042"},
            "payload": {"aps": {"sound": "default", "badge": 2, "mutable-content": 1}},
        },
        "webpush": {
            "headers": {"Urgency": "high", "TTL": "3600", "Topic": "order-1042"},
            "notification": {"tag": "order-1042"},
            "fcm_options": {"link": "https://shop.example.org/orders/1042"},
        },
    }


def test_only_what_was_said() -> None:
    assert body(PushNotification("msg_1", Target("t"), title="Hi")) == {
        "token": "t",
        "notification": {"title": "Hi"},
        "android": {"priority": "HIGH"},
        "apns": {"headers": {"apns-priority": "10"}},
        "webpush": {"headers": {"Urgency": "high"}},
    }


def test_a_silent_one_shows_nothing_anywhere() -> None:
    found = body(
        notification(
            title="",
            body="",
            data={"sync": "1"},
            sound="default",
            collapse_key="sync",
            badge=3,
            image_url="https://x.example/a",
        ),
        "orders",
    )
    assert found == {
        "token": DEVICE,
        "data": {"sync": "1", "hub_message": "m7"},
        "android": {"priority": "HIGH", "collapse_key": "sync"},
        "apns": {
            "headers": {"apns-priority": "5", "apns-push-type": "background", "apns-collapse-id": "sync"},
            "payload": {"aps": {"content-available": 1, "badge": 3}},
        },
        "webpush": {"headers": {"Urgency": "high", "Topic": "sync"}},
    }


def test_what_is_not_urgent() -> None:
    found = body(notification(urgent=False))
    assert found["android"]["priority"] == "NORMAL"
    assert found["apns"]["headers"]["apns-priority"] == "5"
    assert found["webpush"]["headers"]["Urgency"] == "normal"


def test_now_or_never() -> None:
    found = body(notification(ttl=0))
    assert found["android"]["ttl"] == "0s"
    assert found["apns"]["headers"]["apns-expiration"] == "0"
    assert found["webpush"]["headers"]["TTL"] == "0"


def test_a_badge_of_nothing_clears_apples_and_leaves_androids() -> None:
    found = body(notification(badge=0))
    assert found["apns"]["payload"]["aps"] == {"badge": 0}
    assert "notification" not in found["android"]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("dIsVQ2QVRT-TW7L6VfeAMh", "fid"),
        ("fcm_0123456789-ABCDEFG", "fid"),
        (DEVICE, "token"),
        ("aIsVQ2QVRT-TW7L6VfeAMh", "token"),
        ("dIsVQ2QVRT-TW7L6VfeAMh0", "token"),
    ],
)
def test_installation_ids_are_told_from_tokens(address: str, kind: str) -> None:
    assert body(notification(address))[kind] == address


def test_a_link_into_the_app_goes_by_data_alone() -> None:
    found = body(notification(link="app://orders/1042"))
    assert found["data"]["link"] == "app://orders/1042"
    assert "fcm_options" not in found["webpush"]
    assert body(notification(link="app://a", data={"link": "mine"}))["data"]["link"] == "mine"


def test_a_topic_s_app_learns_the_message_s_id() -> None:
    assert body(notification("", topic="news"))["data"] == {"hub_message": "msg_1"}


@pytest.mark.parametrize(
    ("key", "topic"),
    [
        ("order-1042", "order-1042"),
        ("a" * 32, "a" * 32),
        ("a" * 33, "hSeFyAXHfnGiI0ClTp2Vkz7UkSHn0r88"),
        ("order 7", "D8ifiuGTlLSN69Y1O7mtM5PzvHkZMVGf"),
    ],
)
def test_web_push_topics_are_short(key: str, topic: str) -> None:
    assert web_topic(key) == topic
    assert len(topic) <= 32


def test_the_channel_comes_from_the_config(http: RecordingHttp) -> None:
    http.answer(fixture("sent.json"))
    make_adapter(http, view(android_channel="orders")).send(notification())
    assert http.message["android"]["notification"] == {"channel_id": "orders"}


@pytest.mark.parametrize(
    ("changed", "attr"),
    [
        ({"target": None}, "to"),
        ({"topic": "news"}, "to"),
        ({"target": Target("")}, "to"),
        ({"target": Target("two words")}, "to"),
        ({"target": Target("line\nbreak")}, "to"),
        ({"target": None, "topic": "/topics/news"}, "topic"),
        ({"target": None, "topic": "news!"}, "topic"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": 28 * 86_400 + 1}, "ttl"),
        ({"collapse_key": "é" * 33}, "collapse_key"),
        ({"badge": -1}, "badge"),
        ({"data": {"from": "x"}}, "data"),
        ({"data": {"message_type": "x"}}, "data"),
        ({"data": {"google.x": "x"}}, "data"),
        ({"data": {"gcm.notification.x": "x"}}, "data"),
        ({"data": {"hub_message": "x"}}, "data"),
        ({"data": {"": "x"}}, "data"),
        ({"data": {"count": 7}}, "data"),
        ({"body": "é" * 2048}, "message"),
        ({"data": {"x": "y" * 4096}}, "message"),
        ({"target": None, "topic": "news", "body": "x" * 2048}, "message"),
    ],
)
def test_what_firebase_would_surely_refuse_is_not_sent(http: RecordingHttp, changed: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(notification(**changed))
    assert caught.value.attr == attr
    assert http.calls == []


@pytest.mark.parametrize(
    "changed",
    [
        {"ttl": 28 * 86_400},
        {"collapse_key": "é" * 32},
        {"data": {"fromage": "x", "googled": "y"}},
        {"body": "x" * (4096 - len("Order shipped" + "hub_message" + "m7"))},
    ],
)
def test_what_is_just_within_the_limits(http: RecordingHttp, changed: dict[str, Any]) -> None:
    http.answer(fixture("sent.json"))
    assert make_adapter(http).send(notification(**changed)).state == "sent"
