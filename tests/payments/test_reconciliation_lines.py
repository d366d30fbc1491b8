"""Reconciliation: what differs, the edges of the window, and gateways that are asked payment by payment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django_scopes import scope

from integrations.contracts.errors import (
    AuthenticationFailed,
    NotFound,
    UnsupportedOperation,
)
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    PaymentResult,
    PaymentState,
    RefundFact,
    RefundState,
)
from integrations.models import Alert, Config, Tenant
from payments.models import LedgerEntry, Payment, ReconciliationLine
from payments.reconciliation import totals
from tests.factories import START, MovableClock
from tests.payments.fake_gateway import FakeGateway
from tests.payments.reconciling import (
    SINCE,
    UNTIL,
    ask_about,
    connect,
    installed,
    lines,
    operation,
    page,
    paid,
    questions,
    reconcile,
    said,
    still_running,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lists() -> bool:
    """Whether the gateway has a list of its books; otherwise it is asked about each payment."""
    return True


@pytest.fixture(autouse=True)
def gateway(monkeypatch: pytest.MonkeyPatch, clock: MovableClock, lists: bool) -> Iterator[type[FakeGateway]]:
    with installed(monkeypatch, lists=lists) as found:
        yield found


@pytest.fixture
def config(tenant: Tenant) -> Config:
    return connect(tenant)


# --- what differs ---------------------------------------------------------------------------------------------------------


def test_another_amount_differs_and_changes_nothing(config: Config) -> None:
    payment = paid(config, "pi-1")
    run = reconcile(config, page(told("charge", "t1", "pi-1", amount=140_000)))
    assert lines(run) == [("amount_differs", "t1", 140_000, 150_000)]
    assert ReconciliationLine.unscoped.get().detail == "Here it is KES 1,500.00, at the gateway KES 1,400.00"
    assert (Payment.unscoped.get(pk=payment.pk).amount_captured, questions(config.tenant)) == (150_000, [])
    assert LedgerEntry.unscoped.count() == 0


@pytest.mark.parametrize(
    ("status", "operation_status"),
    [("failed", "failed"), ("expired", "failed"), ("unknown", "unknown"), ("requires_action", "pending")],
)
def test_money_of_a_payment_that_is_not_paid_here_is_asked_for(config: Config, status: str, operation_status: str) -> None:
    values = {"amount_captured": 0, "amount_authorized": 0, "completed_at": None}
    payment = paid(config, "pi-1", status=status, operation=operation_status, **values)
    FakeGateway.answers["payment_status"] += [
        PaymentResult(PaymentState.SUCCEEDED, "pi-1", receipt="rc-1", money=Money(150_000, "KES"))
    ]
    run = reconcile(config, page(told("charge", "t1", "pi-1")))
    assert lines(run) == [("status_differs", "t1", 150_000, 150_000)]
    detail = f"Here it is {operation_status}, and the payment {status}; the gateway is asked"
    assert ReconciliationLine.unscoped.get().detail == detail
    healed = Payment.unscoped.get(pk=payment.pk)
    assert (healed.status, healed.amount_captured, healed.receipt, healed.fee_amount) == ("succeeded", 150_000, "rc-1", None)


@pytest.mark.parametrize(
    ("here", "kind"), [("pending", "matched"), ("failed", "status_differs"), ("unknown", "status_differs")]
)
def test_a_refund_that_has_not_succeeded_here_is_asked_for(config: Config, here: str, kind: str) -> None:
    payment = paid(config, "pi-1")
    operation(payment, "refund", "rf-1", status=here)
    FakeGateway.answers["payment_status"] += [still_running()]
    run = reconcile(config, page(told("charge", "t1", "pi-1"), told("refund", "t2", "rf-1", "pi-1")))
    assert lines(run)[1:] == [(kind, "t2", 150_000, 150_000)]
    assert questions(config.tenant) == [payment.pk]


def test_other_movements_are_kept_and_those_of_a_payment_asked_about(config: Config) -> None:
    payment = paid(config, "pi-1")
    FakeGateway.answers["payment_status"] += [still_running()]
    returned = told("other", "t3", "pi-1", description="refund_failure")
    run = reconcile(config, page(told("charge", "t1", "pi-1"), told("other", "t2", description="payout"), returned))
    assert [line[:2] for line in lines(run)] == [("matched", "t1"), ("unchecked", "t2"), ("unchecked", "t3")]
    assert (run.detail, questions(config.tenant)) == ("1 matched, 2 could not be checked", [payment.pk])
    assert not Alert.objects.filter(kind="reconciliation_difference").exists()


@pytest.mark.parametrize("returns", [True, False])
def test_a_refund_that_failed_later_is_gone_and_come_back(config: Config, returns: bool) -> None:
    payment = paid(config, "pi-1")
    operation(payment, "refund", "rf-1", amount=900, status="failed")
    FakeGateway.answers["payment_status"] += [still_running()]
    back = told("other", "t3", "pi-1", amount=900, net=Money(900, "KES"), description="refund_failure")
    gone = told("refund", "t2", "rf-1", "pi-1", amount=900, net=Money(-900, "KES"))
    run = reconcile(config, page(*([back] if returns else []), cursor="2"), page(gone, told("charge", "t1", "pi-1")))
    found = {ref: kind for kind, ref, _, _ in lines(run)}
    expected = {"t2": "matched", "t3": "matched"} if returns else {"t2": "status_differs"}
    assert found == {"t1": "matched", **expected}
    assert Alert.objects.filter(kind="reconciliation_difference").exists() is not returns
    with scope(tenant=config.tenant):
        (total,) = totals(run)
    assert total.net == (0 if returns else -900)


# --- the edges of the window ----------------------------------------------------------------------------------------------


def test_what_lies_at_an_edge_is_not_called_missing_until_the_next_run_has_looked(config: Config) -> None:
    minutes = timedelta(minutes=1)
    for name, at in (
        ("just-before", SINCE - minutes),
        ("at-the-beginning", SINCE + 59 * minutes),
        ("inside", SINCE + 61 * minutes),
        ("at-the-end", UNTIL - 30 * minutes),
        ("seen-next-day", UNTIL - 20 * minutes),
        ("next-day", UNTIL + 90 * minutes),
    ):
        paid(config, name, at=at)
    run = reconcile(config, page(told("charge", "outside", at=SINCE - minutes), told("charge", "late", at=UNTIL)))
    assert lines(run) == [("missing_there", "ch-inside", None, 150_000)]

    following = reconcile(
        config,
        page(told("charge", "t1", "seen-next-day", at=UNTIL + minutes), told("charge", "t2", "next-day", at=UNTIL)),
        since=UNTIL,
        until=START,
    )
    assert lines(following) == [
        ("matched", "t1", 150_000, 150_000),
        ("matched", "t2", 150_000, 150_000),
        ("missing_there", "ch-at-the-end", None, 150_000),
    ]


def test_a_refund_that_was_booked_because_of_the_run_is_not_missed_by_the_next(config: Config) -> None:
    payment = paid(config, "pi-1")
    FakeGateway.answers["payment_status"] += [still_running()]
    run = reconcile(config, page(told("charge", "t1", "pi-1"), told("refund", "t2", "rf-1", "pi-1", amount=600)))
    assert lines(run)[1:] == [("missing_here", "t2", 600, None)]
    healed = UNTIL + timedelta(hours=2)
    operation(payment, "refund", "rf-1", at=healed, amount=600, origin="gateway")
    operation(payment, "refund", "rf-2", at=healed, amount=600)
    following = reconcile(config, page(), since=UNTIL, until=START)
    assert lines(following) == [("missing_there", "rf-2", None, 600)]


# --- payment by payment ---------------------------------------------------------------------------------------------------

without_a_list = pytest.mark.parametrize("lists", [False])


@without_a_list
def test_without_a_list_each_payment_of_the_window_is_asked_about_once(config: Config) -> None:
    same, other, gone, silent = (paid(config, f"pi-{number}") for number in range(4))
    paid(config, "pi-before", at=SINCE - timedelta(seconds=1))
    paid(config, "pi-after", at=UNTIL)
    operation(same, "refund", "rf-1", amount=900)
    operation(other, "refund", "rf-2", amount=700, at=SINCE - timedelta(hours=1))
    run = ask_about(
        config,
        said(same.provider_ref, amount=150_000, refunds=(RefundFact("rf-1", Money(900, "KES"), RefundState.SUCCEEDED),)),
        said(other.provider_ref, amount=140_000, refunds=(RefundFact("rf-2", Money(700, "KES"), RefundState.SUCCEEDED),)),
        NotFound("No such payment."),
        said(silent.provider_ref, "processing"),
    )
    assert [query.provider_ref for _, query in FakeGateway.asked] == ["pi-0", "pi-1", "pi-2", "pi-3"]
    assert lines(run) == [
        ("matched", "pi-0", 150_000, 150_000),
        ("matched", "rf-1", 900, 900),
        ("amount_differs", "pi-1", 140_000, 150_000),
        ("unchecked", "ch-pi-3", None, 150_000),
        ("missing_there", "ch-pi-2", None, 150_000),
    ]
    assert Payment.unscoped.get(pk=gone.pk).status == "succeeded"
    assert run.status == "completed"


@without_a_list
def test_one_answer_that_can_not_be_had_keeps_no_other_from_being_asked(config: Config) -> None:
    paid(config, "pi-0")
    paid(config, "pi-1")
    run = ask_about(config, UnsupportedOperation("Not this one."), said("pi-1", amount=150_000))
    assert lines(run) == [("unchecked", "ch-pi-0", None, 150_000), ("matched", "pi-1", 150_000, 150_000)]
    assert ReconciliationLine.unscoped.get(kind="unchecked").detail == "Not this one."
    assert run.status == "completed"


@without_a_list
def test_refused_credentials_end_the_run(config: Config) -> None:
    paid(config, "pi-0")
    paid(config, "pi-1")
    run = ask_about(config, AuthenticationFailed("Wrong key."))
    assert (run.status, run.detail, lines(run)) == ("failed", "Wrong key.", [])
    assert len(FakeGateway.asked) == 1


@without_a_list
def test_a_refund_the_gateway_does_not_tell_of_is_not_checked(config: Config) -> None:
    payment = paid(config, "pi-0")
    operation(payment, "refund", "rf-1", amount=900)
    run = ask_about(config, said("pi-0", amount=150_000, refunds=None))
    assert lines(run) == [("matched", "pi-0", 150_000, 150_000), ("unchecked", "rf-1", None, 900)]


@without_a_list
def test_money_that_the_gateway_has_and_states_no_amount_of_is_asked_for(config: Config) -> None:
    values = {"amount_captured": 0, "amount_authorized": 0, "completed_at": None}
    payment = paid(config, "pi-0", status="expired", operation="failed", **values)
    paid(config, "pi-1", status="failed", operation="failed", **values)
    run = ask_about(config, said("pi-0"), said("pi-1", "failed"), still_running())
    assert lines(run) == [("status_differs", "ch-pi-0", None, 150_000)]
    detail = "Here the payment is expired, at the gateway succeeded; the gateway is asked"
    assert ReconciliationLine.unscoped.get().detail == detail
    assert questions(config.tenant) == [payment.pk]
