"""What must hold when many do it at once: receipt numbers without gaps, refunds never above what came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django_scopes import scope

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.failures import Failure
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    IncomingPayment,
    RefundResult,
    RefundState,
)
from integrations.models import Alert, Config, QueueItem, Tenant
from payments.incoming import book_incoming
from payments.ledger import move
from payments.models import LedgerEntry, Operation, Payment, ReceiptCounter, Status
from payments.outcomes import apply_report
from payments.refunds import apply_refund
from payments.services import refund as refund_service
from payments.services import refund_payment, resolve_payment
from tests.factories import MovableClock
from tests.payments.conftest import report
from tests.runtime.support import together

pytestmark = pytest.mark.django_db(transaction=True)
Ask = Callable[..., Payment]


@pytest.fixture
def paid(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> Payment:
    """KES 1,500.00 that came in; refunds of it are recorded and queued, but no gateway is asked."""
    monkeypatch.setattr(refund_service, "claim_and_run", lambda item: None)
    payment = ask()
    with transaction.atomic():
        apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000))
    payment.refresh_from_db()
    return payment


def give_back(payment: Payment, amount: int | None = None) -> Operation:
    with scope(tenant=payment.tenant):
        return refund_payment(tenant=payment.tenant, payment_id=payment.pk, amount=amount, reason="r", actor="test")


def settle(refund: Operation, state: RefundState, **fields: Any) -> None:
    with transaction.atomic():
        apply_refund(refund.pk, RefundResult(state=state, **fields), actor="gateway", reason="said so")


# --- receipt numbers


def test_numbers_are_without_gaps_and_unique_when_twenty_are_paid_at_once(ask: Ask, tenant: Tenant) -> None:
    payments = [ask() for _ in range(20)]

    def pay(number: int) -> None:
        with scope(tenant=tenant), transaction.atomic():
            move(Payment.objects.select_for_update().get(pk=payments[number].pk), Status.SUCCEEDED, actor="g", reason="paid")

    assert together(20, pay) == [None] * 20
    numbers = sorted(Payment.objects.values_list("receipt_number", flat=True))
    assert numbers == [f"2026-{number:06d}" for number in range(1, 21)]


def test_a_step_that_rolls_back_leaves_no_gap(ask: Ask) -> None:
    first, second = ask(), ask()

    def fail() -> None:
        with transaction.atomic():
            move(first, Status.SUCCEEDED, actor="g", reason="paid")
            raise RuntimeError("later in the same transaction")

    with pytest.raises(RuntimeError):
        fail()
    with transaction.atomic():
        move(second, Status.SUCCEEDED, actor="g", reason="paid")
    assert second.receipt_number == "2026-000001"


def test_each_year_and_tenant_counts_from_one(ask: Ask, clock: MovableClock, other_tenant: Tenant) -> None:
    with transaction.atomic():
        move(first := ask(), Status.SUCCEEDED, actor="g", reason="paid")
    clock.advance(days=60)
    with transaction.atomic():
        move(second := ask(), Status.SUCCEEDED, actor="g", reason="paid")
    assert (first.receipt_number, second.receipt_number) == ("2026-000001", "2027-000001")
    assert list(ReceiptCounter.objects.order_by("year").values_list("year", "last")) == [(2026, 1), (2027, 1)]


# --- one receipt, many reports


def test_twenty_reports_at_once_book_the_money_once(ask: Ask, tenant: Tenant) -> None:
    payment = ask()

    def tell(_number: int) -> None:
        with scope(tenant=tenant), transaction.atomic():
            apply_report(payment.pk, report(receipt="UGA3K7P2QX", amount=150_000))

    assert together(20, tell) == [None] * 20
    payment.refresh_from_db()
    assert (payment.status, payment.amount_captured, payment.receipt_number) == ("succeeded", 150_000, "2026-000001")
    assert (Payment.objects.count(), LedgerEntry.objects.count()) == (1, 1)


def test_twenty_confirmations_at_once_book_the_money_once(tenant: Tenant, mpesa: Config, in_scope: None) -> None:
    money = IncomingPayment(receipt="UGA3K7P2QX", money=Money(50_000, "KES"), account_number="X", destination="600984")

    def tell(_number: int) -> bool:
        with scope(tenant=tenant), transaction.atomic():
            booked = book_incoming(
                tenant_id=tenant.pk, provider="mpesa", config=mpesa, incoming=money, actor="g", reason="told"
            )
        return booked is not None

    assert sorted(together(20, tell)) == [False] * 19 + [True]
    assert Payment.objects.get().amount_captured == 50_000


# --- refunds


def test_twenty_refunds_at_once_never_exceed_what_came_in(paid: Payment) -> None:
    results = together(20, lambda _number: give_back(paid, 20_000))

    made = [result for result in results if isinstance(result, Operation)]
    refused = [result for result in results if not isinstance(result, Operation)]
    assert len(made) == 7
    assert {type(result) for result in refused} <= {InvalidRequest, Conflict}
    refunds = Operation.objects.filter(kind="refund")
    assert sum(each.amount for each in refunds) == 140_000
    assert QueueItem.objects.filter(kind="payment.refund").count() == 7


def test_twenty_whole_refunds_at_once_are_one(paid: Payment) -> None:
    results = together(20, lambda _number: give_back(paid))
    assert sum(isinstance(result, Operation) for result in results) == 1
    assert [type(result) for result in results if not isinstance(result, Operation)] == [Conflict] * 19
    assert Operation.objects.get(kind="refund").amount == 150_000


@pytest.mark.parametrize("state", [RefundState.PROCESSING, RefundState.UNKNOWN, RefundState.SUCCEEDED])
def test_what_is_under_way_unknown_or_done_counts_as_given_back(paid: Payment, state: RefundState) -> None:
    settle(give_back(paid, 100_000), state)
    with pytest.raises(InvalidRequest, match=r"At most KES 500\.00"):
        give_back(paid, 50_100)
    assert Operation.objects.filter(kind="refund").count() == 1
    assert give_back(paid).amount == 50_000


def test_a_failed_refund_is_free_to_be_given_again(paid: Payment) -> None:
    settle(give_back(paid), RefundState.FAILED, failure=Failure(code="x", message="no"))
    assert give_back(paid).amount == 150_000
    paid.refresh_from_db()
    assert paid.amount_refunded == 0
    assert Alert.objects.filter(kind="refund_failed").count() == 1


def test_totals_follow_succeeded_refunds_alone_and_only_a_late_failure_undoes_one(paid: Payment) -> None:
    refund = give_back(paid, 60_000)
    steps = [
        (RefundState.PROCESSING, 0, "pending"),
        (RefundState.UNKNOWN, 0, "unknown"),
        (RefundState.SUCCEEDED, 60_000, "succeeded"),
        (RefundState.UNKNOWN, 60_000, "succeeded"),
        (RefundState.PROCESSING, 60_000, "succeeded"),
        (RefundState.FAILED, 0, "failed"),
        (RefundState.SUCCEEDED, 0, "failed"),
        (RefundState.UNKNOWN, 0, "failed"),
    ]
    for state, refunded, status in steps:
        settle(refund, state, receipt="UGB4L8Q3RY" if state is RefundState.SUCCEEDED else "")
        paid.refresh_from_db()
        refund.refresh_from_db()
        assert (paid.amount_refunded, paid.amount_captured, refund.status) == (refunded, 150_000, status), state
    assert paid.status == "succeeded"


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.SUCCEEDED, Status.PARTIALLY_CAPTURED}))
def test_only_money_that_came_in_is_given_back(ask: Ask, status: str) -> None:
    payment = ask(status, receipt="UGA3K7P2QX")
    with pytest.raises(Conflict):
        give_back(payment)
    assert Operation.objects.filter(kind="refund").count() == 0
    assert QueueItem.objects.count() == 0


@pytest.mark.parametrize("amount", [0, -1, 150_001, 50])
def test_an_impossible_amount_is_refused_and_changes_nothing(paid: Payment, amount: int) -> None:
    lines = LedgerEntry.objects.count()
    with pytest.raises(InvalidRequest) as caught:
        give_back(paid, amount)
    assert caught.value.attr == "amount"
    assert (Operation.objects.filter(kind="refund").count(), LedgerEntry.objects.count()) == (0, lines)


def test_without_the_gateways_receipt_nothing_can_be_given_back(ask: Ask) -> None:
    payment = ask()
    with transaction.atomic():
        move(payment, Status.SUCCEEDED, actor="g", reason="learned by asking")
    with pytest.raises(Conflict, match="receipt number"):
        give_back(payment)


def test_another_tenants_payment_does_not_exist(paid: Payment, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant), pytest.raises(Payment.DoesNotExist):
        refund_payment(tenant=other_tenant, payment_id=paid.pk, amount=None, reason="", actor="mallory")
    assert Operation.objects.filter(kind="refund").count() == 0


# --- a person decides


@pytest.mark.parametrize("status", ["needs_review", "conflicted", "unknown"])
@pytest.mark.parametrize("was_paid", [True, False])
def test_a_person_settles_what_nobody_else_could(ask: Ask, tenant: Tenant, status: str, was_paid: bool) -> None:
    payment = ask(status)
    settled = resolve_payment(
        tenant=tenant, payment_id=payment.pk, paid=was_paid, receipt="UGA3K7P2QX", note="statement of 20 Nov", actor="jane"
    )
    assert settled.status == ("succeeded" if was_paid else "failed")
    assert settled.amount_captured == (150_000 if was_paid else 0)
    line = LedgerEntry.objects.get()
    assert (line.actor, line.reason) == ("jane", "decided by a person: statement of 20 Nov")


def test_a_decision_needs_grounds_and_something_to_decide(ask: Ask, tenant: Tenant) -> None:
    payment = ask("needs_review")
    with pytest.raises(InvalidRequest):
        resolve_payment(tenant=tenant, payment_id=payment.pk, paid=True, receipt="", note="  ", actor="jane")
    done = ask("succeeded")
    with pytest.raises(Conflict):
        resolve_payment(tenant=tenant, payment_id=done.pk, paid=False, receipt="", note="x", actor="jane")
    taken = ask("succeeded", receipt="UGA3K7P2QX")
    with pytest.raises(Conflict, match="another payment"):
        resolve_payment(tenant=tenant, payment_id=payment.pk, paid=True, receipt=taken.receipt, note="x", actor="jane")
    assert LedgerEntry.objects.count() == 0
