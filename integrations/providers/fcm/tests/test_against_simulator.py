"""The real adapter, the hub's client and the simulator over real sockets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.messaging import MessageState, SuppressReason
from integrations.http.client import Exchange
from integrations.providers.fcm.tests.hub import Hub
from integrations.providers.fcm.tests.support import DEVICE, key_file, notification


def test_a_notification_reaches_the_device(school: Hub) -> None:
    result = school.adapter().send(notification(data={"order": "1042"}))
    assert (result.address, result.state, result.suppress) == (DEVICE, MessageState.SENT, None)
    (row,) = school.messages()
    assert row["id"] == result.provider_ref
    assert (row["to"], row["channel"], row["title"], row["text"]) == (DEVICE, "push", "Order shipped", "Arrives today")
    assert (row["ref"], row["state"], row["account"]) == ("m7", "sent", "school")
    assert row["data"] == {"order": "1042", "hub_message": "m7"}
    assert school.screen(DEVICE) == ["Order shipped"]


def test_everything_that_can_be_said_is_taken(school: Hub) -> None:
    given = notification(
        data={"order": "1042"},
        image_url="https://cdn.example.org/a.png",
        link="https://shop.example.org/orders/1042",
        sound="default",
        badge=2,
        collapse_key="order-1042",
        ttl=3600,
        urgent=False,
    )
    assert school.adapter().send(given).state is MessageState.SENT
    silent = notification(title="", body="", data={"sync": "1"}, ttl=0, link="app://orders")
    assert school.adapter().send(silent).state is MessageState.SENT
    assert school.adapter().send(notification("dIsVQ2QVRT-TW7L6VfeAMh")).state is MessageState.SENT
    assert school.screen(DEVICE) == ["Order shipped"], "the silent one shows nothing"
    assert len(school.messages()) == 3


def test_one_token_serves_many_messages_and_is_renewed_after_its_end(school: Hub) -> None:
    for _ in range(3):
        school.adapter().send(notification())
    assert school.asked("token") == [200]
    school.clock.advance(3599)
    assert school.adapter().send(notification()).state is MessageState.SENT
    assert school.asked("send") == [200, 200, 200, 401, 200]
    assert school.asked("token") == [200, 200]
    assert len(school.messages()) == 4


def test_a_token_refused_before_its_time_is_fetched_anew(school: Hub) -> None:
    assert school.adapter().send(notification("expire-1")).state is MessageState.SENT
    assert (school.asked("send"), school.asked("token")) == ([401, 200], [200, 200])
    assert len(school.messages()) == 1


@pytest.mark.parametrize(
    ("token", "code", "suppress"),
    [
        ("unreg-1", "UNREGISTERED", SuppressReason.DEAD_TOKEN),
        ("badtok-1", "INVALID_ARGUMENT", SuppressReason.INVALID),
        ("mismatch-1", "SENDER_ID_MISMATCH", SuppressReason.INVALID),
    ],
)
def test_devices_that_are_gone(school: Hub, token: str, code: str, suppress: SuppressReason) -> None:
    result = school.adapter().send(notification(token))
    assert (result.state, result.provider_code, result.suppress) == (MessageState.FAILED, code, suppress)
    assert school.messages() == []


def test_an_app_that_is_removed_later(school: Hub) -> None:
    school.adapter().send(notification())
    school.control("PUT", f"/devices/{DEVICE}", {"registered": False})
    assert school.adapter().send(notification()).suppress is SuppressReason.DEAD_TOKEN
    school.control("PUT", f"/devices/{DEVICE}", {"registered": True})
    assert school.adapter().send(notification()).state is MessageState.SENT
    assert len(school.messages()) == 2


@pytest.mark.parametrize(
    ("token", "error_class", "wait"), [("quota-1", RateLimited, 2.0), ("down-1", ProviderUnavailable, 10.0)]
)
def test_what_passes(school: Hub, token: str, error_class: type[ProviderError], wait: float) -> None:
    with pytest.raises(ProviderError) as caught:
        school.adapter().send(notification(token))
    assert (type(caught.value), caught.value.retry_after) == (error_class, wait)
    assert school.messages() == []
    assert school.adapter().send(notification(token)).state is MessageState.SENT
    assert len(school.messages()) == 1


def test_apples_key_is_the_project_s_business_and_no_token_is_fetched_for_it(school: Hub) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        school.adapter().send(notification("apnsauth-1"))
    assert caught.value.provider_code == "THIRD_PARTY_AUTH_ERROR"
    assert (school.asked("send"), school.asked("token")) == ([401], [200])


# --- lost answers


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_a_second_try_with_a_collapse_key_shows_one_notification(school: Hub, fault: str) -> None:
    given = notification(collapse_key="order-1042")
    school.fault("send", fault)
    with pytest.raises(Undecided):
        school.adapter().send(given)
    assert school.adapter().send(given).state is MessageState.SENT
    assert [row["collapse_key"] for row in school.messages()] == ["order-1042", "order-1042"]
    assert school.screen(DEVICE) == ["Order shipped"]


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_without_one_nobody_tries_again(school: Hub, fault: str) -> None:
    school.fault("send", fault)
    with pytest.raises(OutcomeUnknown) as caught:
        school.adapter().send(notification())
    assert (type(caught.value), caught.value.retryable) == (OutcomeUnknown, False)
    assert len(school.messages()) == 1


def test_an_answer_that_comes_too_late_is_lost(school: Hub) -> None:
    school.adapter().send(notification())  # which leaves the token there: only the answer to a message is late
    school.fault("send", "delay", seconds=600)
    with pytest.raises(OutcomeUnknown) as caught:
        school.adapter(timeout=(2.0, 0.2)).send(notification())
    assert type(caught.value) is OutcomeUnknown


def test_a_token_that_does_not_come_leaves_nothing_unknown(school: Hub) -> None:
    school.fault("token", "drop_after_accept")
    with pytest.raises(ProviderUnavailable):
        school.adapter().send(notification())
    school.fault("token", "error_500")
    with pytest.raises(ProviderUnavailable):
        school.adapter().send(notification())
    school.fault("token", "error_429", retry_after=7)
    with pytest.raises(RateLimited) as caught:
        school.adapter().send(notification())
    assert caught.value.retry_after == 7.0
    assert school.asked("send") == []
    assert school.messages() == []


def test_rate_limit_by_control(school: Hub) -> None:
    school.fault("send", "error_429", retry_after=9)
    with pytest.raises(RateLimited) as caught:
        school.adapter().send(notification())
    assert (caught.value.retry_after, caught.value.provider_code) == (9.0, "QUOTA_EXCEEDED")
    assert school.messages() == []


# --- whose project


def test_the_connection_test_says_who_and_sends_nothing(school: Hub) -> None:
    result = school.adapter().test_connection()
    assert result.detail == (
        "Signed in as hub-push@demo-school-push.iam.gserviceaccount.com; may send for project demo-school-push."
    )
    assert school.messages() == []


def test_a_stranger_s_key_is_refused(school: Hub) -> None:
    own = json.loads(school.account.secrets["service_account"])
    forged = key_file(**{**own, "private_key": json.loads(key_file())["private_key"]})
    with pytest.raises(AuthenticationFailed) as caught:
        school.adapter(service_account=forged).test_connection()
    assert caught.value.message == "Google refused the service account: Invalid JWT Signature."
    with pytest.raises(AuthenticationFailed) as caught:
        school.adapter(service_account=key_file()).test_connection()
    assert caught.value.message == "Google refused the service account: Invalid grant: account not found"
    assert school.asked("send") == []


@pytest.mark.parametrize(("project", "code"), [("demo-studio-push", "IAM_PERMISSION_DENIED"), ("nobodys-push", "NOT_FOUND")])
def test_another_project_is_the_config_s_fault_and_no_device_s(school: Hub, project: str, code: str) -> None:
    changed = json.dumps({**json.loads(school.account.secrets["service_account"]), "project_id": project})
    for call in (
        school.adapter(service_account=changed).test_connection,
        lambda: school.adapter(service_account=changed).send(notification()),
    ):
        with pytest.raises(AuthenticationFailed) as caught:
            call()
        assert caught.value.provider_code == code
    assert school.messages() == []


def test_two_projects_side_by_side(school: Hub, studio: Hub) -> None:
    school.adapter().send(notification())
    studio.adapter().send(notification(title="Prints ready"))
    assert [(row["account"], row["title"]) for row in school.messages()] == [
        ("school", "Order shipped"),
        ("studio", "Prints ready"),
    ]


def test_what_the_adapter_lets_pass_and_firebase_does_not(school: Hub) -> None:
    """The image's address counts too: a little too long is for Firebase to say, and keeps the device."""
    given = notification(body="x" * 4000, image_url="https://cdn.example.org/" + "a" * 100)
    with pytest.raises(InvalidRequest) as caught:
        school.adapter().send(given)
    assert caught.value.provider_code == "INVALID_ARGUMENT"
    assert school.messages() == []


# --- topics


def test_devices_follow_a_topic_and_leave_it(school: Hub) -> None:
    adapter = school.adapter()
    assert adapter.follow("news", (DEVICE, "other", "unreg-1", "badtok-1")) == {
        "unreg-1": "NOT_FOUND",
        "badtok-1": "INVALID_ARGUMENT",
    }
    assert adapter.follow("news", (DEVICE,)) == {}
    assert school.control("GET", "/state")["topics"] == {"news": [DEVICE, "other"]}
    assert adapter.send(notification("", topic="news", title="Closed on Monday")).address == "news"
    assert (school.screen(DEVICE), school.screen("other")) == (["Closed on Monday"], ["Closed on Monday"])
    assert adapter.unfollow("news", ("other",)) == {}
    assert adapter.unfollow("news", ("other",)) == {}
    assert school.control("GET", "/state")["topics"] == {"news": [DEVICE]}


def test_a_lost_answer_about_a_topic_may_be_asked_for_again(school: Hub) -> None:
    school.fault("follow", "drop_after_accept")
    with pytest.raises(Undecided):
        school.adapter().follow("news", (DEVICE,))
    assert school.adapter().follow("news", (DEVICE,)) == {}
    assert school.control("GET", "/state")["topics"] == {"news": [DEVICE]}


# --- what is written down


def test_neither_key_nor_assertion_nor_token_nor_device_is_recorded(school: Hub) -> None:
    seen: list[Exchange] = []
    recorder: Any = SimpleNamespace(started=lambda _exchange: None, finished=seen.append)
    school.adapter(recorder=recorder).send(notification())
    school.adapter(recorder=recorder).follow("news", (DEVICE,))
    assert [exchange.operation for exchange in seen] == ["token", "send", "follow"]
    said = json.dumps([[e.url, e.request_headers, e.request_body, e.response_headers, e.response_body] for e in seen])
    key = json.loads(school.account.secrets["service_account"])["private_key"]
    for canary in (school.tokens.held, DEVICE, key.splitlines()[1], "eyJ"):
        assert canary not in said
    assert "Arrives today" in said
