"""What the adapter sends, the connection test, the declaration."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Target
from integrations.contracts.push import PushNotification
from integrations.contracts.schema import SchemaErrors
from integrations.providers.apns.adapter import ApnsPush
from integrations.providers.apns.payload import ID_NAMESPACE
from integrations.providers.apns.provider import PROVIDER
from integrations.providers.apns.tests.conftest import (
    PRODUCTION,
    SANDBOX,
    TOKEN,
    RecordingHttp,
    Tokens,
    fixture,
    make_adapter,
    notification,
    view,
)

APNS_ID = str(uuid.uuid5(ID_NAMESPACE, "r_1"))


def refused(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()


def sent(http: RecordingHttp, given: PushNotification, config: ConfigView | None = None) -> dict[str, Any]:
    """Send, and return the one call made, the body parsed."""
    http.answer(apns_id=APNS_ID)
    make_adapter(http, config).send(given)
    (call,) = http.calls
    return {**call, "body": json.loads(call["body"])}


# --- what is sent


def test_an_alert_is_the_documented_request(http: RecordingHttp) -> None:
    given = notification(
        title="Game Request",
        body="Bob wants to play poker",
        sound="bingbong.aiff",
        badge=9,
        data={"gameID": "12345678"},
        collapse_key="msg_1",
        ttl=3600,
    )
    assert sent(http, given) == {
        "method": "POST",
        "url": f"{PRODUCTION}/3/device/{TOKEN}",
        "operation": "send",
        "safe": False,
        "body": {**json.loads(fixture("payload__alert.json")), "hub_message": "r_1"},
        "headers": {
            "apns-id": APNS_ID,
            "apns-topic": "com.example.app",
            "apns-push-type": "alert",
            "apns-priority": "10",
            "apns-expiration": "1795168800",
            "apns-collapse-id": "msg_1",
            "content-type": "application/json",
            "authorization": "bearer jwt",
        },
    }


def test_a_silent_one_is_a_background_update(http: RecordingHttp) -> None:
    call = sent(http, notification(title="", body="", data={"acme1": "bar", "acme2": "42"}))
    assert call["body"] == {**json.loads(fixture("payload__background.json")), "hub_message": "r_1"}
    assert (call["headers"]["apns-push-type"], call["headers"]["apns-priority"]) == ("background", "5")
    assert "apns-expiration" not in call["headers"]
    assert "apns-collapse-id" not in call["headers"]


@pytest.mark.parametrize(("changes", "aps"), [({"badge": 0}, {"badge": 0}), ({"sound": "ping"}, {"sound": "ping"})])
def test_a_badge_or_a_sound_alone_is_an_alert_for_apple(http: RecordingHttp, changes: dict[str, Any], aps: Any) -> None:
    call = sent(http, notification(title="", body="", **changes))
    assert (call["body"], call["headers"]["apns-push-type"]) == ({"aps": aps, "hub_message": "r_1"}, "alert")


def test_picture_link_app_and_leisure(http: RecordingHttp) -> None:
    given = notification(
        body="", image_url="https://x.example/1.jpg", link="app://orders/1", app="com.example.other", urgent=False, ttl=0
    )
    call = sent(http, given)
    assert call["body"] == {
        "aps": {"alert": {"title": "Order shipped"}, "mutable-content": 1},
        "hub_message": "r_1",
        "image_url": "https://x.example/1.jpg",
        "link": "app://orders/1",
    }
    headers = call["headers"]
    assert (headers["apns-topic"], headers["apns-priority"], headers["apns-expiration"]) == ("com.example.other", "5", "0")


def test_the_body_is_utf_8_and_the_token_lower_case(http: RecordingHttp) -> None:
    http.answer()
    make_adapter(http).send(notification(TOKEN.upper(), title="Häuser", body=""))
    assert http.calls[0]["body"] == '{"hub_message":"r_1","aps":{"alert":{"title":"Häuser"}}}'.encode()
    assert http.calls[0]["url"].endswith(f"/{TOKEN}")


def test_the_id_follows_from_the_note_and_differs_with_it(http: RecordingHttp) -> None:
    for ref in ("r_1", "r_1", "r_2", ""):
        http.answer()
        make_adapter(http).send(notification(ref=ref))
    ids = [call["headers"]["apns-id"] for call in http.calls]
    assert ids[0] == ids[1] == APNS_ID
    assert len(set(ids)) == 3
    assert ids[3] == str(uuid.uuid5(ID_NAMESPACE, f"msg_1 {TOKEN}"))


@pytest.mark.parametrize(
    ("environment", "device", "host"),
    [
        (Environment.PRODUCTION, "", PRODUCTION),
        (Environment.PRODUCTION, "production", PRODUCTION),
        (Environment.PRODUCTION, "sandbox", SANDBOX),
        (Environment.SANDBOX, "", SANDBOX),
        (Environment.SANDBOX, "production", SANDBOX),
        (Environment.SANDBOX, "sandbox", SANDBOX),
        (Environment.SIMULATOR, "", "http://127.0.0.1:1/apns"),
        (Environment.SIMULATOR, "sandbox", "http://127.0.0.1:1/apns/sandbox"),
    ],
)
def test_the_device_chooses_the_host(http: RecordingHttp, environment: Environment, device: str, host: str) -> None:
    config = view(environment, "http://127.0.0.1:1/apns" if environment is Environment.SIMULATOR else "")
    assert sent(http, notification(device_environment=device), config)["url"] == f"{host}/3/device/{TOKEN}"


@pytest.mark.parametrize(
    ("given", "attr"),
    [
        (notification("not-hexadecimal!"), "to"),
        (notification("abc"), "to"),
        (notification("ab12" * 16 + "/../x"), "to"),
        (notification("ab" * 300), "to"),
        (notification(data={"aps": "mine"}), "data"),
        (notification(data={"hub_message": "mine"}), "data"),
        (notification(body="x" * 4096), "message"),
        (notification(collapse_key="k" * 65), "collapse_key"),
        (notification(collapse_key="schlüssel"), "collapse_key"),
        (notification(ttl=-1), "ttl"),
    ],
)
def test_what_apple_would_refuse_is_not_sent(http: RecordingHttp, given: PushNotification, attr: str) -> None:
    tokens = Tokens()
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http, tokens=tokens).send(given)
    assert (caught.value.attr, http.calls, tokens.given) == (attr, [], 0)


def test_the_largest_body_goes_out(http: RecordingHttp) -> None:
    empty = len(b'{"hub_message":"r_1","aps":{"alert":{"body":""}}}')
    http.answer()
    make_adapter(http).send(notification(title="", body="x" * (4096 - empty)))
    assert len(http.calls[0]["body"]) == 4096
    with pytest.raises(InvalidRequest):
        make_adapter(http).send(notification(title="", body="x" * (4097 - empty)))


@pytest.mark.parametrize(
    "given", [PushNotification("m", topic="news", title="x"), PushNotification("m", Target(TOKEN), topic="news", title="x")]
)
def test_there_are_no_topics(http: RecordingHttp, given: PushNotification) -> None:
    adapter = make_adapter(http)
    assert (adapter.has_topics, adapter.platforms) == (False, {"ios"})
    for call in (lambda: adapter.send(given), lambda: adapter.follow("news", (TOKEN,))):
        with pytest.raises(UnsupportedOperation):
            call()
    assert http.calls == []


# --- the connection test, the declaration


@pytest.mark.parametrize("reason", ["BadDeviceToken", "DeviceTokenNotForTopic"])
def test_connection_test(http: RecordingHttp, reason: str) -> None:
    http.answer(400, refused(reason))
    result = make_adapter(http).test_connection()
    detail = "Signed in as team TEAM000001 with key KEY0000001, for the app com.example.app."
    assert (result.ok, result.status, result.detail) == (True, "ok", detail)
    (call,) = http.calls
    assert (call["url"], call["safe"]) == (f"{PRODUCTION}/3/device/{'0' * 64}", True)


def test_connection_test_with_an_app_that_is_not_the_teams(http: RecordingHttp) -> None:
    http.answer(400, refused("TopicDisallowed"))
    result = make_adapter(http).test_connection()
    assert (result.ok, result.status, result.detail) == (False, "refused", "Apple refused the request: TopicDisallowed.")


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "InvalidProviderToken", AuthenticationFailed),
        (429, "TooManyProviderTokenUpdates", RateLimited),
        (500, "InternalServerError", ProviderUnavailable),
        (503, "Shutdown", ProviderUnavailable),
    ],
)
def test_connection_test_without_success(http: RecordingHttp, status: int, reason: str, kind: type[ProviderError]) -> None:
    http.answer(status, refused(reason))
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).test_connection()
    assert type(caught.value) is kind


def test_declaration() -> None:
    assert PROVIDER.adapter_class(Capability.PUSH) is ApnsPush
    assert PROVIDER.http2
    assert PROVIDER.config.secret_names == {"private_key"}
    assert PROVIDER.webhook_adapter() is None


@pytest.mark.parametrize(("field", "value"), [("team_id", "short"), ("key_id", "lowercase1"), ("bundle_id", "no spaces")])
def test_a_bad_config_names_its_field(field: str, value: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        view(**{field: value})
    assert list(caught.value.errors) == [field]
