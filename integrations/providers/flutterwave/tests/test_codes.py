"""What Flutterwave's words mean."""

from __future__ import annotations

import pytest

from integrations.contracts.failures import VOCABULARY
from integrations.contracts.payment import RefundState
from integrations.providers.flutterwave.codes import (
    FAILURES,
    REFUND_FAILURES,
    Meaning,
    failure_of,
    meaning_of,
    refund_failure_of,
    refund_state,
)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Authorization required", Meaning.CREDENTIALS),
        ("merchant secret key required", Meaning.CREDENTIALS),
        ("Invalid authorization key", Meaning.CREDENTIALS),
        ("An error occurred. Please contact support", Meaning.UNDECIDED),
        ("Request timed out", Meaning.UNDECIDED),
        (
            "Transaction Reference already exist. Try again in 2 minutes time to use the same ref for a new transaction",
            Meaning.DUPLICATE,
        ),
        ("No transaction was found for this id", Meaning.NOT_FOUND),
        ("email is required", Meaning.INVALID),
        ('"foo" is not allowed', Meaning.INVALID),
        ("amount must be a number", Meaning.INVALID),
        ("Something else", Meaning.REFUSED),
        ("", Meaning.REFUSED),
    ],
)
def test_error_texts(text: str, meaning: Meaning) -> None:
    assert meaning_of(text) is meaning


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The balance is insufficient for the transaction.", "insufficient_funds"),
        ("Insufficient Funds", "insufficient_funds"),
        ("Request cancelled by user", "cancelled_by_payer"),
        ("DS timeout user cannot be reached", "payer_unreachable"),
        ("The initiator information is invalid.", "wrong_pin"),
        ("Transaction has expired", "payment_expired"),
        ("Declined due to limit rule: greater than the maximum transaction amount.", "limit_reached"),
        ("Do not honour", "declined"),
        ("Transaction declined by the issuer", "declined"),
        ("Expired card", "expired_card"),
        ("Suspected fraud", "fraud_suspected"),
        ("3D Secure failed", "authentication_failed"),
        ("This charge type is not enabled for your account", "permission_missing"),
        ("XAF is currently not supported for this account", "gateway_refused"),
        ("anything else", "gateway_refused"),
    ],
)
def test_failures_of_payments(text: str, code: str) -> None:
    failure = failure_of(text)
    assert (failure.code, failure.provider_code, failure.type) == (code, text, VOCABULARY[code][0].value)


def test_the_word_for_an_unknown_reason_is_the_callers() -> None:
    assert failure_of("", otherwise="declined").code == "declined"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Insufficient funds in your available balance to process this refund", "merchant_balance_low"),
        ("This transaction has been fully refunded", "already_refunded"),
        ("Refund amount cannot be greater than transaction amount", "refund_declined"),
        ("failed", "refund_declined"),
    ],
)
def test_failures_of_refunds(text: str, code: str) -> None:
    assert refund_failure_of(text).code == code


def test_every_code_is_in_the_vocabulary() -> None:
    assert {code for _pattern, code in (*FAILURES, *REFUND_FAILURES)} <= set(VOCABULARY)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("completed", RefundState.SUCCEEDED),
        ("completed-mpgs", RefundState.SUCCEEDED),
        ("Completed-Bank-Transfer", RefundState.SUCCEEDED),
        ("completed-momo", RefundState.SUCCEEDED),
        ("failed", RefundState.FAILED),
        ("pending", RefundState.PROCESSING),
        ("new", RefundState.PROCESSING),
        ("never heard of", RefundState.PROCESSING),
    ],
)
def test_refund_words(word: str, state: RefundState) -> None:
    assert refund_state(word) is state
