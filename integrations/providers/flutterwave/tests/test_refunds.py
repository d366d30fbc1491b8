"""Refunds: sent once, found again by our id; and the books."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.contracts.errors import BadReply, Conflict, InvalidRequest, OutcomeUnknown, ProviderError, ProviderUnavailable
from integrations.contracts.money import Money
from integrations.contracts.payment import GatewayTransaction, RefundState, TransactionKind, TransactionsQuery
from integrations.providers.flutterwave.tests.support import (
    BEARER,
    KES_1500,
    M_PESA,
    NOTHING,
    NOW,
    PAYMENT,
    REFUND,
    adapter,
    answer,
    config,
    error,
    fixture,
    listed,
    refund,
    refund_data,
    transaction,
    verified,
)

KES_500 = Money(50_000, "KES")
COMMENT = f"[{REFUND}] Out of stock"


def refunded(**changed: Any) -> Any:
    return answer({"status": "success", "message": "Transaction refund initiated", "data": refund_data(**changed)})


def test_a_refund_names_its_transaction_and_carries_our_id() -> None:
    gateway, http = adapter(answer(fixture("refund")))
    result = gateway.refund(refund())
    assert (result.state, result.provider_ref, result.money) == (RefundState.SUCCEEDED, "75923", KES_500)
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.safe, sent.headers) == ("POST", "/v3/transactions/4193428/refund", False, BEARER)
    assert (sent.operation, sent.json) == ("refund", {"amount": 500, "comments": COMMENT})


def test_a_fraction_is_written_exactly() -> None:
    gateway, http = adapter(refunded(amount_refunded=100.5))
    assert gateway.refund(refund(money=Money(10_050, "NGN"), reason="")).money == Money(10_050, "NGN")
    assert http.sent[0].json == {"amount": 100.5, "comments": f"[{REFUND}]"}


@pytest.mark.parametrize(
    ("word", "state"),
    [("completed-momo", RefundState.SUCCEEDED), ("pending", RefundState.PROCESSING), ("failed", RefundState.FAILED)],
)
def test_refund_words(word: str, state: RefundState) -> None:
    gateway, _http = adapter(refunded(status=word))
    result = gateway.refund(refund())
    assert result.state is state
    assert (result.failure is not None) is (state is RefundState.FAILED)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Insufficient funds in your available balance to process this refund", "merchant_balance_low"),
        ("This transaction has been fully refunded", "already_refunded"),
        ("Refund amount cannot be greater than transaction amount", "refund_declined"),
    ],
)
def test_a_refund_that_is_refused_has_failed(text: str, code: str, status: int) -> None:
    gateway, _http = adapter(error(text, status))
    result = gateway.refund(refund())
    assert (result.state, result.provider_ref) == (RefundState.FAILED, "")
    assert result.failure is not None
    assert (result.failure.code, result.failure.provider_code) == (code, text)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (answer(fixture("error_contact_support"), 503), OutcomeUnknown),
        (answer(b"", 500), OutcomeUnknown),
        (OutcomeUnknown("cut"), OutcomeUnknown),
        (refunded(tx_id=1), BadReply),
        (refunded(amount_refunded="x"), BadReply),
        (refunded(amount_refunded=0.001), BadReply),
    ],
)
def test_an_answer_that_does_not_tell_is_unknown(reply: Any, wanted: type[ProviderError]) -> None:
    gateway, http = adapter(reply)
    with pytest.raises(ProviderError) as caught:
        gateway.refund(refund())
    assert type(caught.value) is wanted
    assert len(http.sent) == 1


def test_the_transaction_is_asked_for_where_only_the_reference_is_known() -> None:
    gateway, http = adapter(verified(id=12), listed(), refunded(tx_id=12))
    assert gateway.refund(refund(capture_ref="")).state is RefundState.SUCCEEDED
    assert http.sent[-1].url == "/v3/transactions/12/refund"


def test_of_two_paid_transactions_none_is_guessed() -> None:
    gateway, http = adapter(verified(id=12), listed(transaction(id=11)), verified(id=11))
    with pytest.raises(Conflict):
        gateway.refund(refund(capture_ref=""))
    assert [each.method for each in http.sent] == ["GET"] * 3


@pytest.mark.parametrize("changed", [{"money": Money(500, "JPY")}, {"capture_ref": "../../x"}])
def test_what_can_not_be_refunded_is_not_sent(changed: dict[str, Any]) -> None:
    gateway, http = adapter()
    with pytest.raises(InvalidRequest):
        gateway.refund(refund(**changed))
    assert http.sent == []


def test_check_refund_takes_what_can_be_sent() -> None:
    gateway, _http = adapter()
    gateway.check_refund(refund(), config())
    with pytest.raises(InvalidRequest):
        gateway.check_refund(refund(money=Money(1, "KWD")), config())


# --- asking


def test_a_known_refund_is_asked_for_by_its_id() -> None:
    gateway, http = adapter(refunded(status="failed"))
    result = gateway.refund_status(refund(provider_ref="75923"))
    assert (result.state, result.provider_ref) == (RefundState.FAILED, "75923")
    assert [(each.method, each.url, each.safe) for each in http.sent] == [("GET", "/v3/refunds/75923", True)]


def test_a_refund_in_camel_case_is_read_too() -> None:
    body = {
        "id": 75923,
        "TransactionId": 4193428,
        "AmountRefunded": "500",
        "status": "completed",
        "createdAt": "2026-07-11T09:18:37.366Z",
    }
    gateway, _http = adapter(answer({"status": "success", "message": "ok", "data": body}))
    result = gateway.refund_status(refund(provider_ref="75923"))
    assert (result.state, result.money) == (RefundState.SUCCEEDED, KES_500)


def test_a_refund_that_is_not_there_is_not_known() -> None:
    gateway, _http = adapter(error("No refund was found for this id"))
    assert gateway.refund_status(refund(provider_ref="75923")).state is RefundState.UNKNOWN


@pytest.mark.parametrize(
    "place",
    [{"comments": COMMENT}, {"comment": COMMENT}, {"meta": {"comments": COMMENT}}, {"meta": f'{{"comment": "{COMMENT}"}}'}],
)
def test_a_lost_answer_is_found_by_our_id_in_the_comment(place: dict[str, Any]) -> None:
    gateway, http = adapter(listed(refund_data(id=1, comments="by hand"), refund_data(id=2, **place)))
    result = gateway.refund_status(refund())
    assert (result.state, result.provider_ref) == (RefundState.SUCCEEDED, "2")
    assert [(each.method, each.url, each.query) for each in http.sent] == [
        ("GET", "/v3/refunds", {"from": "2026-07-10", "page": "1"})
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"comments": f"[{REFUND}0] Out of stock"},
        {"comments": "Out of stock"},
        {"comments": None},
        {"comments": COMMENT, "tx_id": 1},
        {"comments": COMMENT, "amount_refunded": 499},
        {"comments": COMMENT, "created_at": "2026-07-10T09:00:00.000Z"},
    ],
)
def test_what_is_not_certainly_ours_is_not_taken_for_it(other: dict[str, Any]) -> None:
    gateway, _http = adapter(listed(refund_data(**other)))
    result = gateway.refund_status(refund())
    assert (result.state, result.provider_ref) == (RefundState.UNKNOWN, "")


def test_more_than_can_be_read_is_not_known() -> None:
    pages = [listed(refund_data(id=number), page=number, pages=21) for number in range(1, 21)]
    gateway, http = adapter(*pages)
    assert gateway.refund_status(refund()).state is RefundState.UNKNOWN
    assert len(http.sent) == 20


# --- the books

SPAN = TransactionsQuery(NOW - timedelta(hours=1), NOW + timedelta(days=2))
AT = datetime(2026, 7, 10, 9, 15, 16, tzinfo=UTC)


def test_the_books_list_charges_and_then_refunds() -> None:
    gateway, http = adapter(
        listed(
            transaction(), transaction(id=5, status="failed"), transaction(id=6, created_at="2026-07-10T01:00:00.000Z"), pages=2
        ),
        listed(transaction(id=7, tx_ref="HUB-1", amount_settled=None), page=2, pages=2),
    )
    first = gateway.transactions(SPAN)
    assert first.transactions == (
        GatewayTransaction(
            TransactionKind.CHARGE,
            "4193428",
            KES_1500,
            AT,
            refs=(PAYMENT, "4193428", "2993238342"),
            payment_id=PAYMENT,
            fee=Money(4350, "KES"),
            net=Money(145_650, "KES"),
            description=M_PESA,
        ),
    )
    assert first.cursor == "charges:2"
    second = gateway.transactions(TransactionsQuery(SPAN.since, SPAN.until, first.cursor))
    assert [(each.provider_ref, each.payment_id, each.net) for each in second.transactions] == [("7", "", None)]
    assert second.cursor == "refunds:1"
    assert [each.query for each in http.sent] == [
        {"from": "2026-07-10", "to": "2026-07-12", "page": "1"},
        {"from": "2026-07-10", "to": "2026-07-12", "page": "2"},
    ]


def test_a_refund_has_its_transactions_currency() -> None:
    gateway, http = adapter(listed(refund_data(comments=COMMENT), refund_data(id=2, status="failed")), verified(currency="NGN"))
    page = gateway.transactions(TransactionsQuery(SPAN.since, SPAN.until, "refunds:1"))
    (line,) = page.transactions
    assert (line.kind, line.provider_ref, line.money) == (TransactionKind.REFUND, "75923", Money(50_000, "NGN"))
    assert (line.refs, line.payment_id) == (("75923", REFUND, PAYMENT, "4193428"), PAYMENT)
    assert (page.cursor, len(http.sent)) == ("", 2)


def test_a_refund_of_nothing_known_has_no_amount_and_is_left_out() -> None:
    gateway, _http = adapter(listed(refund_data()), NOTHING)
    page = gateway.transactions(TransactionsQuery(SPAN.since, SPAN.until, "refunds:1"))
    assert (page.transactions, page.cursor) == ((), "")


@pytest.mark.parametrize("cursor", ["refunds", "x:1", "charges:x", ":"])
def test_a_cursor_that_is_not_ours(cursor: str) -> None:
    gateway, http = adapter()
    with pytest.raises(InvalidRequest):
        gateway.transactions(TransactionsQuery(SPAN.since, SPAN.until, cursor))
    assert http.sent == []


def test_books_that_can_not_be_read() -> None:
    for cursor, entry in (("", {"status": "successful"}), ("refunds:1", {"id": 1})):
        gateway, _http = adapter(listed(entry))
        with pytest.raises(ProviderUnavailable):
            gateway.transactions(TransactionsQuery(SPAN.since, SPAN.until, cursor))
