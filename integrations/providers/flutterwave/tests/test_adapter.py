"""Starting a payment: the exact request, what its answers mean, what is refused before it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from integrations.contracts.errors import (
    AuthenticationFailed,
    BadReply,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Undecided,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import CaptureRequest, PaymentState, SetupRequest, VoidRequest
from integrations.contracts.payment_features import MethodType
from integrations.providers.flutterwave.tests.support import (
    BEARER,
    KES_1500,
    M_PESA,
    NOW,
    PAYMENT,
    SECRETS,
    adapter,
    answer,
    config,
    error,
    fixture,
    listed,
    request,
)

LINK = fixture("hosted_link")["data"]["link"]
PAGE, PROMPT = MethodType.REDIRECT, MethodType.MOBILE_MONEY


def charged(**changed: Any) -> Any:
    body = fixture("mpesa_charge")
    body["data"] |= {"tx_ref": PAYMENT, **changed}
    return answer(body)


# --- the hosted page


def test_a_hosted_page() -> None:
    gateway, http = adapter(answer(fixture("hosted_link")))
    result = gateway.authorize(request(PAGE))
    assert (result.state, result.provider_ref) == (PaymentState.REQUIRES_ACTION, PAYMENT)
    assert result.next_action == {"type": "redirect", "url": LINK}
    assert result.expires_at == NOW + timedelta(minutes=60)
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.operation, sent.safe, sent.query) == ("POST", "/v3/payments", "authorize", True, None)
    assert sent.headers == BEARER
    assert sent.json == {
        "tx_ref": PAYMENT,
        "amount": "1500",
        "currency": "KES",
        "redirect_url": "https://hub.example/pay/return",
        "payment_options": "card,mpesa",
        "session_duration": 60,
        "customer": {"email": "jane@example.com", "name": "Jane Doe", "phonenumber": "0708374149"},
        "meta": {"payment_id": PAYMENT, "reference": "INV-0042"},
        "customizations": {"title": "School fee"},
    }


def test_a_hosted_page_with_the_least_that_is_needed_and_on_a_second_try() -> None:
    gateway, http = adapter(answer(fixture("hosted_link")))
    bare = request(
        PAGE,
        attempt=2,
        money=Money(10_050, "NGN"),
        phone="",
        reference="",
        description="",
        customer_name="",
        idempotency_key="op_9",
    )
    assert gateway.authorize(bare).provider_ref == PAYMENT
    assert http.sent[0].json == {
        "tx_ref": PAYMENT,
        "amount": "100.50",
        "currency": "NGN",
        "redirect_url": "https://hub.example/pay/return",
        "payment_options": "card,banktransfer,ussd",
        "session_duration": 60,
        "customer": {"email": "jane@example.com"},
        "meta": {"payment_id": PAYMENT},
    }


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", {"status": "success", "data": None}, {"status": "success", "data": {"link": "javascript:x"}}, {}]
)
def test_a_link_that_can_not_be_read_is_asked_for_again(body: Any) -> None:
    gateway, _http = adapter(answer(body))
    with pytest.raises(ProviderUnavailable):
        gateway.authorize(request(PAGE))


# --- the prompt


def test_a_prompt() -> None:
    gateway, http = adapter(charged())
    result = gateway.authorize(request(PROMPT))
    assert (result.state, result.provider_ref, result.failure) == (PaymentState.PROCESSING, PAYMENT, None)
    assert result.references == (("transaction", "4193428"),)
    assert result.money is None
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.query, sent.safe) == ("POST", "/v3/charges", {"type": M_PESA}, False)
    assert (sent.operation, sent.headers) == ("authorize", BEARER)
    assert sent.json == {
        "tx_ref": PAYMENT,
        "amount": 1500,
        "currency": "KES",
        "email": "jane@example.com",
        "phone_number": "254708374149",
        "fullname": "Jane Doe",
        "meta": {"payment_id": PAYMENT},
    }


def test_a_second_try_has_a_reference_of_its_own() -> None:
    gateway, http = adapter(charged(tx_ref=f"{PAYMENT}-2"))
    result = gateway.authorize(request(PROMPT, attempt=2))
    assert result.provider_ref == http.sent[0].json["tx_ref"] == f"{PAYMENT}-2"


@pytest.mark.parametrize("word", ["pending", "successful", "success-pending-validation", "Something new"])
def test_whatever_a_charge_says_it_is_running(word: str) -> None:
    gateway, _http = adapter(charged(status=word))
    assert gateway.authorize(request(PROMPT)).state is PaymentState.PROCESSING


def test_a_charge_that_failed_at_once() -> None:
    gateway, _http = adapter(charged(status="failed", processor_response="Insufficient funds"))
    result = gateway.authorize(request(PROMPT))
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert result.failure.code == "insufficient_funds"


@pytest.mark.parametrize("changed", [{"tx_ref": "pay_other"}, {"id": "x"}, {"status": None}])
def test_an_answer_about_something_else_is_not_believed(changed: dict[str, Any]) -> None:
    gateway, _http = adapter(charged(**changed))
    with pytest.raises(BadReply):
        gateway.authorize(request(PROMPT))


# --- refusals

OK_200_ERROR = {"status": "error", "message": "This charge type is not enabled for your account", "data": None}


@pytest.mark.parametrize(
    ("reply", "prompt", "page"),
    [
        (answer(fixture("error_key"), 401), AuthenticationFailed, AuthenticationFailed),
        (answer(b"", 401), AuthenticationFailed, AuthenticationFailed),
        (
            answer({"status": "error", "message": "merchant secret key required"}, 400),
            AuthenticationFailed,
            AuthenticationFailed,
        ),
        (answer(b"slow down", 429), RateLimited, RateLimited),
        (answer(fixture("error_contact_support"), 503), OutcomeUnknown, ProviderUnavailable),
        (answer(fixture("error_contact_support"), 200), OutcomeUnknown, ProviderUnavailable),
        (answer(fixture("error_contact_support"), 400), OutcomeUnknown, ProviderUnavailable),
        (answer(b"<html>", 500), OutcomeUnknown, ProviderUnavailable),
        (answer(b"", 302), OutcomeUnknown, ProviderUnavailable),
        (answer(b"", 200), BadReply, ProviderUnavailable),
        (answer({"status": "maybe"}, 200), BadReply, ProviderUnavailable),
        (answer(fixture("error_reference"), 400), OutcomeUnknown, InvalidRequest),
        (answer(fixture("error_reference"), 200), OutcomeUnknown, InvalidRequest),
        (error("email is required"), InvalidRequest, InvalidRequest),
        (answer({"status": "error", "message": "Cannot find"}, 404), NotFound, NotFound),
        (OutcomeUnknown("cut"), OutcomeUnknown, OutcomeUnknown),
    ],
)
def test_answers_that_are_no_success(reply: Any, prompt: type[ProviderError], page: type[ProviderError]) -> None:
    for method, wanted in ((PROMPT, prompt), (PAGE, page)):
        gateway, http = adapter(reply)
        with pytest.raises(ProviderError) as caught:
            gateway.authorize(request(method))
        assert type(caught.value) is wanted, method
        assert not isinstance(caught.value, Undecided)
        assert len(http.sent) == 1
        for secret in SECRETS.values():
            assert secret not in caught.value.message


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("method", [PROMPT, PAGE])
def test_a_business_refusal_is_a_failure_with_http_200_too(status: int, method: MethodType) -> None:
    gateway, _http = adapter(answer(OK_200_ERROR, status))
    result = gateway.authorize(request(method))
    assert result.state is PaymentState.FAILED
    assert result.failure is not None
    assert (result.failure.code, result.failure.provider_code) == ("permission_missing", OK_200_ERROR["message"])


def test_a_refused_field_is_named_and_a_secret_in_it_is_not() -> None:
    gateway, _http = adapter(error(f"email is invalid {SECRETS['secret_key']}"))
    with pytest.raises(InvalidRequest) as caught:
        gateway.authorize(request(PROMPT))
    assert caught.value.attr == "customer.email"
    assert SECRETS["secret_key"] not in caught.value.message + caught.value.provider_code


def test_waiting_as_long_as_the_provider_asks() -> None:
    for headers, seconds in (({"retry-after": "7"}, 7.0), ({}, 30.0), ({"retry-after": "soon"}, 30.0)):
        gateway, _http = adapter(answer(b"", 429, **headers))
        with pytest.raises(RateLimited) as caught:
            gateway.authorize(request(PROMPT))
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("method", "changed", "attr"),
    [
        (PAGE, {"customer_email": ""}, "customer.email"),
        (PROMPT, {"customer_email": ""}, "customer.email"),
        (PROMPT, {"customer_email": "jane"}, "customer.email"),
        (PROMPT, {"customer_email": "j" * 95 + "@e.com"}, "customer.email"),
        (PROMPT, {"phone": "+44 20 7946 0000"}, "method.phone"),
        (PROMPT, {"phone": ""}, "method.phone"),
        (PROMPT, {"money": Money(150_050, "KES")}, "amount"),
        (PROMPT, {"money": Money(1500, "UGX")}, "currency"),
        (PAGE, {"money": Money(1500, "JPY")}, "currency"),
        (PAGE, {"money": Money(1500, "KWD")}, "currency"),
        (PAGE, {"money": Money(0, "KES")}, "amount"),
        (PAGE, {"return_url": ""}, "return_url"),
    ],
)
def test_what_would_be_refused_anyway_is_not_sent(method: MethodType, changed: dict[str, Any], attr: str) -> None:
    gateway, http = adapter()
    for call in (gateway.authorize, lambda asked: gateway.check(asked, config())):
        with pytest.raises(InvalidRequest) as caught:
            call(request(method, **changed))
        assert caught.value.attr == attr
    assert http.sent == []


@pytest.mark.parametrize(("method", "changed"), [(MethodType.CARD, {}), (PAGE, {"capture": False})])
def test_cards_and_holds_are_not_offered(method: MethodType, changed: dict[str, Any]) -> None:
    gateway, http = adapter()
    with pytest.raises(UnsupportedOperation):
        gateway.authorize(request(method, **changed))
    assert http.sent == []


@pytest.mark.parametrize(
    ("phone", "sent"),
    [
        ("0708374149", "254708374149"),
        ("+254 708 374 149", "254708374149"),
        ("254110000001", "254110000001"),
        ("0110-000-001", "254110000001"),
        ("708374149", "254708374149"),
    ],
)
def test_phone_numbers(phone: str, sent: str) -> None:
    gateway, http = adapter(charged())
    gateway.authorize(request(PROMPT, phone=phone))
    assert http.sent[0].json["phone_number"] == sent


def test_what_flutterwave_can_not_do_is_said() -> None:
    gateway, http = adapter()
    capture = CaptureRequest("op_1", "k", PAYMENT, PAYMENT, "", KES_1500, KES_1500, replace(KES_1500, minor_units=0))
    calls: list[Any] = [
        lambda: gateway.capture(capture),
        lambda: gateway.void(VoidRequest("op_1", "k", PAYMENT, PAYMENT, "", held=False)),
        lambda: gateway.setup(SetupRequest("seti_1", "k", MethodType.CARD)),
        lambda: gateway.complete(request(PAGE)),
        lambda: gateway.register_webhooks({"events": "https://hub.example/hooks/0123/events"}),
    ]
    for call in calls:
        with pytest.raises(UnsupportedOperation):
            call()
    assert http.sent == []
    for operation in ("capture", "void", "cancel", "setup", "off_session", "disputes", "receipt"):
        with pytest.raises(UnsupportedOperation):
            gateway.features.check(operation)


def test_a_connection_test_lists_nothing_but_today() -> None:
    gateway, http = adapter(listed())
    result = gateway.test_connection()
    assert (result.ok, result.status, result.detail) == (True, "ok", "Secret key accepted; secret hash set.")
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.safe) == ("GET", "/v3/transactions", True)
    assert sent.query == {"from": "2026-07-10", "to": "2026-07-10", "page": "1"}
    gateway, _http = adapter(listed(), secret_hash=None)
    assert "webhooks are refused" in gateway.test_connection().detail
