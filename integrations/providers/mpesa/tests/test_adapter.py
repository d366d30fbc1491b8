"""STK push and query against scripted answers: the exact requests, and what each answer becomes."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import (
    BadReply,
    Declined,
    InvalidRequest,
    OutcomeUnknown,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    PaymentResult,
    PaymentState,
)
from integrations.contracts.payment_features import MethodType
from integrations.providers.mpesa.adapter import MpesaPayments
from integrations.providers.mpesa.tests.support import (
    BEARER,
    CALLBACK,
    CHECKOUT,
    MERCHANT,
    PASSWORD,
    adapter,
    answer,
    config,
    error,
    fixture,
    push,
    query,
)


def test_push_sends_exactly_this() -> None:
    payments, http, _ = adapter(answer(fixture("stk_push")))
    result = payments.authorize(push())
    assert result == PaymentResult(
        PaymentState.PROCESSING,
        CHECKOUT,
        next_action={"type": "confirm_on_phone", "message": "Success. Request accepted for processing"},
        references=(("checkout_request", CHECKOUT), ("merchant_request", MERCHANT)),
        provider_code="0",
    )
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.operation, sent.safe) == (
        "POST",
        "/mpesa/stkpush/v1/processrequest",
        "stk_push",
        False,
    )
    assert sent.headers == BEARER
    assert sent.json == {
        "BusinessShortCode": "174379",
        "Password": PASSWORD,
        "Timestamp": "20240330120711",
        "TransactionType": "CustomerPayBillOnline",
        "Amount": 1500,
        "PartyA": "254708374149",
        "PartyB": "174379",
        "PhoneNumber": "254708374149",
        "CallBackURL": f"{CALLBACK}/c",
        "AccountReference": "INV-0042",
        "TransactionDesc": "School fee",
    }


def test_push_for_a_till_signs_with_the_store_number() -> None:
    view = config(product="till", shortcode="5123456", store_number="174379")
    payments, http, _ = adapter(answer(fixture("stk_push")), view=view)
    payments.authorize(push())
    sent = http.sent[0].json
    assert (sent["BusinessShortCode"], sent["PartyB"]) == ("174379", "5123456")
    assert (sent["TransactionType"], sent["Password"]) == ("CustomerBuyGoodsOnline", PASSWORD)


@pytest.mark.parametrize(
    ("changed", "view", "attr"),
    [
        ({"money": Money(150_050, "KES")}, {}, "amount"),
        ({"money": Money(0, "KES")}, {}, "amount"),
        ({"money": Money(25_000_100, "KES")}, {}, "amount"),
        ({"money": Money(100_100, "KES")}, {"stk_max": 1000}, "amount"),
        ({"money": Money(150_000, "UGX")}, {}, "currency"),
        ({"phone": "0812345678"}, {}, "method.phone"),
        ({"phone": ""}, {}, "method.phone"),
        ({"callback_url": "https://mpesa.example/hooks/1"}, {}, None),
        ({"callback_url": "http://hub.example/hooks/1"}, {"environment": Environment.PRODUCTION}, None),
    ],
)
def test_what_is_refused_before_anything_is_sent(changed: dict[str, Any], view: dict[str, Any], attr: str | None) -> None:
    payments, http, _ = adapter(view=config(**view))
    for call in (lambda: payments.authorize(push(**changed)), lambda: MpesaPayments.check(push(**changed), config(**view))):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.attr == attr
    assert http.sent == []


def test_check_passes_what_can_be_sent() -> None:
    MpesaPayments.check(push(), config())
    MpesaPayments.check(push(money=Money(25_000_000, "KES")), config())


def test_the_shown_reference_is_what_is_sent_and_stays_itself() -> None:
    payments, http, _ = adapter(answer(fixture("stk_push")))
    asked = push(reference="TERM-2/2026-000042")
    payments.authorize(asked)
    shown = MpesaPayments.shown_reference(asked)
    assert shown == http.sent[0].json["AccountReference"] == "89ABCDEFGH12"
    assert MpesaPayments.shown_reference(push(reference=shown)) == shown


def test_a_raised_limit_is_used() -> None:
    payments, http, _ = adapter(answer(fixture("stk_push")), view=config(stk_max=500_000))
    payments.authorize(push(money=Money(50_000_000, "KES")))
    assert http.sent[0].json["Amount"] == 500_000


def test_card_payments_are_not_taken() -> None:
    payments, http, _ = adapter()
    with pytest.raises(UnsupportedOperation):
        payments.authorize(push(method=MethodType.CARD))
    assert http.sent == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"text"',
        b"[" * 100_000,
        {"ResponseCode": "0"},
        {"ResponseCode": "0", "CheckoutRequestID": ""},
        {"ResponseCode": "0", "CheckoutRequestID": ["x"], "MerchantRequestID": "y"},
        {"ResponseCode": "0", "CheckoutRequestID": "x" * 300, "MerchantRequestID": "y"},
        {},
    ],
)
def test_a_push_answer_nobody_can_read_is_an_unknown_outcome(body: Any) -> None:
    payments, http, _ = adapter(answer(body))
    with pytest.raises(BadReply):
        payments.authorize(push())
    assert len(http.sent) == 1


def test_an_answer_that_contradicts_itself_is_an_unknown_outcome() -> None:
    payments, _, _ = adapter(answer({**fixture("stk_push"), "ResponseCode": "1"}))
    with pytest.raises(OutcomeUnknown):
        payments.authorize(push())


def test_a_refusal_by_response_code_is_declined() -> None:
    payments, _, _ = adapter(answer({"ResponseCode": "1", "ResponseDescription": "Rejected"}))
    with pytest.raises(Declined) as caught:
        payments.authorize(push())
    assert caught.value.provider_code == "1"


def test_query_sends_exactly_this() -> None:
    payments, http, _ = adapter(answer(fixture("stk_query_cancelled")))
    payments.payment_status(query())
    (sent,) = http.sent
    assert (sent.url, sent.operation, sent.safe) == ("/mpesa/stkpushquery/v1/query", "stk_query", True)
    assert sent.json == {
        "BusinessShortCode": "174379",
        "Password": PASSWORD,
        "Timestamp": "20240330120711",
        "CheckoutRequestID": CHECKOUT,
    }


@pytest.mark.parametrize(
    ("code", "state", "failure", "retryable"),
    [
        ("0", PaymentState.SUCCEEDED, None, None),
        (0, PaymentState.SUCCEEDED, None, None),
        ("4999", PaymentState.PROCESSING, None, None),
        ("1", PaymentState.FAILED, "insufficient_funds", True),
        ("17", PaymentState.FAILED, "provider_error", True),
        ("26", PaymentState.FAILED, "provider_busy", True),
        ("1001", PaymentState.FAILED, "payer_locked", True),
        ("1019", PaymentState.EXPIRED, "payment_expired", True),
        ("1025", PaymentState.FAILED, "prompt_not_sent", True),
        ("9999", PaymentState.FAILED, "prompt_not_sent", True),
        ("1032", PaymentState.CANCELLED, "cancelled_by_payer", True),
        (1032, PaymentState.CANCELLED, "cancelled_by_payer", True),
        ("1037", PaymentState.EXPIRED, "payer_unreachable", True),
        ("2001", PaymentState.FAILED, "wrong_pin", True),
        ("SFC_IC0003", PaymentState.FAILED, "provider_configuration", False),
        ("7777", PaymentState.UNKNOWN, "unknown_result", False),
    ],
)
def test_query_results(code: Any, state: PaymentState, failure: str | None, retryable: bool | None) -> None:
    payments, _, _ = adapter(answer({**fixture("stk_query_cancelled"), "ResultCode": code}))
    result = payments.payment_status(query())
    assert (result.state, result.provider_ref, result.provider_code) == (state, CHECKOUT, str(code))
    assert (result.receipt, result.money) == ("", None)
    found = result.failure
    assert (found and found.code, found and found.retryable, found and found.provider_code) == (
        failure,
        retryable,
        str(code) if failure else None,
    )


@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("message", ["The transaction is being processed", "The transaction does not Exist", ""])
def test_a_stray_overload_means_still_running(message: str, status: int) -> None:
    payments, _, _ = adapter(error("500.001.1001", message, status))
    assert payments.payment_status(query()) == PaymentResult(PaymentState.PROCESSING, CHECKOUT, provider_code="500.001.1001")


def test_an_answer_about_another_payment_is_not_believed() -> None:
    other = {**fixture("stk_query_cancelled"), "CheckoutRequestID": "ws_CO_other", "ResultCode": "0"}
    payments, _, _ = adapter(answer(other))
    with pytest.raises(ProviderUnavailable):
        payments.payment_status(query())


def test_a_payment_without_an_id_cannot_be_asked_for() -> None:
    payments, http, _ = adapter()
    with pytest.raises(UnsupportedOperation):
        payments.payment_status(query(""))
    assert http.sent == []
