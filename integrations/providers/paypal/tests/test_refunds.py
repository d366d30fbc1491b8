"""Refunds and disputes: ours, the merchant's own in PayPal's pages, and what time makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest, Undecided
from integrations.contracts.money import Money
from integrations.contracts.payment import DisputeState, PaymentState, RefundState
from integrations.providers.paypal.tests.hub import DAY, PAYMENT, Hub, refund
from tests.simulators.support import wait_for


def refunded(hub: Hub) -> int:
    (row,) = hub.money()
    return int(row["refunded"])


def test_two_partial_refunds(school: Hub) -> None:
    paid = school.paid()
    first = school.adapter().refund(refund(paid.receipt, 4_000))
    assert first.state is RefundState.SUCCEEDED
    assert (first.money, first.receipt) == (Money(4_000, "USD"), first.provider_ref)
    (sent,) = school.asked("refund")
    assert sent["headers"]["PayPal-Request-Id"] == "re_1-refund"
    assert sent["body"] == {
        "amount": {"currency_code": "USD", "value": "40.00"},
        "invoice_id": "re_1",
        "custom_id": PAYMENT,
        "note_to_payer": "Paid twice",
    }
    school.adapter().refund(refund(paid.receipt, 6_000, refund_id="re_2", idempotency_key="re_2"))
    found = school.status(paid.provider_ref)
    assert found.state is PaymentState.SUCCEEDED
    assert found.refunds is not None
    assert [(each.operation_id, each.money, each.state) for each in found.refunds] == [
        ("re_1", Money(4_000, "USD"), RefundState.SUCCEEDED),
        ("re_2", Money(6_000, "USD"), RefundState.SUCCEEDED),
    ]
    assert refunded(school) == 10_000


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500", "refuse"])
def test_a_lost_answer_is_asked_for_again(school: Hub, fault: str) -> None:
    paid = school.paid()
    school.fault("refund", fault)
    with pytest.raises(Undecided):
        school.adapter().refund(refund(paid.receipt, 10_000))
    assert school.adapter().refund(refund(paid.receipt, 10_000)).state is RefundState.SUCCEEDED
    assert refunded(school) == 10_000


def test_a_refund_repeated_after_paypal_forgot_the_key(school: Hub) -> None:
    paid = school.paid()
    request = refund(paid.receipt, 4_000, payment_provider_ref=paid.provider_ref)
    first = school.adapter().refund(request)
    school.running.store.delete("paypal", "replay")
    again = school.adapter().refund(request)
    assert (again.state, again.provider_ref) == (RefundState.SUCCEEDED, first.provider_ref)
    assert refunded(school) == 4_000


def test_nothing_left_to_refund(school: Hub) -> None:
    paid = school.paid()
    school.dashboard(PAYMENT, "refund")
    found = school.adapter().refund(refund(paid.receipt, 100, payment_provider_ref=paid.provider_ref))
    assert found.state is RefundState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("already_refunded", "CAPTURE_FULLY_REFUNDED")
    assert refunded(school) == 10_000


def test_more_than_was_captured(school: Hub) -> None:
    paid = school.paid()
    found = school.adapter().refund(refund(paid.receipt, 10_001))
    assert found.state is RefundState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("amount_too_large", "REFUND_AMOUNT_EXCEEDED")
    assert refunded(school) == 0


def test_the_balance_is_too_low(school: Hub) -> None:
    found = school.adapter().refund(refund(school.paid(10_907).receipt, 100))
    assert found.state is RefundState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.decision) == ("merchant_balance_low", "retry")


def test_too_late(school: Hub) -> None:
    paid = school.paid()
    school.clock.advance(180 * DAY)
    found = school.adapter().refund(refund(paid.receipt, 100))
    assert found.failure is not None
    assert (found.state, found.failure.code) == (RefundState.FAILED, "refund_window_closed")
    assert refunded(school) == 0


def test_a_refund_needs_a_capture(school: Hub) -> None:
    with pytest.raises(InvalidRequest):
        school.adapter().refund(refund("", 100))
    assert school.asked("refund") == []


@pytest.mark.parametrize(("minor", "end"), [(10_905, RefundState.FAILED), (10_906, RefundState.SUCCEEDED)])
def test_a_pending_refund_comes_to_its_end(school: Hub, minor: int, end: RefundState) -> None:
    paid = school.paid(minor)
    request = refund(paid.receipt, 4_000, payment_provider_ref=paid.provider_ref)
    made = school.adapter().refund(request)
    assert (made.state, made.receipt) == (RefundState.PROCESSING, "")
    assert refunded(school) == 0
    school.dashboard(PAYMENT, "fail_refund" if end is RefundState.FAILED else "settle_refund")
    asked = school.adapter().refund_status(replace(request, provider_ref=made.provider_ref))
    assert (asked.state, asked.failure.code if asked.failure else "") == (
        end,
        "refund_failed_later" if end is RefundState.FAILED else "",
    )
    found = school.status(paid.provider_ref)
    assert found.refunds is not None
    assert [each.state for each in found.refunds] == [end]
    assert refunded(school) == (0 if end is RefundState.FAILED else 4_000)
    school.dashboard(PAYMENT, "refund")
    assert len(school.money()) == 1, "what failed can be refunded again"


def test_refund_status_without_an_id(school: Hub) -> None:
    paid = school.paid()
    request = refund(paid.receipt, 4_000, payment_provider_ref=paid.provider_ref)
    assert school.adapter().refund_status(request).state is RefundState.UNKNOWN
    made = school.adapter().refund(request)
    found = school.adapter().refund_status(request)
    assert (found.state, found.provider_ref) == (RefundState.SUCCEEDED, made.provider_ref)
    gone = replace(request, provider_ref="0REFUND0000000000")
    assert school.adapter().refund_status(gone).state is RefundState.UNKNOWN


def test_refunds_made_in_paypals_pages_come_in(school: Hub) -> None:
    paid = school.paid()
    school.dashboard(PAYMENT, "refund", amount=1_500)
    found = school.status(paid.provider_ref)
    assert found.refunds is not None
    assert [(each.money, each.operation_id) for each in found.refunds] == [(Money(1_500, "USD"), "")]


# --- disputes


@pytest.mark.parametrize(
    ("won", "state", "withdrawn", "disputed"),
    [(True, DisputeState.WON, False, 0), (False, DisputeState.LOST, True, 10_000)],
)
def test_a_dispute_from_beginning_to_end(school: Hub, won: bool, state: DisputeState, withdrawn: bool, disputed: int) -> None:
    paid = school.paid()
    opened = school.dashboard(PAYMENT, "dispute")
    found = school.status(paid.provider_ref)
    assert found.state is PaymentState.SUCCEEDED
    assert found.disputes is not None
    (case,) = found.disputes
    assert (case.provider_ref, case.state, case.withdrawn) == (opened["id"], DisputeState.NEEDS_RESPONSE, True)
    assert case.money == Money(10_000, "USD")
    assert case.reason == "merchandise_or_service_not_received"
    assert case.respond_by is not None
    assert (case.respond_by - school.now()).days == 9
    assert school.money()[0]["disputed"] == 10_000
    partial = school.adapter().refund(refund(paid.receipt, 100))
    assert partial.failure is not None
    assert (partial.state, partial.failure.code) == (RefundState.FAILED, "disputed")

    school.dashboard(PAYMENT, "dispute_won" if won else "dispute_lost")
    closed = school.status(paid.provider_ref).disputes
    assert closed is not None
    assert [(each.state, each.withdrawn) for each in closed] == [(state, withdrawn)]
    assert school.money()[0]["disputed"] == disputed


def test_an_inquiry_moves_no_money(school: Hub) -> None:
    paid = school.paid()
    school.dashboard(PAYMENT, "dispute", stage="INQUIRY", amount=2_000)
    found = school.status(paid.provider_ref).disputes
    assert found is not None
    assert [(each.state, each.withdrawn, each.money) for each in found] == [(DisputeState.INQUIRY, False, Money(2_000, "USD"))]


def test_an_account_that_may_not_read_disputes(school: Hub) -> None:
    paid = school.paid()
    school.control("PUT", "/accounts/school", {"disputes": False})
    found = school.status(paid.provider_ref)
    assert found.state is PaymentState.SUCCEEDED
    assert found.disputes is None


def test_what_the_dashboard_can_not_do(school: Hub) -> None:
    school.paid()
    for action in ("dispute_won", "settle_refund", "fail_refund", "void", "fly"):
        assert school.control("POST", "/dashboard", {"ref": PAYMENT, "action": action}, status=400)["error"]
    assert school.control("POST", "/dashboard", {"ref": "pay_none", "action": "refund"}, status=404)["error"]
    assert school.control("POST", "/dashboard", {"ref": PAYMENT, "action": "refund", "amount": 10_001}, status=400)
    assert refunded(school) == 0


@pytest.mark.parametrize(
    ("event", "steps"),
    [
        ("PAYMENT.CAPTURE.REFUNDED", ["refund"]),
        ("CUSTOMER.DISPUTE.CREATED", ["dispute"]),
        ("CUSTOMER.DISPUTE.RESOLVED", ["dispute", "dispute_lost"]),
    ],
)
def test_the_webhook_leads_back_to_the_payment(school: Hub, event: str, steps: list[str]) -> None:
    school.point()
    paid = school.paid()
    for step in steps:
        school.dashboard(PAYMENT, step)
    told: Any = school.event(event)
    assert told.payment_id == PAYMENT
    assert paid.receipt in told.refs
    assert wait_for(lambda: school.hooks.received)
