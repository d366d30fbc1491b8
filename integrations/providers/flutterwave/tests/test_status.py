"""The truth about a payment: every transaction under its references, refunds, fees; what "nothing found" means when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from integrations.contracts.errors import ProviderUnavailable, RateLimited
from integrations.contracts.money import Money
from integrations.contracts.payment import CaptureFact, PaymentState, RefundFact, RefundState
from integrations.contracts.payment_features import MethodType
from integrations.providers.flutterwave.tests.support import (
    KES_1500,
    M_PESA,
    NOTHING,
    NOW,
    PAYMENT,
    REFUND,
    adapter,
    answer,
    fixture,
    listed,
    query,
    refund_data,
    transaction,
    verified,
)

PAGE, PROMPT = MethodType.REDIRECT, MethodType.MOBILE_MONEY
MINUTE = timedelta(minutes=1)
FAILED: dict[str, Any] = {"status": "failed", "processor_response": "Insufficient Funds", "amount_settled": None}


def test_a_paid_payment_is_told_whole() -> None:
    gateway, http = adapter(verified(), listed(transaction()), listed())
    result = gateway.payment_status(query())
    assert result.state is PaymentState.SUCCEEDED
    assert (result.provider_ref, result.receipt, result.money) == (PAYMENT, "2993238342", KES_1500)
    fee = Money(4350, "KES")
    assert result.captures == (CaptureFact("4193428", KES_1500, RefundState.SUCCEEDED, receipt="2993238342", fee=fee),)
    assert (result.refunds, result.disputes, result.fee, result.capturable) == ((), None, fee, Money(0, "KES"))
    assert result.references == (("transaction", "4193428"),)
    assert (result.payer, result.method_name, result.method_detail) == ("254708374149", M_PESA, "M-Pesa •••• 4149")
    assert [(each.method, each.url, each.safe, each.query) for each in http.sent] == [
        ("GET", "/v3/transactions/verify_by_reference", True, {"tx_ref": PAYMENT}),
        ("GET", "/v3/transactions", True, {"tx_ref": PAYMENT, "page": "1"}),
        ("GET", "/v3/refunds", True, {"from": "2026-07-09", "page": "1"}),
    ]


def test_of_a_card_people_see_brand_and_last_four() -> None:
    body = fixture("verify_card")
    body["data"]["tx_ref"] = PAYMENT
    gateway, _http = adapter(answer(body), listed(), listed())
    result = gateway.payment_status(query(PAGE))
    assert (result.method_name, result.method_detail) == ("card", "Mastercard •••• 2950")
    assert "flw-t1nf" not in repr(result)
    assert "553188" not in repr(result)


@pytest.mark.parametrize("word", ["pending", "success-pending-validation", "new", "processing"])
def test_any_word_that_is_not_final_is_still_running(word: str) -> None:
    gateway, http = adapter(verified(status=word), listed())
    result = gateway.payment_status(query())
    assert (result.state, result.captures, result.failure) == (PaymentState.PROCESSING, (), None)
    assert len(http.sent) == 2


def test_the_amount_is_what_was_to_be_paid_not_what_was_charged() -> None:
    gateway, _http = adapter(verified(amount=1499, charged_amount=1500), listed(), listed())
    assert gateway.payment_status(query()).money == Money(149_900, "KES")


def test_another_currency_is_no_success() -> None:
    gateway, http = adapter(verified(currency="NGN"), listed())
    result = gateway.payment_status(query())
    assert (result.state, result.money, result.captures) == (PaymentState.UNKNOWN, Money(150_000, "NGN"), None)
    assert len(http.sent) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"tx_ref": f"{PAYMENT}x"},
        {"amount": "much"},
        {"amount": 1500.555},
        {"id": None},
        {"currency": "shillings"},
        {"status": None},
    ],
)
def test_an_answer_that_can_not_be_read_is_no_state(changed: dict[str, Any]) -> None:
    gateway, _http = adapter(verified(**changed), listed(), listed())
    with pytest.raises(ProviderUnavailable):
        gateway.payment_status(query())


def test_a_rate_limit_is_passed_on() -> None:
    gateway, _http = adapter(verified(), answer(b"", 429))
    with pytest.raises(RateLimited):
        gateway.payment_status(query())


# --- several tries


def test_a_failed_try_and_then_a_paid_one() -> None:
    gateway, _http = adapter(
        verified(id=12), listed(transaction(id=12), transaction(id=11, **FAILED), transaction(id=10, tx_ref="HUB-1")), listed()
    )
    result = gateway.payment_status(query(PAGE))
    assert result.state is PaymentState.SUCCEEDED
    assert result.captures is not None
    assert [each.provider_ref for each in result.captures] == ["12"]
    assert result.references == (("transaction", "11"), ("transaction", "12"))


def test_two_paid_transactions_under_one_reference_are_two_captures_each_verified() -> None:
    gateway, http = adapter(
        verified(id=12, **FAILED),
        listed(transaction(id=12, **FAILED), transaction(id=11, amount=1), transaction(id=10)),
        verified(id=11),
        verified(id=10),
        listed(refund_data(tx_id=11), refund_data(id=2, tx_id=99)),
    )
    result = gateway.payment_status(query(PAGE))
    assert result.captures is not None
    assert [(each.provider_ref, each.money) for each in result.captures] == [("10", KES_1500), ("11", KES_1500)]
    assert (result.money, result.fee) == (KES_1500, Money(8700, "KES"))
    assert result.refunds == (RefundFact("75923", Money(50_000, "KES"), RefundState.SUCCEEDED),)
    assert [each.url for each in http.sent[2:4]] == ["/v3/transactions/11/verify", "/v3/transactions/10/verify"]


def test_a_list_that_does_not_heed_the_reference_is_not_read_to_its_end() -> None:
    gateway, http = adapter(verified(**FAILED), listed(transaction(id=5, tx_ref="HUB-9"), pages=500))
    assert gateway.payment_status(query()).state is PaymentState.FAILED
    assert len(http.sent) == 2


def test_every_reference_of_a_prompt_is_asked_for_the_newest_first() -> None:
    gateway, http = adapter(NOTHING, verified(tx_ref=f"{PAYMENT}-2"), listed(), NOTHING, listed())
    result = gateway.payment_status(query(provider_ref="", attempts=3))
    assert (result.state, result.provider_ref) == (PaymentState.SUCCEEDED, f"{PAYMENT}-2")
    asked = [each.query["tx_ref"] for each in http.sent if each.query and each.url.endswith("by_reference")]
    assert asked == [f"{PAYMENT}-3", f"{PAYMENT}-2", PAYMENT]


# --- failures and silence


def test_a_prompt_that_failed_has_failed() -> None:
    gateway, _http = adapter(verified(**FAILED), listed())
    result = gateway.payment_status(query())
    assert (result.state, result.money, result.captures) == (PaymentState.FAILED, KES_1500, ())
    assert result.failure is not None
    assert (result.failure.code, result.failure.provider_code) == ("insufficient_funds", "Insufficient Funds")


@pytest.mark.parametrize(("after", "state"), [(74, PaymentState.REQUIRES_ACTION), (75, PaymentState.FAILED)])
def test_a_page_may_be_tried_again_until_its_session_is_over(after: int, state: PaymentState) -> None:
    gateway, _http = adapter(verified(**FAILED), listed(), now=NOW + after * MINUTE)
    result = gateway.payment_status(query(PAGE))
    assert result.state is state
    assert (result.failure is not None) is (state is PaymentState.FAILED)


def test_a_page_whose_payment_is_under_way_at_the_end_goes_on() -> None:
    gateway, _http = adapter(verified(status="pending"), listed(), now=NOW + 120 * MINUTE)
    assert gateway.payment_status(query(PAGE)).state is PaymentState.PROCESSING


@pytest.mark.parametrize("status", [200, 400, 404])
@pytest.mark.parametrize(
    ("method", "changed", "now", "state"),
    [
        (PAGE, {}, NOW, PaymentState.REQUIRES_ACTION),
        (PAGE, {}, NOW + 74 * MINUTE, PaymentState.REQUIRES_ACTION),
        (PAGE, {}, NOW + 75 * MINUTE, PaymentState.EXPIRED),
        (PAGE, {"asked_at": None}, NOW, PaymentState.REQUIRES_ACTION),
        (PAGE, {"provider_ref": ""}, NOW, PaymentState.ABSENT),
        (PROMPT, {"provider_ref": ""}, NOW, PaymentState.ABSENT),
        (PROMPT, {}, NOW, PaymentState.PROCESSING),
        (PROMPT, {}, NOW + 15 * MINUTE, PaymentState.ABSENT),
    ],
)
def test_nothing_found(method: MethodType, changed: dict[str, Any], now: datetime, state: PaymentState, status: int) -> None:
    gateway, http = adapter(answer(fixture("verify_unknown"), status), now=now)
    result = gateway.payment_status(query(method, **changed))
    assert (result.state, result.captures, result.refunds, result.money) == (state, (), (), None)
    assert (result.failure.code if result.failure else None) == ("payment_expired" if state is PaymentState.EXPIRED else None)
    assert len(http.sent) == 1


# --- refunds among the facts


def test_refunds_of_all_states_on_several_pages() -> None:
    gateway, http = adapter(
        verified(),
        listed(),
        listed(refund_data(id=3, status="failed", amount_refunded=100), refund_data(id=9, tx_id=1), pages=2),
        listed(
            refund_data(id=1, comments=f"[{REFUND}] Out of stock"),
            refund_data(id=2, status="new", amount_refunded="300.50", comments="by hand"),
            page=2,
            pages=2,
        ),
    )
    result = gateway.payment_status(query())
    assert result.refunds is not None
    first, second, third = result.refunds
    assert first == RefundFact(
        "1", Money(50_000, "KES"), RefundState.SUCCEEDED, operation_id=REFUND, reason=f"[{REFUND}] Out of stock"
    )
    assert second == RefundFact("2", Money(30_050, "KES"), RefundState.PROCESSING, reason="by hand")
    assert (third.provider_ref, third.state, third.operation_id) == ("3", RefundState.FAILED, "")
    assert third.failure is not None
    assert third.failure.code == "refund_declined"
    assert [each.query for each in http.sent[2:]] == [{"from": "2026-07-09", "page": "1"}, {"from": "2026-07-09", "page": "2"}]


def test_more_refunds_than_can_be_read_are_not_told() -> None:
    pages = [listed(refund_data(id=number), page=number, pages=21) for number in range(1, 21)]
    gateway, http = adapter(verified(), listed(), *pages)
    result = gateway.payment_status(query())
    assert (result.state, result.refunds) == (PaymentState.SUCCEEDED, None)
    assert len(http.sent) == 22


@pytest.mark.parametrize("changed", [{"amount_refunded": "x"}, {"amount_refunded": 0.001}, {"status": None}, {"tx_id": None}])
def test_a_refund_that_can_not_be_read_is_no_snapshot(changed: dict[str, Any]) -> None:
    gateway, _http = adapter(verified(), listed(), listed(refund_data(**changed)))
    with pytest.raises(ProviderUnavailable):
        gateway.payment_status(query())
