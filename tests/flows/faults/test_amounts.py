"""The gateway names another amount than was asked for: never booked as what was asked, and a person is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.flows.faults import play
from tests.flows.faults.checks import check_events, check_ledger, ledger
from tests.flows.faults.hub import Hub
from tests.flows.faults.table import CELLS, Cell, Fault

pytestmark = pytest.mark.django_db(transaction=True)
WRONG = [cell for cell in CELLS if cell.fault is Fault.WRONG_AMOUNT]


def cells(*operations: str) -> Any:
    return pytest.mark.parametrize("cell", [pytest.param(each, id=each.id) for each in WRONG if each.operation in operations])


@cells("authorize", "complete")
def test_a_payment_of_another_amount_is_conflicted_never_paid(hub_at: Callable[[str], Hub], cell: Cell) -> None:
    hub = hub_at(cell.lane)
    payment_id = play.begin(hub, cell)
    play.approve(hub, cell, payment_id)
    for operation in (cell.operation, "status", "callback"):
        hub.fault(operation, "wrong_amount", times=-1)

    payment_id = play.act(hub, cell, payment_id)

    assert hub.status(cell.operation, payment_id) == cell.after
    before = ledger(hub, payment_id)
    hub.rest(payment_id)
    hub.heal()
    hub.school.api.post(f"/api/v1/payments/{payment_id}/sync")

    found = hub.shown(payment_id)
    assert (found["status"], found["amount_captured"], found["receipt_number"]) == (cell.end, 0, "")
    assert 0 < found["reported"]["amount"] <= hub.lane.amount
    assert hub.money(payment_id) == play.moved(hub, cell)
    assert hub.alerts() == ["payment_conflicted"]
    check_ledger(hub, payment_id, before)
    check_events(hub, play.events(cell))
    assert hub.post("refund", payment_id).status_code == 409


@cells("capture")
def test_a_capture_of_another_amount_is_booked_as_the_gateway_says(hub_at: Callable[[str], Hub], cell: Cell) -> None:
    """What was taken is what the payer has paid, whatever was asked: so it is booked, and a person is told at once."""
    hub = hub_at(cell.lane)
    payment_id = play.begin(hub, cell)

    with hub.tampered():
        play.act(hub, cell, payment_id)
        assert hub.status("capture", payment_id) == cell.after
        before = ledger(hub, payment_id)
        hub.rest(payment_id)

    found = hub.shown(payment_id)
    taken = (hub.lane.part or 0) - 1
    assert [(each["status"], each["amount"]) for each in found["captures"]] == [(cell.end, taken)]
    assert (found["amount_captured"], found["amount_capturable"]) == (taken, hub.lane.amount - taken)
    assert hub.alerts() == ["payment_report_mismatch"]
    check_ledger(hub, payment_id, before)
    check_events(hub, play.events(cell))


@cells("refund")
def test_a_refund_of_another_amount_is_not_booked(hub_at: Callable[[str], Hub], cell: Cell) -> None:
    hub = hub_at(cell.lane)
    payment_id = play.begin(hub, cell)
    given = hub.lane.part or hub.lane.amount

    if cell.lane == "mpesa":
        hub.fault("refund", "lose_callback")
        play.act(hub, cell, payment_id)
        assert hub.status("refund", payment_id) == cell.after
        before = ledger(hub, payment_id)
        report_another_reversal(hub)
        hub.quiet()
    else:
        with hub.tampered():
            play.act(hub, cell, payment_id)
            assert hub.status("refund", payment_id) == cell.after
            before = ledger(hub, payment_id)
            hub.rest(payment_id)

    found = hub.shown(payment_id)
    assert (hub.status("refund", payment_id), found["amount_refunded"], found["status"]) == (cell.end, 0, "succeeded")
    assert hub.money(payment_id) == play.moved(hub, cell)
    assert "refund_needs_review" in hub.alerts()
    check_ledger(hub, payment_id, before)
    check_events(hub, play.events(cell))
    more = hub.post("refund", payment_id, amount=hub.lane.amount - given + 100)
    assert more.status_code in (400, 409), "what may have been given back is not given back again"

    hub.school.api.post(f"/api/v1/payments/{payment_id}/sync")  # the gateway speaks the truth again
    assert hub.shown(payment_id)["amount_refunded"] == (0 if cell.lane == "mpesa" else given)


def report_another_reversal(hub: Hub) -> None:
    """Deliver the result that was lost, with one shilling less than what was reversed."""
    lost = next(each for each in hub.control("GET", "callbacks") if each["name"] == "reversal_result")
    body = json.loads(lost["body"])
    for each in body["Result"]["ResultParameters"]["ResultParameter"]:
        if each["Key"] == "Amount":
            each["Value"] -= 1
    answer = requests.post(lost["url"], json=body, timeout=10)
    assert answer.status_code == 200


@pytest.mark.parametrize("lane", ["stripe", "paypal", "flutterwave", "pesapal"])
def test_a_contradiction_after_the_fact_changes_nothing_and_calls_a_person(hub_at: Callable[[str], Hub], lane: str) -> None:
    hub = hub_at(lane)
    payment_id = play.begin(hub, Cell(lane, "refund", Fault.WRONG_AMOUNT, "", ""))
    before, shown = ledger(hub, payment_id), hub.shown(payment_id)
    assert hub.alerts() == []
    hub.fault("status", "wrong_amount", times=-1)

    answer = hub.school.api.post(f"/api/v1/payments/{payment_id}/sync")

    assert answer.status_code == 200, answer.json()
    found = hub.shown(payment_id)
    kept = ("status", "amount", "amount_captured", "amount_refunded", "receipt_number", "captures", "refunds")
    assert {name: found[name] for name in kept} == {name: shown[name] for name in kept}
    assert found["reported"]["amount"] < hub.lane.amount
    assert ledger(hub, payment_id) == before
    assert hub.alerts() == ["payment_report_mismatch"]
