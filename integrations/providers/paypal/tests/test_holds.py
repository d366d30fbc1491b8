"""Captures and voids of authorizations, over months of the simulator's clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from integrations.contracts.errors import InvalidRequest, NotFound, Undecided, UnsupportedOperation
from integrations.contracts.money import Money
from integrations.contracts.payment import PaymentResult, PaymentState, RefundState
from integrations.providers.paypal.tests.hub import DAY, PAYMENT, Hub
from tests.simulators.support import wait_for


def held_and_captured(hub: Hub) -> tuple[int, int]:
    (row,) = hub.money()
    return row["held"], row["captured"]


def test_hold_and_take_all(school: Hub) -> None:
    held = school.held()
    assert held.hold_ref
    assert held.capturable == Money(10_000, "USD")
    assert ("authorization", held.hold_ref) in held.references
    taken = school.adapter().capture(school.capture_of(held, 10_000))
    assert taken.state is RefundState.SUCCEEDED
    assert taken.money == Money(10_000, "USD")
    assert taken.payment is None, "the hold is still the same"
    (sent,) = school.asked("capture")
    assert sent["headers"]["PayPal-Request-Id"] == "op_2-capture"
    assert sent["body"] == {
        "amount": {"currency_code": "USD", "value": "100.00"},
        "final_capture": True,
        "invoice_id": "op_2",
    }
    found = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert found.state is PaymentState.SUCCEEDED
    assert found.capturable == Money(0, "USD")
    assert found.captures is not None
    assert [(each.provider_ref, each.operation_id) for each in found.captures] == [(taken.provider_ref, "op_2")]
    assert held_and_captured(school) == (0, 10_000)


def test_several_captures_until_the_last(school: Hub) -> None:
    held = school.held()
    school.adapter().capture(school.capture_of(held, 3_000, final=False))
    part = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert (part.state, part.capturable) == (PaymentState.AUTHORIZED, Money(7_000, "USD"))
    school.adapter().capture(school.capture_of(part, 2_000, operation_id="op_4", idempotency_key="op_4"))
    done = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert (done.state, done.capturable) == (PaymentState.SUCCEEDED, Money(0, "USD"))
    assert done.captures is not None
    assert [each.money.minor_units for each in done.captures] == [3_000, 2_000]
    assert held_and_captured(school) == (0, 5_000)


def test_never_more_than_was_held(school: Hub) -> None:
    held = school.held()
    with pytest.raises(InvalidRequest):
        school.adapter().capture(school.capture_of(held, 10_001))
    too_much = school.capture_of(held, 10_001, capturable=Money(20_000, "USD"))
    with pytest.raises(InvalidRequest):
        school.adapter().capture(too_much)
    with pytest.raises(InvalidRequest):
        school.adapter().capture(school.capture_of(held, 100, money=Money(100, "EUR"), capturable=Money(100, "EUR")))
    with pytest.raises(NotFound):
        school.adapter().capture(school.capture_of(held, 100, hold_ref="0ABCDEFGH12345678"))
    assert school.asked("capture") == []
    assert held_and_captured(school) == (10_000, 0)


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500", "refuse"])
def test_a_lost_answer_is_asked_for_again(school: Hub, fault: str) -> None:
    request = school.capture_of(school.held(), 10_000)
    school.fault("capture", fault)
    with pytest.raises(Undecided):
        school.adapter().capture(request)
    found = school.adapter().capture(request)
    assert found.state is RefundState.SUCCEEDED
    assert held_and_captured(school) == (0, 10_000)


def test_what_became_of_a_capture(school: Hub) -> None:
    request = school.capture_of(school.held(), 10_000)
    assert school.adapter().capture_status(request).state is RefundState.UNKNOWN
    taken = school.adapter().capture(request)
    found = school.adapter().capture_status(request)
    assert (found.state, found.provider_ref) == (RefundState.SUCCEEDED, taken.provider_ref)


def test_a_capture_repeated_after_paypal_forgot_the_key(school: Hub) -> None:
    request = school.capture_of(school.held(), 6_000, final=False)
    taken = school.adapter().capture(request)
    school.running.store.delete("paypal", "replay")
    again = school.adapter().capture(replace(request, captured=Money(0, "USD"), money=Money(4_000, "USD")))
    assert (again.state, again.provider_ref) == (RefundState.SUCCEEDED, taken.provider_ref)
    assert again.money == Money(6_000, "USD")
    assert held_and_captured(school) == (4_000, 6_000)


def test_after_three_days_it_is_authorized_anew(school: Hub) -> None:
    held = school.held()
    school.clock.advance(3 * DAY)
    taken = school.adapter().capture(school.capture_of(held, 4_000, final=False))
    assert taken.state is RefundState.SUCCEEDED
    assert taken.payment is not None
    renewed = taken.payment.hold_ref
    assert renewed not in ("", held.hold_ref)
    assert ("authorization", renewed) in taken.references
    assert taken.payment.state is PaymentState.AUTHORIZED
    assert taken.payment.capturable == Money(6_000, "USD")
    assert taken.payment.expires_at == held.expires_at, "29 days from the first authorization"
    rest = school.adapter().capture(school.capture_of(taken.payment, 6_000, operation_id="op_4", idempotency_key="op_4"))
    assert rest.state is RefundState.SUCCEEDED
    assert len(school.asked("reauthorize")) == 1
    assert held_and_captured(school) == (0, 10_000)


def test_a_lost_reauthorization_is_found_again(school: Hub) -> None:
    request = school.capture_of(school.held(), 10_000)
    school.clock.advance(4 * DAY)
    school.fault("reauthorize", "drop_after_accept")
    with pytest.raises(Undecided):
        school.adapter().capture(request)
    assert held_and_captured(school) == (10_000, 0)
    assert school.adapter().capture(request).state is RefundState.SUCCEEDED
    first, second = school.asked("reauthorize")
    assert first["headers"]["PayPal-Request-Id"] == second["headers"]["PayPal-Request-Id"]
    assert held_and_captured(school) == (0, 10_000)


def test_a_second_reauthorization_is_not_made_and_the_late_capture_fails(school: Hub) -> None:
    held = school.held()
    school.clock.advance(3 * DAY)
    taken = school.adapter().capture(school.capture_of(held, 1_000, final=False))
    assert taken.payment is not None
    school.clock.advance(4 * DAY)
    late = school.adapter().capture(school.capture_of(taken.payment, 1_000, operation_id="op_4", idempotency_key="op_4"))
    assert late.state is RefundState.FAILED
    assert late.failure is not None
    assert late.failure.provider_code == "PAYER_CANNOT_PAY"
    assert held_and_captured(school) == (9_000, 1_000)


def test_too_late_altogether(school: Hub) -> None:
    held = school.held()
    school.clock.advance(29 * DAY)
    found = school.adapter().capture(school.capture_of(held, 10_000))
    assert found.state is RefundState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("expired", "AUTHORIZATION_EXPIRED")
    assert held_and_captured(school) == (0, 0)


def test_a_capture_of_what_was_voided(school: Hub) -> None:
    held = school.held()
    school.dashboard(PAYMENT, "void")
    found = school.adapter().capture(school.capture_of(held, 10_000))
    assert found.state is RefundState.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.provider_code) == ("invalid_state", "AUTHORIZATION_VOIDED")


def test_void(school: Hub) -> None:
    held = school.held()
    found = school.adapter().void(school.void_of(held))
    assert (found.state, found.capturable) == (PaymentState.CANCELLED, Money(0, "USD"))
    assert found.failure is None
    again = school.adapter().void(school.void_of(held))
    assert (again.state, again.failure) == (PaymentState.CANCELLED, None)
    assert held_and_captured(school) == (0, 0)


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after", "error_500", "refuse"])
def test_a_lost_void(school: Hub, fault: str) -> None:
    held = school.held()
    school.fault("void", fault)
    with pytest.raises(Undecided):
        school.adapter().void(school.void_of(held))
    assert school.adapter().void(school.void_of(held)).state is PaymentState.CANCELLED


def test_void_of_the_rest(school: Hub) -> None:
    held = school.held()
    school.adapter().capture(school.capture_of(held, 4_000, final=False))
    found = school.adapter().void(school.void_of(held))
    assert (found.state, found.capturable) == (PaymentState.SUCCEEDED, Money(0, "USD"))
    assert held_and_captured(school) == (0, 4_000)


def test_void_of_what_was_captured_tells_the_truth(school: Hub) -> None:
    held = school.held()
    school.adapter().capture(school.capture_of(held, 10_000))
    found = school.adapter().void(school.void_of(held))
    assert (found.state, found.failure) == (PaymentState.SUCCEEDED, None)
    assert held_and_captured(school) == (0, 10_000)


def test_void_of_a_reauthorization_voids_what_it_came_from(school: Hub) -> None:
    held = school.held()
    school.clock.advance(3 * DAY)
    taken = school.adapter().capture(school.capture_of(held, 1_000, final=False))
    assert taken.payment is not None
    found = school.adapter().void(school.void_of(taken.payment))
    assert found.state is PaymentState.SUCCEEDED
    assert found.capturable == Money(0, "USD")
    assert held_and_captured(school) == (0, 1_000)


def test_an_order_without_a_hold_can_only_lapse(school: Hub) -> None:
    held = school.held()
    with pytest.raises(UnsupportedOperation):
        school.adapter().void(replace(school.void_of(held), held=False))
    assert school.asked("void") == []


@pytest.mark.parametrize(("minor", "end"), [(10_910, PaymentState.AUTHORIZED), (10_911, PaymentState.FAILED)])
def test_a_hold_under_review(school: Hub, minor: int, end: PaymentState) -> None:
    found = school.adapter().complete(school.approved(minor, capture=False))
    assert found.state is PaymentState.PROCESSING
    assert found.capturable == Money(0, "USD")

    def settled() -> PaymentResult | None:
        school.clock.advance(1)
        later = school.status(found.provider_ref, hold_ref=found.hold_ref)
        return later if later.state is not PaymentState.PROCESSING else None

    assert wait_for(settled).state is end


def test_captures_made_in_paypals_pages_come_in(school: Hub) -> None:
    held = school.held()
    school.dashboard(PAYMENT, "capture", amount=2_500)
    found = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert found.captures is not None
    assert [(each.money.minor_units, each.operation_id) for each in found.captures] == [(2_500, "")]
    assert found.capturable == Money(7_500, "USD")


def test_a_partly_taken_hold_that_lapsed_is_a_success(school: Hub) -> None:
    held = school.held()
    school.adapter().capture(school.capture_of(held, 2_500, final=False))
    school.dashboard(PAYMENT, "expire")
    found = school.status(held.provider_ref, hold_ref=held.hold_ref)
    assert (found.state, found.capturable) == (PaymentState.SUCCEEDED, Money(0, "USD"))
