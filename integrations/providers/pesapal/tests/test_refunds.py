"""Refunds: what is refused before, the exact request, and that nothing is ever sent twice."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import (
    BadReply,
    Conflict,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import RefundResult, RefundState
from integrations.providers.pesapal.adapter import PesapalPayments
from integrations.providers.pesapal.tests.support import (
    BEARER,
    KES_1500,
    TRACKING,
    Sent,
    adapter,
    answer,
    config,
    error,
    fixture,
    refund,
)

REF = f"{TRACKING}:reversed"


def test_a_refund_is_requested() -> None:
    gateway, http, _ = adapter(answer(fixture("refund_taken")))
    assert gateway.refund(refund()) == RefundResult(RefundState.PROCESSING, REF)
    wanted = fixture("refund_request")
    assert http.sent == [Sent("POST", "/api/Transactions/RefundRequest", "refund", False, wanted, None, BEARER)]


def test_remarks_are_required_by_pesapal_so_there_are_some() -> None:
    gateway, http, _ = adapter(answer(fixture("refund_taken")))
    gateway.refund(refund(reason="", money=Money(50_050, "KES")))
    assert (http.sent[0].json["remarks"], http.sent[0].json["amount"]) == ("Refund", "500.50")


@pytest.mark.parametrize(
    ("changed", "view", "kind", "attr"),
    [
        ({}, {"refund_username": None}, UnsupportedOperation, "refund_username"),
        ({"payment_receipt": "", "capture_ref": ""}, {}, Conflict, None),
        ({"earlier": 1}, {}, Conflict, None),
        ({"money": Money(150_001, "KES")}, {}, InvalidRequest, "amount"),
        ({"money": Money(1500, "USD")}, {}, InvalidRequest, "currency"),
        ({"money": Money(1500, "JPY")}, {}, InvalidRequest, "currency"),
        ({"money": Money(0, "KES")}, {}, InvalidRequest, "amount"),
        ({"money": Money(50_000, "KES"), "method_name": "MpesaKE"}, {}, InvalidRequest, "amount"),
        ({"money": Money(50_000, "KES"), "method_name": "MTN"}, {}, InvalidRequest, "amount"),
    ],
)
def test_what_pesapal_would_refuse_is_not_sent(
    changed: dict[str, Any], view: dict[str, Any], kind: type[ProviderError], attr: str | None
) -> None:
    gateway, http, _ = adapter(view=config(**view))
    for call in (
        lambda: PesapalPayments.check_refund(refund(**changed), config(**view)),
        lambda: gateway.refund(refund(**changed)),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert (type(caught.value), caught.value.attr) == (kind, attr)
    assert http.sent == []


@pytest.mark.parametrize(
    "changed",
    [
        {"method_name": "MpesaKE"},
        {"method_name": "Visa", "money": Money(50_000, "KES")},
        {"method_name": "", "money": Money(50_000, "KES")},
        {"captured": None, "method_name": "MpesaKE", "money": KES_1500},
    ],
)
def test_what_pesapal_may_take_is_sent(changed: dict[str, Any]) -> None:
    gateway, http, _ = adapter(answer(fixture("refund_taken")))
    assert gateway.refund(refund(**changed)).state is RefundState.PROCESSING
    assert len(http.sent) == 1


@pytest.mark.parametrize(
    ("reply", "code", "provider_code"),
    [
        (answer({"status": "500", "message": "A refund request already exists for this payment"}), "already_refunded", "500"),
        (answer({"status": 500, "message": "Rejected"}), "refund_declined", "500"),
        (error("refund_not_allowed", "Not allowed"), "refund_declined", "refund_not_allowed"),
    ],
)
def test_a_rejected_refund_has_failed(reply: Any, code: str, provider_code: str) -> None:
    gateway, http, _ = adapter(reply)
    result = gateway.refund(refund())
    assert result.failure is not None
    assert (result.state, result.provider_ref) == (RefundState.FAILED, "")
    assert (result.failure.code, result.failure.provider_code) == (code, provider_code)
    assert len(http.sent) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (OutcomeUnknown("cut"), OutcomeUnknown),
        (answer({"message": "An error has occurred."}, 500), OutcomeUnknown),
        (answer(fixture("order_limit"), 500), OutcomeUnknown),
        (answer(b"", 504), OutcomeUnknown),
        (answer(b"<html>", 200), BadReply),
        (answer({"status": "201"}), BadReply),
    ],
)
def test_a_lost_answer_is_never_followed_by_a_second_request(reply: Any, kind: type[ProviderError]) -> None:
    gateway, http, _ = adapter(reply)
    with pytest.raises(kind) as caught:
        gateway.refund(refund())
    assert type(caught.value) is kind
    assert not caught.value.retryable
    assert [each.operation for each in http.sent] == ["refund"]


# --- asking


@pytest.mark.parametrize(
    ("status_code", "known", "state"),
    [
        (1, REF, RefundState.PROCESSING),
        (1, "", RefundState.UNKNOWN),
        (3, REF, RefundState.SUCCEEDED),
        (3, "", RefundState.SUCCEEDED),
    ],
)
def test_only_a_reversal_shows_that_the_money_went_back(status_code: int, known: str, state: RefundState) -> None:
    gateway, http, _ = adapter(answer(fixture("status_paid", status_code=status_code)))
    result = gateway.refund_status(refund(provider_ref=known))
    assert (result.state, result.provider_ref) == (state, REF if state is RefundState.SUCCEEDED else known)
    assert [each.operation for each in http.sent] == ["status"]


def test_another_orders_reversal_is_not_taken_for_ours() -> None:
    gateway, _, _ = adapter(answer(fixture("status_paid", status_code=3, merchant_reference="pay-other")))
    assert gateway.refund_status(refund(provider_ref=REF)).state is RefundState.UNKNOWN


def test_a_refund_can_only_be_asked_about_by_its_order() -> None:
    gateway, http, _ = adapter()
    with pytest.raises(UnsupportedOperation):
        gateway.refund_status(refund(payment_provider_ref=""))
    assert http.sent == []
    gateway, _, _ = adapter(answer(b"<html>"))
    with pytest.raises(ProviderUnavailable):
        gateway.refund_status(refund())
