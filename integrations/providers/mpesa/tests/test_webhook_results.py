"""What results of initiator requests become: reversals, receipt checks, and what concerns nobody."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.inbound import (
    ReceiptReported,
    RefundReported,
    Trust,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import RefundState
from integrations.providers.mpesa.tests.support import (
    KES_1500,
    ORIGINATOR,
    common,
    fixture,
    only,
    parse,
    result,
    with_parameters,
)

# --- reversals


def refunded(event_type: str, **changed: Any) -> RefundReported:
    given: dict[str, Any] = {
        **common(Trust.TOKEN, event_type),
        "provider_ref": ORIGINATOR,
        "state": RefundState.SUCCEEDED,
        "receipt": "UGA7R2V4LM",
        "token_object": "refund:re_1",
    }
    return RefundReported(**{**given, **changed})


def test_reversal_done() -> None:
    money = Money(150_000, "KES")  # as the result itself names it: it is held against what was asked for
    assert parse("r", fixture("result_reversal"), "refund:re_1") == [refunded("result", money=money)]
    assert parse("r", fixture("result_reversal")) == [refunded("result", money=money, token_object="")]
    assert parse("r", result("result_reversal", ResultCode=0), "refund:re_1") == [refunded("result", money=money)]


@pytest.mark.parametrize(
    ("code", "state", "failure"),
    [
        (1, RefundState.FAILED, "insufficient_funds"),
        ("26", RefundState.FAILED, "provider_busy"),
        (17, RefundState.FAILED, "provider_error"),
        (2001, RefundState.FAILED, "credentials_refused"),
        (8006, RefundState.FAILED, "credentials_locked"),
        ("R000002", RefundState.FAILED, "receipt_not_found"),
        ("R000001", RefundState.UNKNOWN, "already_refunded"),
        (15, RefundState.UNKNOWN, "unknown_result"),
        ("X77", RefundState.UNKNOWN, "unknown_result"),
    ],
)
def test_reversal_failed(code: Any, state: RefundState, failure: str) -> None:
    body = result("result_initiator_wrong", ResultCode=code)
    for token_object in ("refund:re_1", ""):
        event = only("r", body, token_object)
        assert isinstance(event, RefundReported)
        assert (event.state, event.failure and event.failure.code, event.receipt) == (state, failure, "")
        assert (event.provider_ref, event.token_object) == (ORIGINATOR, token_object)


def test_reversal_timed_out_in_the_queue() -> None:
    for token_object in ("refund:re_1", ""):
        event = only("t", fixture("timeout"), token_object)
        assert (event.state, event.provider_ref, event.receipt) == (RefundState.UNKNOWN, ORIGINATOR, "")
        assert event.failure.code == "queue_timeout"
    event = only("t", {"anything": 1}, "refund:re_1")
    assert (event.state, event.provider_ref) == (RefundState.UNKNOWN, "")
    assert parse("t", {"anything": 1}) == []
    assert parse("t", fixture("timeout"), "receipt:pay_1") == []


def test_status_of_a_reversal() -> None:
    body = with_parameters("result_status", ReceiptNo="UGA7R2V4LM", CreditPartyName="254708374149 - JANE DOE")
    done = refunded("transaction_status", provider_ref="")
    assert parse("s", body, "refund:re_1") == [done]
    for status in ("Declined", "Cancelled", "Expired"):
        event = only("s", with_parameters("result_status", TransactionStatus=status), "refund:re_1")
        assert (event.state, event.receipt, event.failure.code) == (RefundState.FAILED, "", "refund_declined")


@pytest.mark.parametrize(
    "body",
    [
        with_parameters("result_status", TransactionStatus="Initiated"),
        with_parameters("result_status", TransactionStatus="Never heard of"),
        with_parameters("result_status", TransactionStatus=None),
        result("result_initiator_wrong", ResultCode=8006),
        result("result_initiator_wrong", ResultCode="R000002"),
    ],
)
def test_a_question_about_a_reversal_without_an_answer_is_no_news_of_it(body: Any) -> None:
    event = only("s", body, "refund:re_1")
    assert isinstance(event, ReceiptReported)
    assert (event.confirmed, event.token_object) == (None, "refund:re_1")
    assert event.detail


# --- receipts


def receipt_event(**changed: Any) -> ReceiptReported:
    given: dict[str, Any] = {
        **common(Trust.TOKEN, "transaction_status"),
        "receipt": "UGA3K7P2QX",
        "confirmed": True,
        "money": KES_1500,
        "detail": "Completed",
        "token_object": "receipt:pay_1",
    }
    return ReceiptReported(**{**given, **changed})


def test_receipt_confirmed() -> None:
    assert parse("s", fixture("result_status"), "receipt:pay_1") == [receipt_event()]
    assert parse("r", fixture("result_status")) == [receipt_event(token_object="")]


def test_receipt_of_money_that_went_out_is_refuted() -> None:
    body = with_parameters("result_status", CreditPartyName="254708374149 - JANE DOE", DebitPartyName="600984 - DEMO SCHOOL")
    expected = receipt_event(confirmed=False, money=None, detail="This money was paid out, it did not come in.")
    assert parse("s", body, "receipt:pay_1") == [expected]


@pytest.mark.parametrize("status", ["Cancelled", "Declined", "Expired", "expired"])
def test_receipt_refuted(status: str) -> None:
    body = with_parameters("result_status", TransactionStatus=status)
    assert parse("s", body, "receipt:pay_1") == [receipt_event(confirmed=False, detail=status)]


@pytest.mark.parametrize("status", ["Initiated", "Authorized", "Pending Authorized", "Unheard of"])
def test_receipt_undecided(status: str) -> None:
    body = with_parameters("result_status", TransactionStatus=status)
    assert parse("s", body, "receipt:pay_1") == [receipt_event(confirmed=None, detail=status)]


def test_a_confirmation_without_amount_or_receipt_confirms_nothing() -> None:
    for changed in ({"Amount": None}, {"Amount": "a lot"}, {"ReceiptNo": None}):
        event = only("s", with_parameters("result_status", **changed), "receipt:pay_1")
        assert (event.confirmed, event.money) == (None, None)


def test_an_unknown_receipt_is_refuted_and_a_failed_question_is_not() -> None:
    unknown = only("s", result("result_initiator_wrong", ResultCode="R000002"), "receipt:pay_1")
    assert (unknown.confirmed, unknown.receipt, unknown.detail) == (False, "", "M-Pesa does not know this receipt.")
    failed = only("s", fixture("result_initiator_wrong"), "receipt:pay_1")
    assert (failed.confirmed, failed.detail) == (None, "Initiator name, password or certificate is wrong.")
    late = only("u", fixture("timeout"), "receipt:pay_1")
    assert (late.confirmed, late.provider_event_type) == (None, "transaction_status_timeout")


# --- results that concern nobody here


def test_balance_and_payouts_give_no_event() -> None:
    assert parse("r", fixture("result_balance")) == []
    assert parse("r", fixture("result_balance"), "refund:re_1") == []
    assert parse("r", fixture("result_b2c")) == []
    assert parse("r", fixture("result_initiator_wrong"), "config:7") == []


def test_one_item_may_come_without_its_list() -> None:
    body = fixture("result_reversal")
    only_item = {"Key": "OriginalTransactionID", "Value": "UGA3K7P2QX"}
    body["Result"]["ResultParameters"]["ResultParameter"] = only_item
    body["Result"]["ReferenceData"]["ReferenceItem"] = [{"Key": "Occasion"}]
    assert parse("r", body) == [refunded("result", token_object="")]
