"""Refunds by M-Pesa reversal: asked for once, decided by the result, never more than came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django_scopes import scope

from payments.models import Payment
from tests.factories import MovableClock, work_off
from tests.flows.conftest import School
from webhooks.outbound.models import Event

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick_simulator(school: School) -> None:
    school.control("PUT", "mpesa/settings", json={"auto_delay": 0.1, "result_delay": 0.1})


def paid(school: School, until: Until, tail: str = "001") -> Payment:
    payment_id = school.ask(f"0712345{tail}").json()["id"]
    payment: Payment = until(lambda: found if (found := school.payment(payment_id)).status == "succeeded" else None)
    return payment


def refund(school: School, payment: Payment, **more: Any) -> Any:
    return school.api.post("/api/v1/payments/refund", {"payment": payment.pk, **more}, format="json")


def shown(school: School, payment: Payment) -> Any:
    return school.api.get(f"/api/v1/payments/{payment.pk}").json()


def refund_events(school: School) -> list[str]:
    with scope(tenant=school.tenant):
        return list(Event.objects.filter(type__startswith="payment.refund").values_list("type", flat=True))


@pytest.mark.parametrize("tail", ["001", "034"])
def test_a_refund_is_reversed_and_reported_once(school: School, until: Until, tail: str) -> None:
    payment = paid(school, until, tail)

    answer = refund(school, payment, reason="paid twice")
    assert (answer.status_code, answer.json()["status"]) == (201, "pending"), answer.json()
    until(lambda: shown(school, payment)["amount_refunded"] == 150_000)

    (done,) = shown(school, payment)["refunds"]
    assert (done["status"], done["amount"], done["id"]) == ("succeeded", 150_000, answer.json()["id"])
    assert done["provider_receipt"] != payment.receipt
    assert refund_events(school) == ["payment.refunded"]
    assert len(school.seen("reversal")) == 1


def test_a_refused_reversal_leaves_the_money_captured_and_free_to_refund(school: School, until: Until) -> None:
    payment = paid(school, until, "031")

    refund(school, payment)
    until(lambda: shown(school, payment)["refunds"][0]["status"] == "failed")

    assert shown(school, payment)["amount_refunded"] == 0
    assert refund_events(school) == ["payment.refund_failed"]
    assert refund(school, payment).status_code == 201


def test_a_reversal_whose_answer_was_lost_is_not_repeated(school: School, until: Until) -> None:
    payment = paid(school, until, "035")

    answer = refund(school, payment)
    assert answer.json()["status"] == "unknown"
    again = refund(school, payment)
    until(lambda: shown(school, payment)["amount_refunded"] == 150_000)

    assert (again.status_code, again.json()["errors"][0]["attr"]) == (409, "payment")
    assert len(school.seen("reversal")) == 1


def test_a_reversal_whose_result_was_lost_is_asked_about(school: School, until: Until, clock: MovableClock) -> None:
    payment = paid(school, until, "033")
    refund(school, payment)

    def moved_on() -> bool:
        clock.advance(minutes=5)
        work_off()
        return bool(shown(school, payment)["amount_refunded"] == 150_000)

    until(moved_on)
    assert len(school.seen("reversal")) == 1


def test_a_reversal_of_which_only_the_timeout_is_told_is_asked_about(school: School, until: Until, clock: MovableClock) -> None:
    payment = paid(school, until, "032")
    refund(school, payment)

    def moved_on() -> bool:
        clock.advance(minutes=1)
        work_off()
        return bool(shown(school, payment)["amount_refunded"] == 150_000)

    until(moved_on)
    assert refund_events(school) == ["payment.refunded"]
    assert len(school.seen("reversal")) == 1


def test_no_more_is_refunded_than_came_in(school: School, until: Until) -> None:
    payment = paid(school, until)

    too_much = refund(school, payment, amount=150_100)
    odd = refund(school, payment, amount=150)
    missing = school.api.post("/api/v1/payments/refund", {"payment": "pay_" + "0" * 26}, format="json")

    assert (too_much.status_code, too_much.json()["errors"][0]["attr"]) == (400, "amount")
    assert (odd.status_code, odd.json()["errors"][0]["attr"]) == (400, "amount")
    assert missing.status_code == 404
    assert shown(school, payment)["refunds"] == []
    assert school.seen("reversal") == []
