"""The exact requests, and what the documented and recorded answers mean: orders, status, cancelling."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    NotConfigured,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import CaptureFact, PaymentResult, PaymentState, RefundFact, RefundState
from integrations.contracts.payment_features import MethodType
from integrations.providers.pesapal.adapter import PesapalPayments
from integrations.providers.pesapal.tests.support import (
    BEARER,
    IPN_ID,
    KES_1500,
    RECEIPT,
    REFERENCE,
    TRACKING,
    Sent,
    adapter,
    answer,
    config,
    error,
    fixture,
    order,
    query,
    void,
)

PAGE = f"https://cybqa.pesapal.com/pesapaliframe/PesapalIframe3/Index?OrderTrackingId={TRACKING}"
ORDER = {
    "id": REFERENCE,
    "currency": "KES",
    "amount": 1500,
    "description": "School fees INV-0042",
    "callback_url": "https://hub.example.com/pay/return?p=1",
    "redirect_mode": "TOP_WINDOW",
    "cancellation_url": "https://hub.example.com/pay/cancel",
    "notification_id": IPN_ID,
    "branch": "Main",
    "billing_address": {"email_address": "jane@example.com", "first_name": "Jane", "last_name": "Achieng Doe"},
}


# --- authorize


def test_an_order_is_created_and_its_page_returned() -> None:
    gateway, http, _ = adapter(answer(fixture("order_created")))
    assert gateway.authorize(order()) == PaymentResult(
        PaymentState.REQUIRES_ACTION,
        TRACKING,
        next_action={"type": "redirect", "url": PAGE},
        references=(("merchant_reference", REFERENCE), ("order_tracking", TRACKING)),
    )
    assert http.sent == [
        Sent("POST", "/api/Transactions/SubmitOrderRequest", "authorize", True, ORDER, None, BEARER),
    ]
    assert set(ORDER) == set(fixture("order_request"))


def test_every_later_try_has_an_id_of_its_own() -> None:
    gateway, http, _ = adapter(answer(fixture("order_created", merchant_reference=f"{REFERENCE}-3")))
    result = gateway.authorize(order(attempt=3))
    assert http.sent[0].json["id"] == f"{REFERENCE}-3"
    assert result.references[0] == ("merchant_reference", f"{REFERENCE}-3")


def test_phone_country_and_missing_texts() -> None:
    gateway, http, _ = adapter(answer(fixture("order_created")), view=config(country="UG", branch=None))
    gateway.authorize(order(phone="+254708374149", customer_email="", customer_name="", description="", cancel_url=""))
    sent = http.sent[0].json
    assert sent["billing_address"] == {"phone_number": "254708374149", "country_code": "UG"}
    assert sent["description"] == "INV-0042"
    assert {"branch", "cancellation_url"} & set(sent) == set()


def test_a_payments_own_country_wins() -> None:
    gateway, http, _ = adapter(answer(fixture("order_created")), view=config(country="UG"))
    gateway.authorize(order(country="KE", money=Money(150_050, "KES")))
    assert http.sent[0].json["billing_address"]["country_code"] == "KE"
    assert http.sent[0].json["amount"] == 1500.5


@pytest.mark.parametrize(
    ("changed", "view", "kind", "attr"),
    [
        ({"customer_email": ""}, {}, InvalidRequest, "customer.email"),
        ({"return_url": ""}, {}, InvalidRequest, "return_url"),
        ({"money": Money(1500, "NGN")}, {}, InvalidRequest, "currency"),
        ({"money": Money(0, "KES")}, {}, InvalidRequest, "amount"),
        ({"method": MethodType.CARD}, {}, UnsupportedOperation, "method.type"),
        ({"capture": False}, {}, UnsupportedOperation, "capture"),
        ({}, {"ipn_id": None}, NotConfigured, "ipn_id"),
    ],
)
def test_what_pesapal_would_refuse_is_not_sent(
    changed: dict[str, Any], view: dict[str, Any], kind: type[ProviderError], attr: str
) -> None:
    gateway, http, _ = adapter(view=config(**view))
    with pytest.raises(kind) as caught:
        gateway.authorize(order(**changed))
    assert caught.value.attr == attr
    assert type(caught.value) is kind
    assert http.sent == []


@pytest.mark.parametrize(
    ("name", "code", "provider_code", "decision"),
    [
        ("order_limit", "amount_too_large", "amount_exceeds_default_limit", "other_gateway"),
        ("order_bad_ipn", "provider_configuration", "invalid_api_request_parameters", "other_gateway"),
    ],
)
def test_a_refused_order_is_a_failure(name: str, code: str, provider_code: str, decision: str) -> None:
    gateway, http, _ = adapter(answer(fixture(name)))
    result = gateway.authorize(order())
    assert result.failure is not None
    assert (result.state, result.provider_ref, result.next_action) == (PaymentState.FAILED, "", None)
    assert (result.failure.code, result.failure.provider_code, result.failure.decision) == (code, provider_code, decision)
    assert len(http.sent) == 1


def test_a_refusal_with_another_http_status_is_read_all_the_same() -> None:
    gateway, _, _ = adapter(answer(fixture("order_limit"), 500))
    assert gateway.authorize(order()).state is PaymentState.FAILED


def test_an_id_that_was_used_is_a_conflict() -> None:
    gateway, _, _ = adapter(error("duplicate_merchant_reference"))
    with pytest.raises(Conflict):
        gateway.authorize(order())


def test_an_error_object_of_nulls_is_success() -> None:
    body = fixture("order_created", error={"error_type": None, "code": None, "message": None}, status=200)
    gateway, _, _ = adapter(answer(body))
    assert gateway.authorize(order()).provider_ref == TRACKING


@pytest.mark.parametrize(
    "changed",
    [
        {"merchant_reference": "HUB-000123"},
        {"redirect_url": None},
        {"redirect_url": "javascript:x"},
        {"order_tracking_id": "x y"},
    ],
)
def test_an_order_that_can_t_be_ours_is_unreadable(changed: dict[str, Any]) -> None:
    gateway, _, _ = adapter(answer(fixture("order_created", **changed)))
    with pytest.raises(ProviderUnavailable) as caught:
        gateway.authorize(order())
    assert caught.value.provider_code == "unreadable"


# --- status


def test_a_paid_order() -> None:
    gateway, http, _ = adapter(answer(fixture("status_paid")))
    assert gateway.payment_status(query()) == PaymentResult(
        PaymentState.SUCCEEDED,
        TRACKING,
        receipt=RECEIPT,
        money=KES_1500,
        provider_code="1",
        captures=(CaptureFact(RECEIPT, KES_1500, RefundState.SUCCEEDED, receipt=RECEIPT),),
        method_name="MpesaKE",
        method_detail="MpesaKE 2547xxx74149",
    )
    wanted = {"orderTrackingId": TRACKING}
    assert http.sent == [Sent("GET", "/api/Transactions/GetTransactionStatus", "status", True, None, wanted, BEARER)]


@pytest.mark.parametrize("status_code", [1, "1"])
@pytest.mark.parametrize("description", ["COMPLETED", "Pending", "Failed", ""])
def test_only_the_code_decides(status_code: Any, description: str) -> None:
    gateway, _, _ = adapter(answer(fixture("status_paid", status_code=status_code, payment_status_description=description)))
    assert gateway.payment_status(query()).state is PaymentState.SUCCEEDED


def test_an_unpaid_order_waits_for_the_payer_though_the_body_says_500() -> None:
    gateway, _, _ = adapter(answer(fixture("status_unpaid")))
    assert gateway.payment_status(query()) == PaymentResult(PaymentState.REQUIRES_ACTION, TRACKING, provider_code="0")


def test_an_unpaid_order_without_an_error_waits_too() -> None:
    gateway, _, _ = adapter(answer(fixture("status_unpaid", error=None, status="200")))
    assert gateway.payment_status(query()).state is PaymentState.REQUIRES_ACTION


def test_a_failed_attempt_names_its_reason() -> None:
    body = fixture("status_paid", status_code=2, confirmation_code="", description="Insufficient funds", payment_method="Visa")
    gateway, _, _ = adapter(answer(body))
    result = gateway.payment_status(query())
    assert result.failure is not None
    assert (result.state, result.money, result.receipt, result.captures) == (PaymentState.FAILED, None, "", None)
    assert (result.failure.code, result.failure.decline_code) == ("insufficient_funds", "Insufficient funds")
    assert result.method_name == "Visa"


def test_a_reversed_order_is_one_that_was_paid_and_refunded() -> None:
    gateway, _, _ = adapter(answer(fixture("status_paid", status_code=3)))
    result = gateway.payment_status(query())
    assert (result.state, result.money) == (PaymentState.SUCCEEDED, KES_1500)
    assert result.captures == (CaptureFact(RECEIPT, KES_1500, RefundState.SUCCEEDED, receipt=RECEIPT),)
    assert result.refunds == (RefundFact(f"{TRACKING}:reversed", None, RefundState.SUCCEEDED),)


def test_another_amount_is_reported_as_it_is_stated() -> None:
    gateway, _, _ = adapter(
        answer(fixture("status_paid", amount=1499.5, currency="UGX")), answer(fixture("status_paid", amount=9))
    )
    assert gateway.payment_status(query()).state is PaymentState.UNKNOWN  # a shilling of Uganda has no half
    assert gateway.payment_status(query()).money == Money(900, "KES")


def test_a_payment_without_its_code_has_no_capture_to_name() -> None:
    gateway, _, _ = adapter(answer(fixture("status_paid", confirmation_code="")))
    result = gateway.payment_status(query())
    assert (result.state, result.receipt, result.captures) == (PaymentState.SUCCEEDED, "", None)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"merchant_reference": "pay-someoneelse"}, "unknown_result"),
        ({"merchant_reference": "HUB-000123"}, "unknown_result"),
        ({"merchant_reference": None}, "unknown_result"),
        ({"order_tracking_id": "11111111-f711-4423-82ce-dd758f972713"}, "unknown_result"),
        ({"amount": None}, "unknown_result"),
        ({"amount": "lots"}, "unknown_result"),
        ({"currency": ""}, "unknown_result"),
        ({"status_code": 9}, "unknown_result"),
    ],
)
def test_an_answer_that_can_t_be_believed_is_unknown(changed: dict[str, Any], code: str) -> None:
    gateway, _, _ = adapter(answer(fixture("status_paid", **changed)))
    result = gateway.payment_status(query())
    assert result.failure is not None
    assert (result.state, result.failure.code, result.money, result.captures) == (PaymentState.UNKNOWN, code, None, None)


def test_an_order_of_a_later_try_is_ours() -> None:
    gateway, _, _ = adapter(answer(fixture("status_paid", merchant_reference=f"{REFERENCE}-2")))
    assert gateway.payment_status(query()).state is PaymentState.SUCCEEDED


@pytest.mark.parametrize(
    "reply",
    [
        error("invalid_order_tracking_id"),
        error("invalid_order_tracking_id", status_code=0, merchant_reference=None),
        error("whatever_else", "Order not found", status_code=0),
    ],
)
def test_an_order_that_pesapal_does_not_know_is_unknown_not_failed(reply: Any) -> None:
    gateway, _, _ = adapter(reply)
    result = gateway.payment_status(query())
    assert result.failure is not None
    assert (result.state, result.failure.code) == (PaymentState.UNKNOWN, "not_found")


def test_an_order_whose_answer_got_lost_is_absent_without_asking() -> None:
    gateway, http, _ = adapter()
    assert gateway.payment_status(query(provider_ref="")) == PaymentResult(PaymentState.ABSENT)
    assert http.sent == []


# --- cancelling


def test_an_unpaid_order_is_cancelled() -> None:
    gateway, http, _ = adapter(answer(fixture("cancelled")))
    assert gateway.void(void(abandoned=True)) == PaymentResult(PaymentState.CANCELLED, TRACKING)
    body = {"order_tracking_id": TRACKING}
    assert http.sent == [Sent("POST", "/api/Transactions/CancelOrder", "void", True, body, None, BEARER)]


@pytest.mark.parametrize(
    ("name", "message", "state"),
    [
        ("status_paid", "Order cannot be cancelled", PaymentState.SUCCEEDED),
        ("status_paid", "Order already cancelled", PaymentState.SUCCEEDED),
        ("status_unpaid", "Order cannot be cancelled", PaymentState.REQUIRES_ACTION),
        ("status_unpaid", "Order is already cancelled.", PaymentState.CANCELLED),
    ],
)
def test_where_cancelling_is_refused_the_truth_is_asked_for(name: str, message: str, state: PaymentState) -> None:
    gateway, http, _ = adapter(answer({"status": "500", "message": message}), answer(fixture(name)))
    assert gateway.void(void()).state is state
    assert [each.operation for each in http.sent] == ["void", "status"]


def test_there_is_nothing_held_and_nothing_without_an_order() -> None:
    gateway, http, _ = adapter()
    with pytest.raises(UnsupportedOperation):
        gateway.void(void(held=True))
    assert gateway.void(void(payment_provider_ref="")) == PaymentResult(PaymentState.ABSENT)
    assert http.sent == []


# --- errors of every call


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(b"<html>", 502), ProviderUnavailable),
        (answer({"message": "An error has occurred."}, 500), ProviderUnavailable),
        (answer(b"", 200), ProviderUnavailable),
        (answer(b"null", 200), ProviderUnavailable),
        (answer([], 200), ProviderUnavailable),
        (answer({}, 200), ProviderUnavailable),
        (answer(b"<html>", 403), ProviderUnavailable),
        (answer({"message": "no"}, 404), InvalidRequest),
        (answer({}, 429, **{"retry-after": "7"}), RateLimited),
        (error("consumer_key_unknown"), AuthenticationFailed),
    ],
)
def test_answers_that_are_none(reply: Any, kind: type[ProviderError]) -> None:
    for call in (lambda gateway: gateway.authorize(order()), lambda gateway: gateway.payment_status(query())):
        gateway, http, _ = adapter(reply)
        with pytest.raises(kind) as caught:
            call(gateway)
        assert type(caught.value) is kind
        assert len(http.sent) == 1
        if isinstance(caught.value, RateLimited):
            assert caught.value.retry_after == 7.0


def test_the_matrix_says_what_there_is_and_is_not() -> None:
    features = PesapalPayments.features
    assert features.operations == {"authorize", "sync", "cancel", "refund", "partial_refund"}
    assert features.methods == {MethodType.REDIRECT}
    assert features.lapses == 86_400
    assert features.silence > features.lapses
    assert features.notes is not None
    assert {"refund", "partial_refund", "transactions"} <= set(features.notes)
