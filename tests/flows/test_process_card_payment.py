"""Process card payment: authorize, capture, refund and the webhooks in between, through the API against the fake gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import make_config
from tests.flows.conftest import School
from tests.flows.test_gateways import events, money, shown

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]


@pytest.fixture
def cards(school: School, live_server: Any) -> School:
    config = make_config(school.tenant, "stripe", account="school")
    url = f"{live_server.url}/hooks/{config.hook_token}/events"
    school.control("PUT", "stripe/accounts/school", json={"webhook_url": url})
    return school


def ask(school: School, token: str = "pm_card_visa", **more: Any) -> Any:
    body = {
        "amount": 5000,
        "currency": "USD",
        "provider": "stripe",
        "method": {"type": "card", "token": token},
        "reference": {"type": "invoice", "id": "INV-0042"},
    }
    return school.api.post("/api/v1/payments/authorize", body | more, format="json")


def post(school: School, path: str, **body: Any) -> Any:
    return school.api.post(f"/api/v1/payments/{path}", body, format="json")


def test_process_card_payment(cards: School, until: Until) -> None:
    held = ask(cards, capture="manual")
    assert held.status_code == 201, held.json()
    payment = held.json()
    assert (payment["status"], payment["amount_capturable"], payment["amount_captured"]) == ("authorized", 5000, 0)
    assert payment["expires"]

    taken = post(cards, "capture", payment=payment["id"], amount=3000)
    assert taken.status_code == 201, taken.json()
    assert (taken.json()["status"], taken.json()["amount_captured"], taken.json()["amount_voided"]) == ("succeeded", 3000, 2000)

    for amount in (1000, 1500):
        given = post(cards, "refund", payment=payment["id"], amount=amount)
        assert (given.status_code, given.json()["status"]) == (201, "succeeded"), given.json()
    assert post(cards, "refund", payment=payment["id"], amount=501).status_code == 400
    assert post(cards, "refund", payment=payment["id"], amount=500).status_code == 201

    def settled() -> Any:
        found = shown(cards, payment["id"])
        return found if found["amount_refunded"] == 3000 and found["fee"] else None

    done = until(settled)
    assert [each["amount"] for each in done["refunds"]] == [1000, 1500, 500]
    assert {each["origin"] for each in done["refunds"]} == {"hub"}
    (row,) = money(cards, "stripe", payment["id"])
    assert (row["captured"], row["refunded"]) == (3000, 3000)
    assert events(cards) == [
        "payment.authorized", "payment.captured", "payment.completed",
        "payment.refunded", "payment.refunded", "payment.refunded",
    ]  # fmt: skip


def test_a_declined_card_is_a_failed_payment_with_its_reason(cards: School) -> None:
    answer = ask(cards, "pm_card_chargeDeclinedInsufficientFunds")
    assert (answer.status_code, answer.json()["status"]) == (201, "failed"), answer.json()
    failure = answer.json()["failure"]
    assert (failure["type"], failure["code"], failure["decision"]) == ("card_error", "insufficient_funds", "ask_payer")
    assert failure["decline_code"] == "insufficient_funds"
    assert sum(row["captured"] for row in money(cards, "stripe", answer.json()["id"])) == 0


def test_a_hold_is_released(cards: School, until: Until) -> None:
    payment = ask(cards, capture="manual").json()
    answer = post(cards, f"{payment['id']}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["amount_voided"]) == (200, "cancelled", 5000), (
        answer.json()
    )
    assert answer.json()["amount_refunded"] == 0
    assert post(cards, "capture", payment=payment["id"]).status_code == 409
    until(lambda: shown(cards, payment["id"])["status"] == "cancelled")
    assert [row["held"] for row in money(cards, "stripe", payment["id"])] == [0]


def test_3d_secure_leads_through_the_banks_page(cards: School, until: Until) -> None:
    payment = ask(cards, "pm_card_threeDSecure2Required").json()
    assert (payment["status"], payment["next_action"]["type"]) == ("requires_action", "redirect"), payment
    cards.control("POST", "stripe/payer", json={"ref": payment["id"], "action": "approve"})
    done = until(lambda: found if (found := shown(cards, payment["id"]))["status"] == "succeeded" else None)
    assert done["amount_captured"] == 5000


@pytest.mark.parametrize("fault", ["drop_after_accept", "error_500_after"])
def test_a_lost_answer_is_asked_for_again_and_charged_once(cards: School, until: Until, fault: str) -> None:
    cards.fault("stripe", "authorize", fault)
    payment = ask(cards).json()
    done = until(lambda: found if (found := shown(cards, payment["id"]))["status"] == "succeeded" else None)
    assert done["amount_captured"] == 5000
    assert [row["captured"] for row in money(cards, "stripe", payment["id"])] == [5000]


def test_a_dispute_is_seen_and_keeps_the_money_from_being_refunded_too(cards: School, until: Until) -> None:
    payment = ask(cards).json()
    cards.control("POST", "stripe/dashboard", json={"ref": payment["id"], "action": "dispute"})
    disputed = until(lambda: found if (found := shown(cards, payment["id"]))["disputes"] else None)
    assert (disputed["amount_disputed"], disputed["disputes"][0]["status"]) == (5000, "needs_response")
    assert post(cards, "refund", payment=payment["id"]).status_code == 409
    cards.control("POST", "stripe/dashboard", json={"ref": payment["id"], "action": "dispute_won"})
    won = until(lambda: found if (found := shown(cards, payment["id"]))["disputes"][0]["status"] == "won" else None)
    assert won["amount_disputed"] == 0


def test_a_refund_that_fails_days_later_is_the_tenants_money_again(cards: School, until: Until) -> None:
    payment = ask(cards, "pm_card_refundFail").json()
    assert post(cards, "refund", payment=payment["id"]).status_code == 201
    cards.control("POST", "stripe/dashboard", json={"ref": payment["id"], "action": "fail_refund"})
    failed = until(lambda: found if (found := shown(cards, payment["id"]))["refunds"][0]["status"] == "failed" else None)
    assert (failed["amount_refunded"], failed["status"]) == (0, "succeeded")


def test_captures_in_the_dashboard_that_stripe_shows_as_one_growing_sum(school: School, live_server: Any, until: Until) -> None:
    config = make_config(school.tenant, "stripe", {"multicapture": True}, account="school")
    url = f"{live_server.url}/hooks/{config.hook_token}/events"
    school.control("PUT", "stripe/accounts/school", json={"webhook_url": url, "multicapture": True})
    payment = ask(school, capture="manual").json()
    for amount, captured in ((1000, 1000), (1500, 2500), (500, 3000)):
        school.control("POST", "stripe/dashboard", json={"ref": payment["id"], "action": "capture", "amount": amount})
        found = until(lambda: found if (found := shown(school, payment["id"]))["amount_captured"] == captured else None)  # noqa: B023
        assert (found["status"], found["amount_capturable"]) == ("partially_captured", 5000 - captured)
    post(school, "capture", payment=payment["id"], amount=2000)
    done = until(lambda: found if (found := shown(school, payment["id"]))["status"] == "succeeded" else None)
    assert (done["amount_captured"], done["amount_voided"]) == (5000, 0)
    given = post(school, "refund", payment=payment["id"])
    assert given.status_code == 201, given.json()
    until(lambda: shown(school, payment["id"])["amount_refunded"] == 5000)
    (row,) = money(school, "stripe", payment["id"])
    assert (row["captured"], row["refunded"]) == (5000, 5000)
