"""Webhooks that come twice, before the answer to our own call, or never: the same story in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from integrations.providers.mpesa.webhook import STATUS_RESULT, STATUS_TIMEOUT
from tests.flows.faults import play
from tests.flows.faults.checks import check_agreement, check_events, check_ledger, ledger
from tests.flows.faults.hub import Hub
from tests.flows.faults.table import CELLS, WEBHOOKS, Cell, Fault

pytestmark = pytest.mark.django_db(transaction=True)
ANSWER_DELAY = 0.6
APPROVAL = "CHECKOUT.ORDER.APPROVED"
STATUS_ANSWERS = (STATUS_RESULT, STATUS_TIMEOUT)


@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=cell.id, marks=[pytest.mark.slow] if cell.slow else []) for cell in CELLS if cell.fault in WEBHOOKS],
)
def test_a_webhook(hub_at: Callable[[str], Hub], cell: Cell) -> None:
    hub = hub_at(cell.lane)
    payment_id = play.begin(hub, cell)
    play.approve(hub, cell, payment_id)
    earlier = len(hub.webhooks())
    early = cell.fault is Fault.EARLY
    if early:
        hub.fault(cell.operation, "delay", seconds=ANSWER_DELAY)
        hub.fault(cell.operation, "early_callback")
        hub.payer_was_there = True  # he pays, or has paid, while our call still waits for its answer
    elif cell.fault is Fault.LOST and (cell.lane, cell.operation) == ("mpesa", "refund"):
        hub.fault("refund", cell.fault)  # the one result; M-Pesa answers the question that follows by webhook too
    else:
        hub.fault("callback", cell.fault, times=-1)

    with hub.working() if early else contextlib.nullcontext():
        payment_id = play.act(hub, cell, payment_id)

    assert hub.status(cell.operation, payment_id) == cell.after
    if early:
        answered = hub.answered_at(cell.operation)
        told = [each for each in hub.webhooks(status="processed")[earlier:] if each.processed_at < answered]
        assert [each for each in told if each.provider_event_type != APPROVAL], "nothing came before the answer"
    before = ledger(hub, payment_id)

    hub.rest(payment_id)

    assert hub.status(cell.operation, payment_id) == cell.end
    assert hub.money(payment_id) == play.moved(hub, cell)
    came = hub.webhooks()[earlier:]
    if cell.fault is Fault.LOST:
        assert [each.purpose for each in came if each.purpose not in STATUS_ANSWERS] == []
    else:
        assert came
    if cell.fault is Fault.DUPLICATE:
        assert len(came) > 1 or came[0].duplicates > 0
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, before)
    check_events(hub, play.events(cell))
    assert hub.alerts() == []
    assert len(hub.seen(cell.operation)) == 1
