"""The transition table and what one step does: totals, ledger, event, all or nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, transaction

from integrations import events
from integrations.contracts.failures import Failure
from integrations.events import DomainEvent
from integrations.models import Alert
from payments.ledger import EVENTS, move
from payments.models import LedgerEntry, Operation, Payment, Status
from payments.transitions import TRANSITIONS, allowed, is_open
from tests.factories import MovableClock

pytestmark = pytest.mark.django_db
Ask = Callable[..., Payment]
PAIRS = [(before, after) for before in Status for after in Status]
FORBIDDEN = [(before, after) for before, after in PAIRS if not allowed(before, after)]


def test_the_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_success_is_final_and_nothing_leads_back_into_the_open() -> None:
    assert TRANSITIONS[Status.SUCCEEDED] == frozenset()
    for ended in (Status.FAILED, Status.CANCELLED, Status.EXPIRED):
        assert TRANSITIONS[ended] == {Status.AUTHORIZED, Status.SUCCEEDED, Status.CONFLICTED}
    for before, after in PAIRS:
        if allowed(before, after) and not is_open(before):
            assert not is_open(after) or (before, after) in {
                (Status.AUTHORIZED, Status.NEEDS_REVIEW),
                (Status.PARTIALLY_CAPTURED, Status.NEEDS_REVIEW),
            }


def test_open_is_what_a_gateway_may_still_decide() -> None:
    assert {status for status in Status if is_open(status)} == {"requires_action", "processing", "unknown", "needs_review"}


@pytest.mark.parametrize(("before", "after"), FORBIDDEN)
def test_what_the_table_forbids_changes_nothing(ask: Ask, emitted: list[DomainEvent], before: Status, after: Status) -> None:
    payment = ask(before)
    rows = Payment.objects.filter(pk=payment.pk).values().get()

    assert move(payment, after, actor="x", reason="y") is False

    assert Payment.objects.filter(pk=payment.pk).values().get() == rows
    assert LedgerEntry.objects.count() == 0
    assert Operation.objects.get().status == "pending"
    assert emitted == []


@pytest.mark.parametrize(("before", "after"), [pair for pair in PAIRS if allowed(*pair)])
def test_what_it_allows_is_one_ledger_line_and_at_most_one_event(
    ask: Ask, emitted: list[DomainEvent], before: Status, after: Status
) -> None:
    payment = ask(before)

    assert move(payment, after, actor="gateway", reason="said so") is True

    payment.refresh_from_db()
    assert payment.status == after
    (line,) = LedgerEntry.objects.all()
    assert (line.from_status, line.to_status, line.actor, line.reason) == (before, after, "gateway", "said so")
    assert (line.amount_captured, line.amount_refunded) == (payment.amount_captured, payment.amount_refunded)
    assert [event.type for event in emitted] == ([EVENTS[after]] if after in EVENTS else [])
    critical = Alert.objects.filter(level="critical").values_list("kind", flat=True)
    assert list(critical) == ([f"payment_{after.value}"] if after in (Status.CONFLICTED, Status.NEEDS_REVIEW) else [])


def test_success_books_the_whole_amount_and_takes_a_receipt_number(
    ask: Ask, emitted: list[DomainEvent], clock: MovableClock
) -> None:
    payment = ask(next_action={"type": "confirm_on_phone"})
    move(payment, Status.SUCCEEDED, actor="gateway", reason="paid")
    payment.refresh_from_db()
    assert (payment.amount_authorized, payment.amount_captured, payment.amount_refunded) == (150_000, 150_000, 0)
    assert (payment.receipt_number, payment.completed_at, payment.next_action) == ("2026-000001", clock.moment, None)
    assert Operation.objects.get().status == "succeeded"
    (event,) = emitted
    assert (event.object_id, event.key) == (payment.pk, f"{payment.pk}:succeeded")
    assert "+254712345678" not in str(event.object)
    assert event.private["phone"] == "+254712345678"


def test_authorization_without_capture_books_no_money(ask: Ask) -> None:
    payment = ask(capture="manual")
    move(payment, Status.AUTHORIZED, actor="gateway", reason="held")
    payment.refresh_from_db()
    assert (payment.amount_authorized, payment.amount_captured, payment.receipt_number) == (150_000, 0, "")


def test_failure_is_kept_with_payment_and_operation(ask: Ask) -> None:
    payment = ask()
    failure = Failure(code="wrong_pin", message="Wrong PIN.", type="card_error", provider_code="2001", retryable=True)
    move(payment, Status.FAILED, actor="gateway", reason="no", failure=failure)
    payment.refresh_from_db()
    expected = {
        "type": "card_error", "code": "wrong_pin", "message": "Wrong PIN.", "decline_code": "", "provider_code": "2001",
        "retryable": True, "decision": "never",
    }  # fmt: skip
    assert payment.failure == expected
    assert Operation.objects.get().failure == expected
    assert (payment.amount_captured, payment.receipt_number, payment.completed_at) == (0, "", None)


def test_money_after_all_clears_the_failure(ask: Ask) -> None:
    payment = ask()
    move(payment, Status.FAILED, actor="gateway", reason="no", failure=Failure(code="timeout", message="Nobody answered."))
    move(payment, Status.SUCCEEDED, actor="gateway", reason="paid after all")
    payment.refresh_from_db()
    assert (payment.status, payment.failure, payment.amount_captured) == ("succeeded", None, 150_000)
    assert [line.to_status for line in LedgerEntry.objects.all()] == ["failed", "succeeded"]


def test_a_subscriber_that_breaks_undoes_the_whole_step(
    ask: Ask, emitted: list[DomainEvent], monkeypatch: pytest.MonkeyPatch
) -> None:

    def break_down(_event: DomainEvent) -> None:
        raise RuntimeError("bug in a subscriber")

    monkeypatch.setitem(events._handlers, DomainEvent, [break_down])
    payment = ask()
    with pytest.raises(RuntimeError), transaction.atomic():
        move(payment, Status.SUCCEEDED, actor="gateway", reason="paid")
    payment = Payment.objects.get()
    assert (payment.status, payment.amount_captured, payment.receipt_number) == ("processing", 0, "")
    assert LedgerEntry.objects.count() == 0


def test_the_ledger_is_append_only(ask: Ask) -> None:
    move(ask(), Status.SUCCEEDED, actor="gateway", reason="paid")
    line = LedgerEntry.objects.get()
    line.reason = "changed"
    with pytest.raises(TypeError):
        line.save()
    with pytest.raises(TypeError):
        line.delete()
    assert LedgerEntry.objects.get().reason == "paid"


@pytest.mark.parametrize(
    "totals",
    [
        {"amount_refunded": 1},
        {"amount_captured": 1},
        {"amount_authorized": 150_001},
        {"amount_authorized": 100, "amount_captured": 100, "amount_refunded": 101},
        {"amount_authorized": 100, "amount_captured": 101},
        {"amount_refunded": -1},
        {"amount": 0},
    ],
)
def test_the_database_refuses_impossible_totals(ask: Ask, totals: dict[str, int]) -> None:
    payment = ask()
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.filter(pk=payment.pk).update(**totals)
