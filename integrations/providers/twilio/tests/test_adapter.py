"""What the SMS adapter sends and how it reads each answer, against the documented payloads."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Expired,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
)
from integrations.contracts.messaging import Balance, MessageState, RecipientResult, SuppressReason, Target
from integrations.contracts.sms import SmsMessage
from integrations.providers.twilio.tests.support import (
    ACCOUNT,
    HOOK,
    KEY,
    MESSAGES,
    NOW,
    NUMBER,
    SENDER,
    SERVICE,
    SID,
    TOKEN,
    RecordingHttp,
    fixture,
    message,
    sms,
    view,
)

TEXT = "Your code is 4711"
ONE = SmsMessage("msg_1", (Target(NUMBER, "ref_1"),), TEXT, callback_url=HOOK)


def error(code: int, status: int = 400, text: str = "No.") -> dict[str, Any]:
    return {"code": code, "message": text, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status}


# --- send


def test_the_request_is_as_documented(http: RecordingHttp) -> None:
    http.answer(fixture("message__queued.json"))
    result = sms(http).send(ONE)
    assert http.calls == [
        {
            "method": "POST",
            "url": MESSAGES,
            "operation": "send",
            "safe": False,
            "form": [
                ("To", NUMBER),
                ("From", SENDER),
                ("Body", TEXT),
                ("StatusCallback", f"{HOOK}/status?ref=ref_1#rc=3&rp=all"),
            ],
            "auth": (ACCOUNT, TOKEN),
        }
    ]
    assert result.recipients == (RecipientResult(NUMBER, MessageState.SENT, provider_ref=SID, provider_code="queued"),)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"callback_url": ""}, [("To", NUMBER), ("From", SENDER), ("Body", TEXT)]),
        ({"callback_url": "", "sender": "SPRINGFIELD"}, [("To", NUMBER), ("From", "SPRINGFIELD"), ("Body", TEXT)]),
        ({"callback_url": "", "sender": SERVICE}, [("To", NUMBER), ("MessagingServiceSid", SERVICE), ("Body", TEXT)]),
        (
            {"recipients": (Target(NUMBER),)},
            [("To", NUMBER), ("From", SENDER), ("Body", TEXT), ("StatusCallback", f"{HOOK}/status#rc=3&rp=all")],
        ),
        (
            {"callback_url": "", "expires_at": NOW + timedelta(seconds=90.9)},
            [("To", NUMBER), ("From", SENDER), ("Body", TEXT), ("ValidityPeriod", "90")],
        ),
        (
            {"callback_url": "", "expires_at": NOW + timedelta(days=2)},
            [("To", NUMBER), ("From", SENDER), ("Body", TEXT), ("ValidityPeriod", "36000")],
        ),
    ],
)
def test_what_a_message_changes_in_the_form(
    http: RecordingHttp, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    http.answer(fixture("message__queued.json"))
    sms(http).send(replace(ONE, **changes))
    assert http.calls[0]["form"] == expected


def test_a_messaging_service_and_an_api_key(http: RecordingHttp) -> None:
    http.answer(fixture("message__accepted.json"))
    config = view(messaging_service_sid=SERVICE, api_key_sid=KEY, api_key_secret="key-secret-000000")
    (result,) = sms(http, config).send(ONE).recipients
    assert http.calls[0]["form"][1] == ("MessagingServiceSid", SERVICE)
    assert http.calls[0]["auth"] == (KEY, "key-secret-000000")
    assert http.calls[0]["url"] == MESSAGES
    assert (result.state, result.provider_ref, result.provider_code) == (MessageState.SENT, SID, "accepted")


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"recipients": ()}, "to"),
        ({"recipients": (Target(NUMBER), Target("+254711000002"))}, "to"),
        ({"recipients": (Target("0711000001"),)}, "to"),
        ({"text": " \n"}, "message"),
        ({"text": "x" * 1601}, "message"),
    ],
)
def test_what_is_refused_before_a_call(http: RecordingHttp, changes: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sms(http).send(replace(ONE, **changes))
    assert caught.value.attr == attr
    assert http.calls == []


def test_a_config_for_whatsapp_alone_has_no_sender_for_sms(http: RecordingHttp) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sms(http, view(sender="")).send(ONE)
    assert caught.value.attr == "from"
    assert http.calls == []


def test_a_text_that_is_too_old_is_not_sent(http: RecordingHttp) -> None:
    with pytest.raises(Expired):
        sms(http).send(replace(ONE, expires_at=NOW + timedelta(seconds=0.5)))
    assert http.calls == []


@pytest.mark.parametrize(
    ("code", "suppress"),
    [
        (21211, SuppressReason.INVALID),
        (21614, SuppressReason.INVALID),
        (21610, SuppressReason.OPT_OUT),
        (21408, None),
        (21608, None),
        (21612, None),
    ],
)
def test_a_refused_recipient_is_his_own_result(http: RecordingHttp, code: int, suppress: SuppressReason | None) -> None:
    http.answer(error(code), 400)
    (result,) = sms(http).send(ONE).recipients
    assert (result.address, result.state, result.provider_ref) == (NUMBER, MessageState.FAILED, "")
    assert (result.provider_code, result.suppress, result.retryable) == (str(code), suppress, False)
    assert result.detail.endswith(f"({code})")


@pytest.mark.parametrize(
    ("code", "status", "error_class", "attr"),
    [
        (20003, 401, AuthenticationFailed, None),
        (20404, 404, AuthenticationFailed, None),
        (20008, 403, AuthenticationFailed, None),
        (30002, 400, AuthenticationFailed, None),
        (99999, 403, AuthenticationFailed, None),
        (20429, 429, RateLimited, None),
        (20429, 503, RateLimited, None),
        (21611, 400, RateLimited, None),
        (30022, 400, RateLimited, None),
        (30027, 400, RateLimited, None),
        (21212, 400, InvalidRequest, "from"),
        (21603, 400, InvalidRequest, "from"),
        (21606, 400, InvalidRequest, "from"),
        (21602, 400, InvalidRequest, "message"),
        (21617, 400, InvalidRequest, "message"),
        (21604, 400, InvalidRequest, "to"),
        (21609, 400, InvalidRequest, "callback_url"),
        (99999, 400, InvalidRequest, None),
        (20500, 500, OutcomeUnknown, None),
        (21211, 500, OutcomeUnknown, None),
        (0, 408, OutcomeUnknown, None),
        (0, 302, OutcomeUnknown, None),
    ],
)
def test_a_refused_request_is_an_error_by_its_code(
    http: RecordingHttp, code: int, status: int, error_class: type[ProviderError], attr: str | None
) -> None:
    http.answer(error(code, status), status)
    with pytest.raises(error_class) as caught:
        sms(http).send(ONE)
    assert type(caught.value) is error_class
    assert (caught.value.provider_code, caught.value.attr) == (str(code or status), attr)


def test_a_rate_limit_says_how_long_to_wait(http: RecordingHttp) -> None:
    http.answer(error(20429, 429), 429, {"retry-after": "7"})
    http.answer(b"Too many", 429)
    http.answer(error(21611), 400)
    waits = []
    for _ in range(3):
        with pytest.raises(RateLimited) as caught:
            sms(http).send(ONE)
        waits.append(caught.value.retry_after)
    assert waits == [7.0, None, 60.0]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"sid": "SM1"}', b'{"sid": "SM1", "status": {}}'])
def test_an_accepted_send_that_cant_be_read_may_have_been_sent(http: RecordingHttp, body: bytes) -> None:
    http.answer(body, 201)
    with pytest.raises(BadReply):
        sms(http).send(ONE)


@pytest.mark.parametrize("body", [b"", b"gateway", b"[]", b'{"code": null}', b'{"status": 400, "title": "Bad"}'])
def test_an_error_without_a_code_goes_by_its_status(http: RecordingHttp, body: bytes) -> None:
    http.answer(body, 400)
    with pytest.raises(InvalidRequest) as caught:
        sms(http).send(ONE)
    assert caught.value.provider_code == "400"


def test_no_secret_is_in_what_people_are_shown(http: RecordingHttp) -> None:
    http.answer(error(20003, 401, f"Authenticate {TOKEN}\n now"), 401)
    with pytest.raises(AuthenticationFailed) as caught:
        sms(http).send(ONE)
    assert caught.value.message == "Authenticate •••• now"


def test_a_message_that_failed_at_once(http: RecordingHttp) -> None:
    http.answer(message(status="failed", error_code=30007))
    (result,) = sms(http).send(ONE).recipients
    assert (result.state, result.provider_code) == (MessageState.FAILED, "30007")
    assert result.detail == "filtered as spam by Twilio or the network (30007)"


def test_a_status_that_is_new_is_taken_all_the_same(http: RecordingHttp) -> None:
    http.answer(message(status="pondering"))
    (result,) = sms(http).send(ONE).recipients
    assert (result.state, result.provider_code, result.detail) == (MessageState.SENT, "pondering", "Twilio says pondering")


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        ({}, 1.0),
        ({"sender": "22395"}, 100.0),
        ({"sender": "SPRINGFIELD"}, 10.0),
        ({"messaging_service_sid": SERVICE}, None),
        ({"sender": ""}, None),
    ],
)
def test_the_pace_of_a_sender(http: RecordingHttp, config: dict[str, str], rate: float | None) -> None:
    assert sms(http, view(**config)).per_second == rate
    assert sms(http).batch_size == 1


# --- cancel, balance


def test_a_scheduled_message_is_cancelled(http: RecordingHttp) -> None:
    http.answer(message(status="canceled"), 200)
    assert sms(http).cancel(SID) is True
    (call,) = http.calls
    assert (call["method"], call["form"], call["safe"]) == ("POST", {"Status": "canceled"}, False)
    assert call["url"] == f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json"


def test_it_is_too_late_to_cancel(http: RecordingHttp) -> None:
    http.answer(error(30409), 400)
    assert sms(http).cancel(SID) is False


def test_what_can_go_wrong_while_cancelling(http: RecordingHttp) -> None:
    for body, status, error_class in (
        (error(20404, 404), 404, NotFound),
        (error(20003, 401), 401, AuthenticationFailed),
        (error(20500, 500), 500, OutcomeUnknown),
        (b"{}", 200, BadReply),
    ):
        http.answer(body, status)
        with pytest.raises(error_class):
            sms(http).cancel(SID)
    with pytest.raises(NotFound):
        sms(http).cancel("SM1/../x")
    assert len(http.calls) == 4


def test_the_balance(http: RecordingHttp) -> None:
    http.answer(fixture("balance.json"), 200)
    assert sms(http).balance() == Balance(Decimal("12.3400"), "USD")
    assert http.calls[0]["url"] == f"/2010-04-01/Accounts/{ACCOUNT}/Balance.json"
    assert http.calls[0]["safe"] is True
