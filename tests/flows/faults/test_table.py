"""The matrix is whole: no cell is missing, none is left out without a reason, none promises what nobody can know."""

from __future__ import annotations

from payments.gateway import gateway_class
from tests.flows.faults.lanes import LANES
from tests.flows.faults.table import ANSWER_LOST, CELLS, EXPECTED, OPERATIONS, REASONS, gaps


def test_every_cell_is_tested_or_excused_with_a_reason() -> None:
    assert gaps() == []
    assert {lane.slug for lane in LANES.values()} == {"stripe", "paypal", "flutterwave", "pesapal", "mpesa"}
    assert all(len(reason) > 30 for reason in REASONS.values())


def test_the_reasons_agree_with_what_the_gateways_declare() -> None:
    for name, lane in LANES.items():
        declared = gateway_class(lane.slug).features.operations
        assert {"authorize", "refund"} <= declared
        assert ("capture" in declared) is ((name, "capture") in EXPECTED), name
        assert set(lane.operations) == {operation for operation in OPERATIONS if (name, operation) in EXPECTED}


def test_nothing_is_called_decided_while_the_answer_is_missing() -> None:
    decided = {"succeeded", "failed", "authorized", "cancelled", "expired"}
    assert [cell.id for cell in CELLS if cell.fault in ANSWER_LOST and cell.after in decided] == []
