"""What the merchant, the bank or time did at the gateway without us stands in its next answer, and is not taken for ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integrations.contracts.ids import new_id
from integrations.contracts.payment import PaymentState, RefundState
from integrations.contracts.payment_features import GatewayOperation
from tests.contracts.payments import moving
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.drivers import FULL, Account, features_of
from tests.contracts.payments.flow import AMOUNT, Flow

S = PaymentState
HOLDING = [account for account in FULL if GatewayOperation.CAPTURE in features_of(account.driver.slug).operations]
WITH_DASHBOARD = [account for account in FULL if account.driver.has_dashboard]


def each(accounts: list[Account]) -> Callable[..., None]:
    return pytest.mark.parametrize("bench", accounts, ids=lambda account: account.name, indirect=True)


def test_only_a_gateway_that_can_not_be_asked_about_refunds_is_left_out() -> None:
    """A reversal made in M-Pesa's portal can't be asked for; it comes to nobody's notice."""
    assert [account.name for account in FULL if account not in WITH_DASHBOARD] == ["mpesa"]
    assert {account.name for account in HOLDING} == {"stripe", "paypal"}


@each(WITH_DASHBOARD)
def test_a_refund(bench: Bench) -> None:
    flow = Flow.of(bench).paid()
    bench.driver.dashboard(flow, "refund", amount=AMOUNT)
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=(AMOUNT,))
    assert truth.refund_ids == ("",)
    moving.no_refund(flow, AMOUNT)


@each([account for account in WITH_DASHBOARD if account.driver.slug != "pesapal"])
def test_a_refund_beside_ours(bench: Bench) -> None:
    """Each is told once, ours with our id. (Pesapal has one refund per payment, whoever asks for it.)"""
    flow = Flow.of(bench).paid()
    ours, _done = flow.refund(30_000)
    bench.driver.dashboard(flow, "refund", amount=20_000)
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,), refunds=(30_000, 20_000))
    assert sorted(truth.refund_ids) == ["", ours.refund_id]
    moving.no_refund(flow, 50_100)


@each([account for account in WITH_DASHBOARD if account.driver.slug in ("stripe", "flutterwave")])
def test_a_refund_that_the_payers_bank_sent_back_later(bench: Bench) -> None:
    flow = Flow.of(bench).paid()
    ours, done = flow.refund(AMOUNT)
    assert done.state is RefundState.SUCCEEDED
    bench.driver.dashboard(flow, "fail_refund")
    found = bench.adapter().refund_status(ours)
    assert found.failure is not None
    assert (found.state, found.provider_ref) == (RefundState.FAILED, ours.provider_ref)
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,))
    assert truth.refund_ids == (ours.refund_id,), "told, as one that failed"


@each(HOLDING)
def test_a_capture(bench: Bench) -> None:
    flow = moving.held(bench)
    bench.driver.dashboard(flow, "capture", amount=AMOUNT)
    truth = flow.check(S.SUCCEEDED, captures=(AMOUNT,))
    assert truth.capture_ids == ("",)
    ours = flow.capture_request(AMOUNT, key=new_id("op"))
    assert bench.adapter().capture_status(ours).state is RefundState.UNKNOWN
    moving.no_capture(flow, AMOUNT)


@each(HOLDING)
def test_a_capture_beside_ours(bench: Bench) -> None:
    flow, key = moving.held(bench), new_id("op")
    moving.taken(flow.capture(30_000, final=False, key=key), flow, 30_000)
    bench.driver.dashboard(flow, "capture", amount=70_000)
    truth = flow.check(S.SUCCEEDED, captures=(30_000, 70_000))
    assert sorted(truth.capture_ids) == ["", key]


@each(HOLDING)
def test_a_release(bench: Bench) -> None:
    flow = moving.held(bench)
    bench.driver.dashboard(flow, "void")
    flow.check(S.CANCELLED)
    assert flow.void(held=True).state is S.CANCELLED
    moving.no_capture(flow, AMOUNT)


@each(HOLDING)
def test_a_hold_that_lapsed(bench: Bench) -> None:
    flow = moving.held(bench)
    assert flow.known is not None
    assert flow.known.expires_at is not None
    assert flow.known.expires_at > bench.now()
    bench.driver.dashboard(flow, "expire")
    flow.check(S.EXPIRED)
    assert flow.void(held=True).state in (S.EXPIRED, S.CANCELLED)
    moving.no_capture(flow, AMOUNT)
