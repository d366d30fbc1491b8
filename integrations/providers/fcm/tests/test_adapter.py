from __future__ import annotations

import json
from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.messaging import MessageState, RecipientResult, SuppressReason
from integrations.contracts.push import PushAdapter, PushNotification
from integrations.providers.fcm.adapter import FcmPush
from integrations.providers.fcm.tests.support import (
    DEVICE,
    EMAIL,
    MemoryTokens,
    RecordingHttp,
    fixture,
    make_adapter,
    notification,
    view,
)

SEND = "/v1/projects/shop-prod/messages:send"
HEADERS = {"Authorization": "Bearer held-token", "Accept": "application/json"}
ID = "0:1795249000123456%7f3a91c2f9fd7ecd"


def topic_message(**changed: Any) -> PushNotification:
    return notification("", topic="news", **changed)


def error_body(code: int, status: str, *details: dict[str, Any], message: str = "m") -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "status": status, "details": list(details)}}).encode()


def fcm(code: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}


def fields(*names: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": name} for name in names]}


# Apple's other refusals are about the project's set-up, not about this device.
APNS_TOPIC = {"@type": "type.googleapis.com/google.firebase.fcm.v1.ApnsError", "reason": "BadTopic", "statusCode": 400}


def test_what_it_can_do() -> None:
    assert issubclass(FcmPush, PushAdapter)
    assert FcmPush.has_topics is True
    assert FcmPush.platforms == {"android", "ios", "web"}


def test_an_accepted_message_is_sent_and_that_is_all_firebase_ever_says(http: RecordingHttp) -> None:
    http.answer(fixture("sent.json"))
    assert make_adapter(http).send(notification()) == RecipientResult(DEVICE, MessageState.SENT, provider_ref=ID)
    (call,) = http.calls
    body = call.pop("json")
    assert call == {"method": "POST", "url": SEND, "operation": "send", "safe": False, "headers": HEADERS}
    assert set(body) == {"message"}
    assert body["message"]["token"] == DEVICE


def test_a_topic_s_result_names_the_topic(http: RecordingHttp) -> None:
    http.answer(fixture("sent.json"))
    result = make_adapter(http).send(topic_message())
    assert (result.address, result.state, result.provider_ref) == ("news", MessageState.SENT, ID)
    assert http.message["topic"] == "news"
    assert "token" not in http.message


def test_a_sandbox_config_has_messages_checked_only(http: RecordingHttp) -> None:
    http.answer(fixture("checked.json"))
    result = make_adapter(http, view(Environment.SANDBOX)).send(notification())
    assert (result.state, result.provider_ref) == (MessageState.SENT, "fake_message_id")
    assert result.detail == "Checked by Firebase and not sent: this is a sandbox config."
    assert http.calls[0]["json"]["validate_only"] is True
    assert http.calls[0]["safe"] is True


# --- refusals


@pytest.mark.parametrize(
    ("name", "status", "code", "suppress"),
    [
        ("error__unregistered.json", 404, "UNREGISTERED", SuppressReason.DEAD_TOKEN),
        ("error__apns_unregistered.json", 400, "INVALID_ARGUMENT", SuppressReason.DEAD_TOKEN),
        ("error__bad_token.json", 400, "INVALID_ARGUMENT", SuppressReason.INVALID),
        ("error__bad_token_by_field.json", 400, "INVALID_ARGUMENT", SuppressReason.INVALID),
        ("error__sender_mismatch.json", 403, "SENDER_ID_MISMATCH", SuppressReason.INVALID),
    ],
)
def test_a_device_that_can_not_be_reached_any_more(
    http: RecordingHttp, name: str, status: int, code: str, suppress: SuppressReason
) -> None:
    http.answer(fixture(name), status)
    result = make_adapter(http).send(notification())
    assert (result.address, result.state, result.provider_code) == (DEVICE, MessageState.FAILED, code)
    assert (result.suppress, result.retryable, result.provider_ref) == (suppress, False, "")
    assert result.detail
    assert len(http.calls) == 1


@pytest.mark.parametrize(
    ("status", "body", "error_class", "code", "attr", "wait"),
    [
        (400, fixture("error__bad_value.json"), InvalidRequest, "INVALID_ARGUMENT", "data", None),
        (400, fixture("error__no_recipient.json"), InvalidRequest, "INVALID_ARGUMENT", "message", None),
        (400, fixture("error__too_large.json"), InvalidRequest, "INVALID_ARGUMENT", "message", None),
        (
            400,
            error_body(400, "INVALID_ARGUMENT", fcm("INVALID_ARGUMENT"), message="Android message is too big"),
            InvalidRequest,
            "INVALID_ARGUMENT",
            "message",
            None,
        ),
        (
            400,
            error_body(400, "INVALID_ARGUMENT", fcm("INVALID_ARGUMENT"), fields("message.token", "message.android.ttl")),
            InvalidRequest,
            "INVALID_ARGUMENT",
            "to",
            None,
        ),
        (
            400,
            error_body(400, "INVALID_ARGUMENT", fields("message.webpush.fcmOptions.link")),
            InvalidRequest,
            "INVALID_ARGUMENT",
            "link",
            None,
        ),
        (
            400,
            error_body(400, "INVALID_ARGUMENT", fields("message.token"), message="Invalid registration token"),
            InvalidRequest,
            "INVALID_ARGUMENT",
            "to",
            None,
        ),
        (
            400,
            error_body(400, "INVALID_ARGUMENT", fcm("INVALID_ARGUMENT"), APNS_TOPIC, fields("message.token")),
            InvalidRequest,
            "INVALID_ARGUMENT",
            "to",
            None,
        ),
        (413, b"<html>", InvalidRequest, "413", "message", None),
        (401, fixture("error__third_party.json"), AuthenticationFailed, "THIRD_PARTY_AUTH_ERROR", None, None),
        (
            401,
            error_body(401, "UNAUTHENTICATED", fcm("APNS_AUTH_ERROR")),
            AuthenticationFailed,
            "APNS_AUTH_ERROR",
            None,
            None,
        ),
        (403, fixture("error__no_right.json"), AuthenticationFailed, "IAM_PERMISSION_DENIED", None, None),
        (403, b"", AuthenticationFailed, "403", None, None),
        (404, fixture("error__no_project.json"), AuthenticationFailed, "NOT_FOUND", None, None),
        (404, b"<html>Error 404 (Not Found)!!1", AuthenticationFailed, "404", None, None),
        (429, fixture("error__quota.json"), RateLimited, "QUOTA_EXCEEDED", None, 60.0),
        (429, b"", RateLimited, "429", None, 60.0),
        (503, fixture("error__unavailable.json"), ProviderUnavailable, "UNAVAILABLE", None, 10.0),
        (503, b"<html>", OutcomeUnknown, "503", None, 10.0),
        (500, fixture("error__internal.json"), OutcomeUnknown, "INTERNAL", None, 10.0),
        (502, fixture("bad_gateway.html"), OutcomeUnknown, "502", None, 10.0),
        (408, b"", OutcomeUnknown, "408", None, 10.0),
        (302, b"", OutcomeUnknown, "302", None, 10.0),
    ],
)
def test_refusals_of_the_request_are_errors_and_keep_the_device(
    http: RecordingHttp,
    status: int,
    body: bytes,
    error_class: type[ProviderError],
    code: str,
    attr: str | None,
    wait: float | None,
) -> None:
    http.answer(body, status)
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).send(notification())
    error = caught.value
    assert (type(error), error.provider_code, error.attr, error.retry_after) == (error_class, code, attr, wait)
    assert len(http.calls) == 1, "a 401 about Apple's key is no reason to fetch a token"


@pytest.mark.parametrize("name", ["error__unregistered.json", "error__bad_token.json", "error__sender_mismatch.json"])
def test_a_topic_is_no_device(http: RecordingHttp, name: str) -> None:
    http.answer(fixture(name), json.loads(fixture(name))["error"]["code"])
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).send(topic_message())
    assert type(caught.value) in (InvalidRequest, AuthenticationFailed)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("999999", 3600.0),
        ("Sat, 21 Nov 2026 08:45:00 GMT", 100.0),
        ("Sat, 21 Nov 2026 08:00:00 GMT", 0.0),
        ("soon", 60.0),
        ("", 60.0),
    ],
)
def test_the_wait_that_firebase_asks_for_is_honoured(http: RecordingHttp, header: str, wait: float) -> None:
    http.answer(fixture("error__quota.json"), 429, {"retry-after": header})
    with pytest.raises(RateLimited) as caught:
        make_adapter(http).send(notification())
    assert caught.value.retry_after == wait


def test_googles_sentence_is_shown_on_one_line(http: RecordingHttp) -> None:
    http.answer(error_body(400, "INVALID_ARGUMENT", message="Bad\n thing" + "x" * 900), 400)
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(notification())
    assert caught.value.message == "Firebase refused the message: Bad thing" + "x" * 291


@pytest.mark.parametrize(
    "body", [b"[]", b'{"error":7}', b'{"error":{"details":7,"message":null}}', b'{"error":{"details":[7,{}],"status":[]}}']
)
def test_a_strange_refusal_is_still_one(http: RecordingHttp, body: bytes) -> None:
    http.answer(body, 400)
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(notification())
    assert caught.value.provider_code == "400"


# --- lost answers


@pytest.mark.parametrize(("collapse_key", "kind"), [("order-1042", Undecided), ("", OutcomeUnknown)])
@pytest.mark.parametrize(
    "reply",
    [
        OutcomeUnknown("The request was sent, but no answer came back."),
        (500, fixture("error__internal.json")),
        (502, fixture("bad_gateway.html")),
        (503, b""),
    ],
)
def test_a_lost_answer_is_repeated_only_where_the_device_replaces_the_first(
    http: RecordingHttp, collapse_key: str, kind: type[ProviderError], reply: Any
) -> None:
    if isinstance(reply, Exception):
        http.replies.append(reply)
    else:
        http.answer(reply[1], reply[0])
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).send(notification(collapse_key=collapse_key))
    assert type(caught.value) is kind
    assert caught.value.retryable is bool(collapse_key)
    assert len(http.calls) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"name":7}', b'{"name":"projects/p/messages/"}', b'{"name":"x"}'])
def test_an_unreadable_acceptance_is_not_sent_again_by_itself(http: RecordingHttp, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(BadReply):
        make_adapter(http).send(notification())
    http.answer(body)
    with pytest.raises(Undecided):
        make_adapter(http).send(notification(collapse_key="k"))
    http.answer(body)
    with pytest.raises(ProviderUnavailable):
        make_adapter(http, view(Environment.SANDBOX)).send(notification(collapse_key="k"))


# --- the connection test


def test_the_connection_test_fetches_a_token_and_sends_nothing(http: RecordingHttp) -> None:
    tokens = MemoryTokens("held-token")
    http.answer(fixture("token.json"))
    http.answer(fixture("checked.json"))
    result = make_adapter(http, tokens=tokens).test_connection()
    assert (result.ok, result.status) == (True, "ok")
    assert result.detail == f"Signed in as {EMAIL}; may send for project shop-prod."
    assert [(call["operation"], call["safe"]) for call in http.calls] == [("token", True), ("test", True)]
    assert http.calls[1]["json"]["validate_only"] is True
    assert http.message["topic"] == "hub-connection-test"
    assert tokens.fetched == 1


@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        (403, fixture("error__no_right.json"), AuthenticationFailed),
        (404, fixture("error__no_project.json"), AuthenticationFailed),
        (429, fixture("error__quota.json"), RateLimited),
        (500, fixture("error__internal.json"), ProviderUnavailable),
        (502, fixture("bad_gateway.html"), ProviderUnavailable),
    ],
)
def test_a_connection_test_that_fails_leaves_nothing_unknown(
    http: RecordingHttp, status: int, body: bytes, error_class: type[ProviderError]
) -> None:
    http.answer(fixture("token.json"))
    http.answer(body, status)
    with pytest.raises(ProviderError) as caught:
        make_adapter(http, tokens=MemoryTokens()).test_connection()
    assert type(caught.value) is error_class


def test_there_is_nothing_to_register(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        make_adapter(http).register_webhooks({})
    assert http.calls == []
