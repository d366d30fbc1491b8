"""What STK callbacks and customers' own payments become; dedupe keys, locators, acknowledgements, addresses."""

from __future__ import annotations

import copy
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import (
    BadSignature,
    Locator,
    MoneyReceived,
    PaymentReported,
    Trust,
    ValidationAnswer,
    ValidationAsked,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    IncomingPayment,
    PaymentState,
)
from integrations.providers.mpesa.formats import FORBIDDEN_IN_URLS
from integrations.providers.mpesa.tests.support import (
    CHECKOUT,
    CONVERSATION,
    KES_1500,
    MERCHANT,
    ORIGINATOR,
    common,
    config,
    fixture,
    inbound,
    key,
    only,
    origin,
    parse,
    webhook,
)
from integrations.providers.mpesa.webhook import SAFARICOM_ADDRESSES

PAID_AT = datetime(2026, 7, 10, 6, 15, 44, tzinfo=UTC)


# --- STK callbacks


def paid_event(**changed: Any) -> PaymentReported:
    given: dict[str, Any] = {
        **common(Trust.TOKEN, "stk_callback"),
        "provider_ref": CHECKOUT,
        "state": PaymentState.SUCCEEDED,
        "money": KES_1500,
        "receipt": "UGA3K7P2QX",
        "payer": "+254708374149",
        "occurred_at": PAID_AT,
        "token_object": "payment:pay_1",
        "references": (("checkout_request", CHECKOUT), ("merchant_request", MERCHANT)),
    }
    return PaymentReported(**{**given, **changed})


def paid(**changed: Any) -> Any:
    """Return the paid callback with items changed: None removes one, `...` leaves it without a value."""
    body = fixture("stk_callback_paid")
    items = []
    for item in body["Body"]["stkCallback"]["CallbackMetadata"]["Item"]:
        value = changed.pop(item["Name"], item.get("Value", ...))
        if value is not None:
            items.append({"Name": item["Name"]} if value is ... else {"Name": item["Name"], "Value": value})
    assert not changed
    body["Body"]["stkCallback"]["CallbackMetadata"]["Item"] = items
    return body


def test_paid_callback() -> None:
    assert parse("c", fixture("stk_callback_paid"), "payment:pay_1") == [paid_event()]


@pytest.mark.parametrize(
    "body",
    [
        paid(Balance=None),
        paid(Balance="49197.00"),
        paid(Balance=49197),
        paid(Amount="1500"),
        paid(Amount=1500),
        paid(Amount="1500.00"),
        paid(PhoneNumber="254708374149", TransactionDate="20260710091544"),
        paid(PhoneNumber=254708374149.0, TransactionDate=20260710091544.0),
        paid(MpesaReceiptNumber="uga3k7p2qx"),
    ],
)
def test_spellings_of_the_same_fact_are_one_fact(body: Any) -> None:
    assert parse("c", body, "payment:pay_1") == [paid_event()]
    assert key("c", body) == key("c", fixture("stk_callback_paid"))


def test_items_in_another_order_are_the_same_fact() -> None:
    body = fixture("stk_callback_paid")
    body["Body"]["stkCallback"]["CallbackMetadata"]["Item"].reverse()
    assert parse("c", body, "payment:pay_1") == [paid_event()]
    assert key("c", body) == key("c", fixture("stk_callback_paid"))


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (paid(Amount=...), {"money": None}),
        (paid(MpesaReceiptNumber=None), {"receipt": ""}),
        (paid(PhoneNumber=""), {"payer": ""}),
        (paid(TransactionDate=None), {"occurred_at": None}),
        (paid(TransactionDate=20261399000000), {"occurred_at": None}),
        (paid(PhoneNumber="2547 ***** 149"), {"payer": "2547 ***** 149"}),
    ],
)
def test_what_is_not_stated_is_not_made_up(body: Any, changed: dict[str, Any]) -> None:
    assert parse("c", body, "payment:pay_1") == [paid_event(**changed)]


def test_a_success_without_metadata_states_nothing_more() -> None:
    body = fixture("stk_callback_paid")
    del body["Body"]["stkCallback"]["CallbackMetadata"]
    expected = paid_event(money=None, receipt="", payer="", occurred_at=None)
    assert parse("c", body, "payment:pay_1") == [expected]


def test_cancelled_callback() -> None:
    event = only("c", fixture("stk_callback_cancelled"), "payment:pay_1")
    assert (event.state, event.money, event.receipt) == (PaymentState.CANCELLED, None, "")
    assert (event.failure.code, event.failure.provider_code, event.failure.retryable) == ("cancelled_by_payer", "1032", True)


def test_a_result_code_may_be_text() -> None:
    event = only("c", fixture("stk_callback_operator"))
    assert (event.provider_ref, event.state) == ("ws_CO_22062021155116737510", PaymentState.FAILED)
    assert (event.failure.code, event.failure.provider_code) == ("provider_configuration", "SFC_IC0003")


def test_an_unheard_of_result_code_is_unknown_not_failed() -> None:
    body = fixture("stk_callback_cancelled")
    body["Body"]["stkCallback"]["ResultCode"] = 7777
    assert only("c", body).state is PaymentState.UNKNOWN


# --- dedupe, trust, locators


@pytest.mark.parametrize("changed", [{"Amount": 1499}, {"MpesaReceiptNumber": "UGA3K7P2QY"}, {"PhoneNumber": 254708374150}])
def test_another_fact_is_not_swallowed(changed: dict[str, Any]) -> None:
    assert key("c", paid(**changed)) != key("c", paid())


def test_every_kind_of_body_has_a_key_of_its_own() -> None:
    bodies = [
        ("c", "stk_callback_paid"),
        ("c", "stk_callback_cancelled"),
        ("v", "c2b_validation"),
        ("n", "c2b_confirmation"),
        ("r", "result_reversal"),
        ("s", "result_status"),
        ("r", "result_balance"),
        ("r", "result_initiator_wrong"),
        ("s", "result_initiator_wrong"),
        ("t", "timeout"),
        ("u", "timeout"),
    ]
    keys = [key(purpose, fixture(name)) for purpose, name in bodies]
    assert len(set(keys)) == len(keys)
    assert all(len(each) <= 160 for each in keys)


def test_a_guess_on_a_fixed_path_cannot_swallow_the_real_thing() -> None:
    body = fixture("c2b_confirmation")
    real = webhook.verify(inbound("n", body), config(), by_token=True)
    guess = webhook.verify(inbound("n", body), None, by_token=False)
    assert (real.trust, guess.trust) == (Trust.TOKEN, Trust.HINT)
    assert real.dedupe_key != guess.dedupe_key
    assert real.provider_event_type == guess.provider_event_type == "c2b_confirmation"


def test_locators() -> None:
    conversation = (Locator("conversation", CONVERSATION), Locator("originator_conversation", ORIGINATOR))
    shortcode = (Locator("shortcode", "600984"), Locator("store_number", "600984"))
    expected = {
        ("c", "stk_callback_paid"): (Locator("checkout_request", CHECKOUT), Locator("merchant_request", MERCHANT)),
        ("n", "c2b_confirmation"): shortcode,
        ("v", "c2b_validation"): shortcode,
        ("r", "result_reversal"): conversation,
        ("r", "result_initiator_wrong"): conversation,
        ("t", "timeout"): conversation,
    }
    for (purpose, name), locators in expected.items():
        assert webhook.locate(inbound(purpose, fixture(name))) == locators
    assert webhook.locate(inbound("t", {})) == ()


def test_paths_and_purposes() -> None:
    assert {(path.path, path.purpose, path.methods) for path in webhook.fixed_paths} == {
        ("/webhooks/mpesa/callback", "c", ("POST",)),
        ("/webhooks/mpesa/validation", "v", ("POST",)),
        ("/webhooks/mpesa/confirmation", "n", ("POST",)),
        ("/webhooks/mpesa/result", "r", ("POST",)),
        ("/webhooks/mpesa/timeout", "t", ("POST",)),
    }
    assert webhook.purposes == {"c", "v", "n", "r", "s", "t", "u"}
    assert set(webhook.config_purposes) == {"v", "n"}
    assert not [word for word in FORBIDDEN_IN_URLS if any(word in purpose for purpose in webhook.purposes)]


# --- C2B


def incoming(**changed: Any) -> IncomingPayment:
    given: dict[str, Any] = {
        "receipt": "UGA3K7P2QX",
        "money": KES_1500,
        "account_number": "INV-0042",
        "destination": "600984",
        "payer": "2547 ***** 149",
        "payer_name": "JANE",
        "occurred_at": PAID_AT,
    }
    return IncomingPayment(**{**given, **changed})


def test_confirmation() -> None:
    expected = MoneyReceived(**common(Trust.TOKEN, "c2b_confirmation"), payment=incoming())
    assert parse("n", fixture("c2b_confirmation")) == [expected]
    assert webhook.asks(inbound("n", fixture("c2b_confirmation")), origin()) is None


HASHED = "bbff37cea44ac0b2d964ee0dfb8d2df8513dc7ba1b36129a929fc3fbd6dd4af4"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"MSISDN": "254708374149"}, {"payer": "+254708374149"}),
        ({"MSISDN": 254708374149}, {"payer": "+254708374149"}),
        ({"MSISDN": HASHED}, {"payer": HASHED}),
        ({"MSISDN": None}, {"payer": ""}),
        ({"BillRefNumber": None}, {"account_number": ""}),
        ({"FirstName": "", "LastName": ""}, {"payer_name": ""}),
        ({"MiddleName": "A.", "LastName": "DOE"}, {"payer_name": "JANE A. DOE"}),
        ({"TransAmount": 1500.5}, {"money": Money(150_050, "KES")}),
        ({"TransTime": "soon"}, {"occurred_at": None}),
        ({"TransTime": None}, {"occurred_at": None}),
        ({"BusinessShortCode": 600984}, {}),
        ({"TransactionType": "Customer Merchant Payment"}, {}),
    ],
)
def test_confirmations_vary(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    assert only("n", {**fixture("c2b_confirmation"), **changed}).payment == incoming(**expected)


def test_validation_is_a_question_and_no_money() -> None:
    request = inbound("v", fixture("c2b_validation"))
    assert webhook.asks(request, origin()) == ValidationAsked(**common(Trust.TOKEN, "c2b_validation"), payment=incoming())
    assert parse("v", fixture("c2b_validation")) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ValidationAnswer(accepted=True), {"ResultCode": "0", "ResultDesc": "Accepted"}),
        (None, {"ResultCode": "0", "ResultDesc": "Accepted"}),
        (ValidationAnswer(False, "payer"), {"ResultCode": "C2B00011", "ResultDesc": "Rejected"}),
        (ValidationAnswer(False, "account"), {"ResultCode": "C2B00012", "ResultDesc": "Rejected"}),
        (ValidationAnswer(False, "amount"), {"ResultCode": "C2B00013", "ResultDesc": "Rejected"}),
        (ValidationAnswer(False, "destination"), {"ResultCode": "C2B00015", "ResultDesc": "Rejected"}),
        (ValidationAnswer(False, "other"), {"ResultCode": "C2B00016", "ResultDesc": "Rejected"}),
        (ValidationAnswer(False), {"ResultCode": "C2B00016", "ResultDesc": "Rejected"}),
    ],
)
def test_validation_answers(answer: ValidationAnswer | None, expected: dict[str, Any]) -> None:
    ack = webhook.ack(inbound("v", fixture("c2b_validation")), answer)
    assert (ack.status, ack.content_type, json.loads(ack.body)) == (200, "application/json", expected)


@pytest.mark.parametrize(
    ("purpose", "body"),
    [
        ("c", b'{"ResultCode":0,"ResultDesc":"Success"}'),
        ("n", b'{"ResultCode":0,"ResultDesc":"Success"}'),
        ("r", b'{"ResultCode":0,"ResultDesc":"Accepted"}'),
        ("s", b'{"ResultCode":0,"ResultDesc":"Accepted"}'),
        ("t", b'{"ResultCode":0,"ResultDesc":"Accepted"}'),
        ("u", b'{"ResultCode":0,"ResultDesc":"Accepted"}'),
    ],
)
def test_acknowledgements(purpose: str, body: bytes) -> None:
    ack = webhook.ack(inbound(purpose, {}))
    assert (ack.status, ack.body) == (200, body)


# --- addresses


@pytest.mark.parametrize(
    ("remote_ip", "values", "accepted"),
    [
        ("196.201.214.200", {}, True),
        ("196.201.212.69", {}, True),
        ("::ffff:196.201.214.200", {}, True),
        ("196.201.214.201", {}, False),
        ("127.0.0.1", {}, False),
        ("", {}, False),
        ("garbage", {}, False),
        ("203.0.113.9", {"callback_ips": "203.0.113.0/24"}, True),
        ("196.201.214.200", {"callback_ips": "203.0.113.0/24, 2001:db8::/32"}, False),
        ("2001:db8::1", {"callback_ips": "203.0.113.0/24\n2001:db8::/32"}, True),
        ("127.0.0.1", {"environment": Environment.SIMULATOR}, True),
        ("196.201.214.200", {"environment": Environment.SIMULATOR}, False),
    ],
)
def test_addresses(remote_ip: str, values: dict[str, Any], accepted: bool, caplog: pytest.LogCaptureFixture) -> None:
    request = inbound("c", fixture("stk_callback_paid"), remote_ip)
    enforcing = config(**{**values, "callback_ip_check": "enforce"})
    if accepted:
        webhook.verify(request, enforcing, by_token=True)
    else:
        with pytest.raises(BadSignature):
            webhook.verify(request, enforcing, by_token=True)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        webhook.verify(request, config(**values), by_token=True)
    assert len(caplog.records) == (0 if accepted else 1)
    caplog.clear()
    webhook.verify(request, config(**{**values, "callback_ip_check": "off"}), by_token=True)
    assert caplog.records == []


def test_the_published_addresses() -> None:
    assert len(set(SAFARICOM_ADDRESSES)) == 14


def test_fixtures_are_not_changed_by_parsing() -> None:
    body = fixture("stk_callback_paid")
    before = copy.deepcopy(body)
    parse("c", body)
    assert body == before
