"""Timeouts before and after the effect, 500 after the effect, 429: nothing is taken twice, and nothing taken is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.flows.faults import play
from tests.flows.faults.checks import check_agreement, check_events, check_ledger, ledger
from tests.flows.faults.hub import Hub
from tests.flows.faults.table import ANSWER_LOST, CELLS, NOTHING_DONE, Cell, Fault

pytestmark = pytest.mark.django_db(transaction=True)
ALERTS = {("needs_review", "refund"): ["refund_needs_review"], ("needs_review", "authorize"): ["payment_needs_review"]}


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=cell.id, marks=[pytest.mark.slow] if cell.slow else [])
        for cell in CELLS
        if cell.fault in ANSWER_LOST
    ],
)
def test_a_lost_answer(hub_at: Callable[[str], Hub], cell: Cell) -> None:
    hub = hub_at(cell.lane)
    payment_id = play.begin(hub, cell)
    play.approve(hub, cell, payment_id)
    if cell.fault is not Fault.NO_CONNECTION:
        hub.fault(cell.operation, cell.fault)

    with hub.unreachable() if cell.fault is Fault.NO_CONNECTION else contextlib.nullcontext():
        payment_id = play.act(hub, cell, payment_id)

    assert hub.status(cell.operation, payment_id) == cell.after
    assert len(hub.seen(cell.operation)) == (0 if cell.fault in NOTHING_DONE else 1)
    before = ledger(hub, payment_id)

    hub.rest(payment_id)

    assert hub.status(cell.operation, payment_id) == cell.end
    assert hub.money(payment_id) == (play.moved if cell.end == "succeeded" else play.unmoved)(hub, cell)
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, before)
    check_events(hub, play.events(cell))
    assert hub.alerts() == ALERTS.get((cell.end, cell.operation), [])
    if cell.operation in hub.lane.once:
        assert len(hub.seen(cell.operation)) == (1 if cell.end == "succeeded" else 0)


@pytest.mark.parametrize("lane", ["flutterwave", "pesapal", "mpesa"])
def test_a_refund_that_nobody_knows_of_is_not_asked_for_again(hub_at: Callable[[str], Hub], lane: str) -> None:
    """Where the gateway can't be asked by our key, a person decides; until then the money counts as given back."""
    hub = hub_at(lane)
    payment_id = play.begin(hub, cell := Cell(lane, "refund", Fault.REFUSED, "unknown", "needs_review"))
    hub.fault("refund", Fault.REFUSED)
    play.act(hub, cell, payment_id)
    hub.rest(payment_id)

    again = hub.post("refund", payment_id)

    whole = hub.lane.part is None
    assert again.status_code == (409 if whole else 201), again.json()
    if not whole:
        assert again.json()["amount"] == hub.lane.amount - (hub.lane.part or 0)
    assert len(hub.seen("refund")) == (0 if whole else 1)


def test_a_charge_of_which_nothing_came_back_calls_a_person(hub_at: Callable[[str], Hub]) -> None:
    """Answer and callbacks of an M-Pesa push are lost, and the payer has paid: no second prompt, never failed, and a person
    is told to look at the statement."""
    hub = hub_at("mpesa")
    hub.fault("authorize", Fault.DROPPED)
    hub.fault("callback", "lose_callback", times=-1)
    payment_id = str(hub.ask()["id"])

    hub.rest(payment_id)

    assert hub.shown(payment_id)["status"] == "needs_review"
    assert hub.alerts() == ["payment_needs_review"]
    assert (hub.money(payment_id).captured, len(hub.seen("authorize"))) == (hub.lane.amount, 1)
    check_ledger(hub, payment_id, [])
