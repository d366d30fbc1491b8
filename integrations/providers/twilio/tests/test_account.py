"""Who is signed in, files of incoming messages, and what a config may hold."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import AuthenticationFailed, NotFound, ProviderUnavailable, UnsupportedOperation
from integrations.contracts.messaging import Media
from integrations.contracts.schema import SchemaErrors
from integrations.providers.twilio.provider import PROVIDER
from integrations.providers.twilio.tests.support import (
    ACCOUNT,
    KEY,
    SERVICE,
    TOKEN,
    RecordingHttp,
    fixture,
    message,
    sms,
    view,
    whatsapp,
)

OWN = f"/2010-04-01/Accounts/{ACCOUNT}"
FILE = f"Messages/MM{'0' * 31}3/Media/ME{'0' * 31}3"
DETAILS: dict[str, Any] = {"sid": ACCOUNT, "friendly_name": "Springfield School", "status": "active", "type": "Full"}


def test_the_connection_test_names_the_account(http: RecordingHttp) -> None:
    http.answer(DETAILS, 200)
    result = sms(http).test_connection()
    assert (result.ok, result.status, result.detail) == (True, "ok", "Signed in to Springfield School.")
    assert http.calls == [
        {"method": "GET", "url": f"{OWN}.json", "operation": "account", "safe": True, "auth": (ACCOUNT, TOKEN)}
    ]


def test_with_an_api_key_both_credentials_are_tried(http: RecordingHttp) -> None:
    """The token checks signatures: a wrong one would be noticed only when every webhook is refused."""
    config = view(api_key_sid=KEY, api_key_secret="key-secret-000000")
    http.answer(DETAILS, 200)
    http.answer({"messages": [message()]}, 200)
    result = whatsapp(http, config).test_connection()
    assert (result.ok, result.detail) == (True, f"Signed in to Springfield School with the API key {KEY}.")
    assert [(call["method"], call["url"], call["auth"][0]) for call in http.calls] == [
        ("GET", f"{OWN}.json", ACCOUNT),
        ("GET", f"{OWN}/Messages.json", KEY),
    ]
    assert http.calls[1]["query"] == {"PageSize": "1"}


@pytest.mark.parametrize("answers", [[401], [200, 401]])
def test_refused_credentials(http: RecordingHttp, answers: list[int]) -> None:
    config = view(api_key_sid=KEY, api_key_secret="key-secret-000000")
    for status in answers:
        http.answer(DETAILS if status == 200 else fixture("error__20003.json"), status)
    with pytest.raises(AuthenticationFailed) as caught:
        sms(http, config).test_connection()
    assert (caught.value.message, caught.value.provider_code) == ("Authenticate", "20003")


def test_a_suspended_account(http: RecordingHttp) -> None:
    http.answer({**DETAILS, "status": "suspended"}, 200)
    result = sms(http).test_connection()
    assert (result.ok, result.status) == (False, "account_suspended")
    assert result.detail == "The account Springfield School is suspended."


def test_test_credentials_are_right_in_the_sandbox_alone(http: RecordingHttp) -> None:
    refusal = {"code": 20008, "message": "Resource not accessible with Test Account Credentials", "status": 403}
    http.answer(refusal, 403)
    result = sms(http, view(Environment.SANDBOX)).test_connection()
    assert (result.ok, result.status) == (True, "ok")
    assert "test credentials" in result.detail
    http.answer(refusal, 403)
    with pytest.raises(AuthenticationFailed):
        sms(http, view(Environment.PRODUCTION)).test_connection()


@pytest.mark.parametrize(("body", "status"), [(b"", 500), (b"<html>", 200), (b"{}", 200), (b"", 302)])
def test_no_clear_answer_is_unavailable(http: RecordingHttp, body: bytes, status: int) -> None:
    http.answer(body, status)
    with pytest.raises(ProviderUnavailable):
        sms(http).test_connection()


def test_webhooks_are_set_by_hand(http: RecordingHttp) -> None:
    for adapter in (sms(http), whatsapp(http)):
        with pytest.raises(UnsupportedOperation, match="console"):
            adapter.register_webhooks({})
    assert http.calls == []


# --- files


def test_a_file_is_fetched_from_where_twilio_sends_us(http: RecordingHttp) -> None:
    http.answer(b"", 307, {"location": "https://media.example/abc?Signature=x"})
    http.answer(b"\xff\xd8picture", 200, {"content-type": "image/jpeg; x=y"})
    assert whatsapp(http).fetch_media(f"https://api.twilio.com{OWN}/{FILE}") == Media(
        filename=f"ME{'0' * 31}3", content_type="image/jpeg", content=b"\xff\xd8picture"
    )
    first, second = http.calls
    assert (first["url"], first["auth"]) == (f"{OWN}/{FILE}", (ACCOUNT, TOKEN))
    assert second == {
        "method": "GET",
        "url": "https://media.example/abc?Signature=x",
        "operation": "media",
        "safe": True,
    }


def test_credentials_go_to_our_own_address_whatever_a_webhook_says(http: RecordingHttp) -> None:
    http.answer(b"x", 200, {})
    assert whatsapp(http).fetch_media(f"https://evil.example{OWN}/{FILE}").content_type == "application/octet-stream"
    assert http.calls[0]["url"] == f"{OWN}/{FILE}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"https://api.twilio.com{OWN}.json",
        f"https://api.twilio.com{OWN}/{FILE}/../../Balance.json",
        f"https://api.twilio.com/2010-04-01/Accounts/AC{'f' * 32}/{FILE}",
    ],
)
def test_what_is_no_file_of_this_account_is_not_asked_for(http: RecordingHttp, url: str) -> None:
    with pytest.raises(NotFound):
        whatsapp(http).fetch_media(url)
    assert http.calls == []


def test_a_file_that_is_gone_or_elsewhere(http: RecordingHttp) -> None:
    http.answer(b"", 404)
    with pytest.raises(NotFound):
        whatsapp(http).fetch_media(f"https://api.twilio.com{OWN}/{FILE}")
    http.answer(b"", 307, {"location": "http://media.example/abc"})
    with pytest.raises(ProviderUnavailable):
        whatsapp(http).fetch_media(f"https://api.twilio.com{OWN}/{FILE}")
    assert len(http.calls) == 2


# --- the config


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"account_sid": "AC1"}, "account_sid"),
        ({"auth_token": ""}, "auth_token"),
        ({"api_key_sid": KEY}, "api_key_secret"),
        ({"api_key_secret": "x" * 32}, "api_key_sid"),
        ({"sender": ""}, "sender"),
        ({"sender": "TOOLONGSENDER"}, "sender"),
        ({"whatsapp_sender": "whatsapp:+14155238886"}, "whatsapp_sender"),
        ({"messaging_service_sid": "PN" + "0" * 32}, "messaging_service_sid"),
    ],
)
def test_a_config_that_is_refused(changes: dict[str, str], field: str) -> None:
    given = {"account_sid": ACCOUNT, "auth_token": TOKEN, "sender": "+15017122661", **changes}
    with pytest.raises(SchemaErrors) as caught:
        PROVIDER.config.clean(given)
    assert set(caught.value.errors) == {field}


@pytest.mark.parametrize(
    "given",
    [
        {"sender": "22395"},
        {"sender": "SPRINGFIELD"},
        {"messaging_service_sid": SERVICE},
        {"whatsapp_sender": "+14155238886"},
        {"sender": "+15017122661", "api_key_sid": KEY, "api_key_secret": "x" * 32},
    ],
)
def test_a_config_that_is_taken(given: dict[str, str]) -> None:
    plain, secrets = PROVIDER.config.clean({"account_sid": ACCOUNT, "auth_token": TOKEN, **given})
    assert {**plain, **secrets} == {"account_sid": ACCOUNT, "auth_token": TOKEN, **given}
