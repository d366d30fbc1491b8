from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    Declined,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.messaging import Balance, MessageState, RecipientResult, SuppressReason, Target
from integrations.contracts.schema import SchemaErrors
from integrations.contracts.sms import SmsMessage
from integrations.providers.africastalking.adapter import AfricasTalkingSms
from integrations.providers.africastalking.provider import PROVIDER
from integrations.providers.africastalking.tests.conftest import API_KEY, RecordingHttp, fixture, make_adapter, view

ONE, TWO, BLACKLISTED = "+254711000001", "+254711000002", "+254711000406"
HEADERS = {"apiKey": API_KEY, "Accept": "application/json"}


def message(*recipients: str, text: str = "Fees received. Asante.", sender: str = "") -> SmsMessage:
    return SmsMessage("msg_1", tuple(Target(each) for each in recipients or (ONE,)), text, sender)


def entry(number: str = ONE, **changes: Any) -> dict[str, Any]:
    return {"statusCode": 101, "number": number, "status": "Success", "cost": "KES 0.8000", "messageId": "ATXid_1", **changes}


def answer(*entries: dict[str, Any], text: str = "Sent") -> bytes:
    return json.dumps({"SMSMessageData": {"Message": text, "Recipients": list(entries)}}).encode()


def test_classic_send_is_the_documented_form(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted_parts.json"))
    make_adapter(http).send(message(ONE, TWO))
    assert http.calls == [
        {
            "method": "POST",
            "url": "/version1/messaging",
            "operation": "send",
            "safe": False,
            "form": {
                "username": "springfield",
                "to": "+254711000001,+254711000002",
                "message": "Fees received. Asante.",
                "bulkSMSMode": "1",
                "from": "SPRINGFIELD",
            },
            "headers": HEADERS,
        }
    ]


def test_bulk_send_is_the_documented_json(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted_parts.json"), status=200)
    make_adapter(http, view(path="bulk")).send(message(ONE, TWO, sender="ACADEMY"))
    assert http.calls == [
        {
            "method": "POST",
            "url": "/version1/messaging/bulk",
            "operation": "send",
            "safe": False,
            "json": {
                "username": "springfield",
                "message": "Fees received. Asante.",
                "senderId": "ACADEMY",
                "phoneNumbers": [ONE, TWO],
            },
            "headers": HEADERS,
        }
    ]


def test_without_a_sender_the_account_default_is_left_to_the_provider(http: RecordingHttp) -> None:
    http.answer(answer(entry()))
    make_adapter(http, view(sender_id="")).send(message())
    assert "from" not in http.calls[0]["form"]


def test_each_recipient_is_judged_by_its_own_code(http: RecordingHttp) -> None:
    http.answer(fixture("send__mixed.json"))
    result = make_adapter(http).send(message(ONE, BLACKLISTED))
    assert result.recipients == (
        RecipientResult(
            address=ONE,
            state=MessageState.SENT,
            provider_ref="ATXid_4f1c0d7be2a94b6f8d21c1a0e6b7d310",
            provider_code="101",
            cost=Decimal("0.8000"),
            currency="KES",
        ),
        RecipientResult(
            address=BLACKLISTED,
            state=MessageState.FAILED,
            provider_code="406",
            detail="the recipient has opted out",
            suppress=SuppressReason.OPT_OUT,
            cost=Decimal(0),
        ),
    )


def test_results_are_matched_by_number_not_by_position(http: RecordingHttp) -> None:
    http.answer(fixture("send__accepted_parts.json"))  # answers for TWO first
    result = make_adapter(http).send(message(ONE, TWO))
    assert [(r.address, r.provider_ref) for r in result.recipients] == [
        (ONE, "ATXid_2e63c8f8c3388459c65f8822445a119d"),
        (TWO, "ATXid_fabd5d394a3ca5c081d451d2bea93665"),
    ]


def test_insufficient_balance_is_kept_for_later(http: RecordingHttp) -> None:
    http.answer(fixture("send__insufficient_balance.json"))
    result = make_adapter(http).send(message(ONE, TWO))
    assert [(r.state, r.retryable, r.provider_ref) for r in result.recipients] == [(MessageState.FAILED, True, "")] * 2


@pytest.mark.parametrize(
    ("code", "state", "retryable", "suppress"),
    [
        (100, "sent", False, None),
        (101, "sent", False, None),
        (102, "sent", False, None),
        (401, "failed", False, None),
        (402, "failed", False, None),
        (403, "failed", False, None),
        (404, "failed", False, None),
        (405, "failed", True, None),
        (406, "failed", False, SuppressReason.OPT_OUT),
        (407, "failed", False, None),
        (409, "failed", True, None),
        (500, "failed", True, None),
        (501, "failed", True, None),
        (502, "failed", True, None),
        (199, "sent", False, None),
        (499, "failed", False, None),
        (599, "unknown", False, None),
        (7, "unknown", False, None),
    ],
)
def test_status_codes(http: RecordingHttp, code: int, state: str, retryable: bool, suppress: SuppressReason | None) -> None:
    http.answer(answer(entry(statusCode=code)))
    (result,) = make_adapter(http).send(message()).recipients
    assert (result.state, result.retryable, result.suppress, result.provider_code) == (state, retryable, suppress, str(code))


def test_a_code_written_as_text_counts_as_well(http: RecordingHttp) -> None:
    http.answer(answer(entry(statusCode="406")))
    assert make_adapter(http).send(message()).recipients[0].suppress is SuppressReason.OPT_OUT


def test_a_recipient_that_the_answer_does_not_mention_is_unknown(http: RecordingHttp) -> None:
    http.answer(answer(entry(ONE)))
    result = make_adapter(http).send(message(ONE, TWO))
    assert [r.state for r in result.recipients] == [MessageState.SENT, MessageState.UNKNOWN]


def test_an_entry_without_a_readable_code_is_unknown(http: RecordingHttp) -> None:
    http.answer(answer(entry(statusCode=None), entry(TWO, statusCode=["x"])))
    result = make_adapter(http).send(message(ONE, TWO))
    assert [(r.state, r.provider_code) for r in result.recipients] == [(MessageState.UNKNOWN, "Success")] * 2


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ("KES 0.8000", (Decimal("0.8"), "KES")),
        ("UGX 1,250.00", (Decimal(1250), "UGX")),
        ("0", (Decimal(0), "")),
        (0, (Decimal(0), "")),
        ("free", (None, "")),
        (None, (None, "")),
    ],
)
def test_costs(http: RecordingHttp, cost: Any, expected: tuple[Decimal | None, str]) -> None:
    http.answer(answer(entry(cost=cost)))
    (result,) = make_adapter(http).send(message()).recipients
    assert (result.cost, result.currency) == expected


@pytest.mark.parametrize("ref", ["None", "none", None, ""])
def test_the_id_of_a_refusal_is_no_id(http: RecordingHttp, ref: str | None) -> None:
    http.answer(answer(entry(messageId=ref)))
    assert make_adapter(http).send(message()).recipients[0].provider_ref == ""


@pytest.mark.parametrize(
    ("text", "error_class", "attr", "retry_after"),
    [
        ("InvalidSenderId", InvalidRequest, "sender", None),
        ("InsufficientBalance", RateLimited, None, 900.0),
        ("DoNotDisturbRejection", RateLimited, None, 34_200.0),  # 22:30 in Lagos: nine and a half hours to 08:00
        ("GatewayError", ProviderUnavailable, None, None),
        ("SomethingNew", Declined, None, None),
    ],
)
def test_a_refusal_of_the_whole_request_is_a_typed_error(
    http: RecordingHttp, text: str, error_class: type[ProviderError], attr: str | None, retry_after: float | None
) -> None:
    http.answer(answer(text=text))
    with pytest.raises(error_class) as caught:
        make_adapter(http).send(message())
    error = caught.value
    assert (type(error), error.provider_code, error.attr, error.retry_after) == (error_class, text, attr, retry_after)


def test_the_documented_invalid_sender_answer(http: RecordingHttp) -> None:
    http.answer(fixture("send__invalid_sender.json"))
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http).send(message())
    assert caught.value.attr == "sender"


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, InvalidRequest),
        (401, AuthenticationFailed),
        (403, AuthenticationFailed),
        (404, UnsupportedOperation),
        (409, RateLimited),
        (422, InvalidRequest),
        (429, RateLimited),
        (302, OutcomeUnknown),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
def test_http_errors_of_a_send(http: RecordingHttp, status: int, error_class: type[ProviderError]) -> None:
    http.answer(b"Request is missing required form field 'to'", status=status)
    with pytest.raises(ProviderError) as caught:
        make_adapter(http).send(message())
    assert (type(caught.value), caught.value.provider_code) == (error_class, str(status))
    assert len(http.calls) == 1


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(401, AuthenticationFailed), (429, RateLimited), (500, ProviderUnavailable), (503, ProviderUnavailable)],
)
def test_http_errors_of_a_harmless_question(http: RecordingHttp, status: int, error_class: type[ProviderError]) -> None:
    http.answer(b"", status=status)
    with pytest.raises(error_class) as caught:
        make_adapter(http).balance()
    assert type(caught.value) is error_class


def test_the_wait_the_provider_asks_for_is_honoured(http: RecordingHttp) -> None:
    http.answer(b"Too many", status=429, headers={"retry-after": "17"})
    with pytest.raises(RateLimited) as caught:
        make_adapter(http).send(message())
    assert caught.value.retry_after == 17.0


def test_the_401_text_is_shown_and_an_echoed_key_is_not(http: RecordingHttp) -> None:
    http.answer(fixture("authentication_failed.txt") + b" for " + API_KEY.encode(), status=401)
    with pytest.raises(AuthenticationFailed) as caught:
        make_adapter(http).test_connection()
    assert caught.value.message == "The supplied authentication is invalid for ••••"


@pytest.mark.parametrize(
    "body", [b"", b"<xml/>", b"[]", b"{}", b'{"SMSMessageData":{}}', b'{"SMSMessageData":{"Recipients":7}}']
)
def test_an_unreadable_answer_to_a_send_is_unknown_not_failed(http: RecordingHttp, body: bytes) -> None:
    http.answer(body)
    with pytest.raises(BadReply) as caught:
        make_adapter(http).send(message())
    assert isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize("body", [b"", b'{"UserData":{}}', b'{"UserData":{"balance":"lots"}}'])
def test_an_unreadable_balance_may_be_asked_for_again(http: RecordingHttp, body: bytes) -> None:
    http.answer(body, status=200)
    with pytest.raises(ProviderUnavailable):
        make_adapter(http).balance()


def test_balance(http: RecordingHttp) -> None:
    http.answer(fixture("balance.json"), status=200)
    assert make_adapter(http).balance() == Balance(Decimal("1785.50"), "KES")
    assert http.calls == [
        {
            "method": "GET",
            "url": "/version1/user",
            "operation": "balance",
            "safe": True,
            "query": {"username": "springfield"},
            "headers": HEADERS,
        }
    ]


def test_connection_test_tells_who_and_how_much(http: RecordingHttp) -> None:
    http.answer(fixture("balance.json"), status=200)
    result = make_adapter(http).test_connection()
    assert (result.ok, result.status, result.detail) == (True, "ok", "Signed in as springfield. Balance: KES 1,785.50.")


@pytest.mark.parametrize(
    ("bad", "attr"),
    [
        (message("0711000001"), "to"),
        (message("+2547110 00001"), "to"),
        (message("+254711000001,+254711000002"), "to"),
        (message(ONE, ONE), "to"),
        (message(ONE, TWO, BLACKLISTED), "to"),
        (SmsMessage("msg_1", (), "text"), "to"),
        (message(text="  "), "message"),
    ],
)
def test_what_the_contract_forbids_is_refused_before_anything_is_sent(http: RecordingHttp, bad: SmsMessage, attr: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_adapter(http, view(batch_size=2)).send(bad)
    assert caught.value.attr == attr
    assert http.calls == []


def test_batch_size_comes_from_the_config(http: RecordingHttp) -> None:
    assert (make_adapter(http).batch_size, make_adapter(http, view(batch_size=50)).batch_size) == (100, 50)


def test_webhooks_are_registered_by_hand(http: RecordingHttp) -> None:
    with pytest.raises(UnsupportedOperation):
        make_adapter(http).register_webhooks({"dlr": "https://hub.example/hooks/0/dlr"})
    assert http.calls == []


def test_declaration() -> None:
    assert PROVIDER.adapter_class(Capability.SMS) is AfricasTalkingSms
    assert PROVIDER.config.secret_names == {"api_key"}
    assert dict(PROVIDER.base_urls) == {
        Environment.PRODUCTION: "https://api.africastalking.com",
        Environment.SANDBOX: "https://api.sandbox.africastalking.com",
    }
    plain, secrets = PROVIDER.config.clean({"username": "sandbox", "api_key": "k" * 64})
    assert plain == {"username": "sandbox", "path": "classic", "batch_size": 100}
    assert secrets == {"api_key": "k" * 64}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": ""}, "username"),
        ({"api_key": ""}, "api_key"),
        ({"path": "soap"}, "path"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_bad_config_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SchemaErrors) as caught:
        PROVIDER.config.clean({"username": "sandbox", "api_key": "k", **changes})
    assert list(caught.value.errors) == [field]
