"""What the adapter makes of each answer, and what it does about its provider token and the two hosts."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.messaging import MessageState, RecipientResult, SuppressReason
from integrations.providers.apns.payload import ID_NAMESPACE
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
BAD_DEVICE = fixture("refused__bad_device_token.json")
EXPIRED = fixture("refused__expired_provider_token.json")


def refused(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()


# --- what comes back


def test_accepted(http: RecordingHttp) -> None:
    http.answer(apns_id="EABEAE54-14A8-11E5-B60B-1697F925EC7B")
    result = make_adapter(http).send(notification(TOKEN.upper()))
    ref = "eabeae54-14a8-11e5-b60b-1697f925ec7b"
    assert result == RecipientResult(TOKEN.upper(), MessageState.SENT, provider_ref=ref, provider_code="200")


def test_gone_since_when(http: RecordingHttp) -> None:
    http.answer(410, fixture("refused__unregistered.json"))
    assert make_adapter(http).send(notification()) == RecipientResult(
        TOKEN,
        MessageState.FAILED,
        provider_code="Unregistered",
        detail="the device takes nothing under this token any more",
        suppress=SuppressReason.DEAD_TOKEN,
        gone_since=datetime(2026, 11, 21, 8, 16, 40, 123000, tzinfo=UTC),
    )


@pytest.mark.parametrize("body", [b"", b"[]", b'{"timestamp":"soon"}', b'{"reason":"Unregistered","timestamp":1e400}'])
def test_gone_without_a_readable_moment(http: RecordingHttp, body: bytes) -> None:
    http.answer(410, body)
    result = make_adapter(http).send(notification())
    expected = (MessageState.FAILED, SuppressReason.DEAD_TOKEN, None, "Unregistered")
    assert (result.state, result.suppress, result.gone_since, result.provider_code) == expected


@pytest.mark.parametrize(
    ("status", "reason", "suppress"),
    [
        (410, "ExpiredToken", SuppressReason.DEAD_TOKEN),
        (400, "BadDeviceToken", SuppressReason.INVALID),
        (400, "DeviceTokenNotForTopic", None),
    ],
)
def test_refusals_of_the_device(http: RecordingHttp, status: int, reason: str, suppress: SuppressReason | None) -> None:
    http.answer(status, refused(reason))
    result = make_adapter(http).send(notification(device_environment="production"))
    assert (result.state, result.provider_code, result.suppress) == (MessageState.FAILED, reason, suppress)
    assert (result.retryable, result.provider_ref) == (False, "")


@pytest.mark.parametrize(("header", "wait"), [({}, 60.0), ({"retry_after": "10"}, 60.0), ({"retry_after": "90"}, 90.0)])
def test_too_many_for_one_device(http: RecordingHttp, header: dict[str, str], wait: float) -> None:
    http.answer(429, refused("TooManyRequests"), **header)
    result = make_adapter(http).send(notification())
    assert (result.state, result.retryable, result.retry_after) == (MessageState.FAILED, True, wait)


@pytest.mark.parametrize(
    ("status", "reason", "kind", "attr", "wait"),
    [
        (400, "BadCollapseId", InvalidRequest, "collapse_key", None),
        (400, "BadExpirationDate", InvalidRequest, "ttl", None),
        (400, "BadTopic", InvalidRequest, "app", None),
        (400, "TopicDisallowed", InvalidRequest, "app", None),
        (400, "MissingTopic", InvalidRequest, "app", None),
        (400, "PayloadEmpty", InvalidRequest, "message", None),
        (400, "MissingDeviceToken", InvalidRequest, "to", None),
        (400, "SomethingNew", InvalidRequest, None, None),
        (400, "IdleTimeout", ProviderUnavailable, None, None),
        (403, "InvalidProviderToken", AuthenticationFailed, None, None),
        (403, "BadEnvironmentKeyIdInToken", AuthenticationFailed, None, None),
        (403, "BadEnvironmentKeyInToken", AuthenticationFailed, None, None),
        (403, "UnrelatedKeyIdInToken", AuthenticationFailed, None, None),
        (403, "Forbidden", AuthenticationFailed, None, None),
        (403, "", AuthenticationFailed, None, None),
        (404, "BadPath", InvalidRequest, None, None),
        (405, "MethodNotAllowed", InvalidRequest, None, None),
        (413, "PayloadTooLarge", InvalidRequest, "message", None),
        (429, "TooManyProviderTokenUpdates", RateLimited, None, 1200.0),
        (429, "", RateLimited, None, None),
        (500, "InternalServerError", OutcomeUnknown, None, None),
        (503, "ServiceUnavailable", ProviderUnavailable, None, None),
        (503, "Shutdown", ProviderUnavailable, None, None),
        (503, "", OutcomeUnknown, None, None),
        (502, "", OutcomeUnknown, None, None),
        (302, "", OutcomeUnknown, None, None),
        (201, "", OutcomeUnknown, None, None),
    ],
)
def test_refusals_of_the_request(
    http: RecordingHttp, status: int, reason: str, kind: type[ProviderError], attr: str | None, wait: float | None
) -> None:
    http.answer(status, refused(reason) if reason else b"<html>")
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).send(notification())
    error = caught.value
    expected = (kind, reason or str(status), attr, wait, "apns")
    assert (type(error), error.provider_code, error.attr, error.retry_after, error.provider) == expected
    assert len(http.calls) == 1


@pytest.mark.parametrize(("key", "kind"), [("msg_1", Undecided), ("", OutcomeUnknown)])
@pytest.mark.parametrize("how", ["lost", "500"])
def test_a_lost_answer_may_be_asked_for_again_with_a_collapse_key_only(
    http: RecordingHttp, how: str, key: str, kind: type[ProviderError]
) -> None:
    if how == "lost":
        http.replies.append(OutcomeUnknown("The request was sent, but no answer came back.", provider="apns"))
    else:
        http.answer(500, refused("InternalServerError"))
    with pytest.raises(OutcomeUnknown) as caught:
        make_adapter(http).send(notification(collapse_key=key))
    assert (type(caught.value), caught.value.retryable) == (kind, kind is Undecided)


# --- the provider token


def test_one_token_serves_many_and_lives_fifty_minutes(http: RecordingHttp) -> None:
    tokens = Tokens()
    for _ in range(3):
        http.answer()
        make_adapter(http, tokens=tokens).send(notification())
    assert (tokens.given, tokens.lifetime) == (1, 3000.0)
    assert {call["headers"]["authorization"] for call in http.calls} == {f"bearer {tokens.held}"}


def test_an_expired_token_is_replaced_once_and_the_request_made_again(http: RecordingHttp) -> None:
    tokens = Tokens(held="old")
    http.answer(403, EXPIRED)
    http.answer(apns_id=APNS_ID)
    assert make_adapter(http, tokens=tokens).send(notification()).state is MessageState.SENT
    assert [call["headers"]["authorization"] for call in http.calls] == ["bearer old", f"bearer {tokens.held}"]
    assert (tokens.given, tokens.held.count(".")) == (1, 2)
    assert http.calls[0]["headers"]["apns-id"] == http.calls[1]["headers"]["apns-id"]


def test_a_fresh_token_that_is_expired_too_says_that_the_clock_is_wrong(http: RecordingHttp) -> None:
    tokens = Tokens(held="old")
    for _ in range(2):
        http.answer(403, EXPIRED)
    with pytest.raises(AuthenticationFailed, match="clock") as caught:
        make_adapter(http, tokens=tokens).send(notification())
    assert (caught.value.provider_code, len(http.calls), tokens.given) == ("ExpiredProviderToken", 2, 1)


def test_too_many_tokens_keeps_the_one_there_is(http: RecordingHttp) -> None:
    tokens = Tokens(held="jwt")
    http.answer(429, refused("TooManyProviderTokenUpdates"))
    with pytest.raises(RateLimited):
        make_adapter(http, tokens=tokens).send(notification())
    assert (tokens.held, tokens.given) == ("jwt", 0)


def test_an_unreadable_key_needs_attention_and_sends_nothing(http: RecordingHttp) -> None:
    adapter = make_adapter(http, view(private_key="no key at all, 1234"), Tokens())
    for call in (lambda: adapter.send(notification()), adapter.test_connection):
        with pytest.raises(AuthenticationFailed) as caught:
            call()
        assert caught.value.attr == "private_key"
        assert "1234" not in caught.value.message
    assert http.calls == []


# --- a device of the other environment


def test_a_token_unknown_in_production_is_looked_for_among_development_builds(http: RecordingHttp) -> None:
    http.answer(400, BAD_DEVICE)
    http.answer(apns_id=APNS_ID)
    result = make_adapter(http).send(notification())
    assert [call["url"] for call in http.calls] == [f"{host}/3/device/{TOKEN}" for host in (PRODUCTION, SANDBOX)]
    assert (result.state, result.provider_ref, result.suppress) == (MessageState.SENT, APNS_ID, None)
    assert "environment sandbox" in result.detail


@pytest.mark.parametrize(
    ("status", "reason", "code", "suppress"),
    [
        (400, "BadDeviceToken", "BadDeviceToken", SuppressReason.INVALID),
        (410, "Unregistered", "Unregistered", SuppressReason.DEAD_TOKEN),
        (403, "BadEnvironmentKeyIdInToken", "BadDeviceToken", SuppressReason.INVALID),
        (400, "TopicDisallowed", "BadDeviceToken", SuppressReason.INVALID),
    ],
)
def test_a_token_that_neither_host_takes(
    http: RecordingHttp, status: int, reason: str, code: str, suppress: SuppressReason
) -> None:
    http.answer(400, BAD_DEVICE)
    http.answer(status, refused(reason))
    result = make_adapter(http).send(notification())
    assert (result.state, result.provider_code, result.suppress) == (MessageState.FAILED, code, suppress)
    assert len(http.calls) == 2


def test_no_answer_from_the_development_host_is_no_refusal(http: RecordingHttp) -> None:
    http.answer(400, BAD_DEVICE)
    http.replies.append(OutcomeUnknown("lost", provider="apns"))
    with pytest.raises(Undecided):
        make_adapter(http).send(notification(collapse_key="msg_1"))


@pytest.mark.parametrize(
    ("environment", "device", "suppress"),
    [
        (Environment.PRODUCTION, "production", SuppressReason.INVALID),
        (Environment.PRODUCTION, "sandbox", SuppressReason.INVALID),
        (Environment.SANDBOX, "sandbox", SuppressReason.INVALID),
        (Environment.SANDBOX, "", None),
        (Environment.SANDBOX, "production", None),
    ],
)
def test_a_known_environment_is_believed(
    http: RecordingHttp, environment: Environment, device: str, suppress: SuppressReason | None
) -> None:
    http.answer(400, BAD_DEVICE)
    result = make_adapter(http, view(environment)).send(notification(device_environment=device))
    assert (len(http.calls), result.state, result.suppress) == (1, MessageState.FAILED, suppress)
