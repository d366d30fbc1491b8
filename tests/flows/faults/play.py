"""Brings a payment to the point where an operation can be asked for, and asks for it."""

from __future__ import annotations

from typing import Any

from tests.factories import work_off
from tests.flows.faults.hub import Hub, Money
from tests.flows.faults.lanes import CARD_3DS
from tests.flows.faults.table import WEBHOOKS, Cell, Fault

LATER = 60.0


def begin(hub: Hub, cell: Cell) -> str:
    """Return the payment that the operation is about; '' where the operation is what makes it."""
    match cell.operation:
        case "authorize":
            return ""
        case "complete":
            payment_id = str(hub.ask()["id"])
            # The webhooks of what we do ourselves come later: what the hub knows at first is its own answer alone.
            later = 0.0 if cell.fault in WEBHOOKS else LATER
            hub.control("PUT", "settings", event_delay=later)
            return payment_id
        case "capture":
            payment_id, status = str(hub.ask(capture="manual")["id"]), "authorized"
        case _:
            payment_id, status = str(hub.ask()["id"]), "succeeded"
    hub.rest(payment_id)
    assert hub.shown(payment_id)["status"] == status
    return payment_id


def act(hub: Hub, cell: Cell, payment_id: str) -> str:
    """Ask for the operation, once; return the payment's id."""
    match cell.operation:
        case "authorize":
            return str(hub.ask(**_waits_for_payer(cell))["id"])
        case "complete":
            work_off()
        case "capture":
            answer = hub.post("capture", payment_id, amount=hub.lane.part, final=False)
            assert answer.status_code == 201, answer.json()
        case _:
            part = {"amount": hub.lane.part} if hub.lane.part else {}
            answer = hub.post("refund", payment_id, **part)
            assert answer.status_code == 201, answer.json()
    return payment_id


def approve(hub: Hub, cell: Cell, payment_id: str) -> None:
    """For a second step: the payer approves, and the hub learns of it by asking; the step itself is still to be made."""
    if cell.operation == "complete":
        hub.pay(hub.payment(payment_id))
        answer = hub.school.api.post(f"/api/v1/payments/{payment_id}/sync")
        assert (answer.status_code, answer.json()["status"]) == (200, "processing"), answer.json()


def moved(hub: Hub, cell: Cell) -> Money:
    """Return what the gateway has once the operation was carried out, once."""
    amount, part = hub.lane.amount, hub.lane.part or hub.lane.amount
    match cell.operation:
        case "capture":
            return Money(part, 0, amount - part)
        case "refund":
            return Money(amount, part)
        case _:
            return Money(amount, 0)


def unmoved(hub: Hub, cell: Cell) -> Money:
    """Return what the gateway has without the operation."""
    match cell.operation:
        case "capture":
            return Money(0, 0, hub.lane.amount)
        case "refund":
            return Money(hub.lane.amount, 0)
        case _:
            return Money(0, 0)


def events(cell: Cell) -> list[str]:
    """Return what the tenant is told, in the end."""
    match cell.operation:
        case "capture":
            return ["payment.authorized", "payment.captured"]
        case "refund":
            return ["payment.completed", *(["payment.refunded"] if cell.end == "succeeded" else [])]
        case _:
            return [f"payment.{'completed' if cell.end == 'succeeded' else cell.end}"]


def _waits_for_payer(cell: Cell) -> dict[str, Any]:
    """A card that is charged at once leaves nothing for a webhook to say: then one whose owner goes to his bank first."""
    waits = cell.lane == "stripe" and cell.fault in (Fault.DUPLICATE, Fault.LOST, Fault.WRONG_AMOUNT)
    return {"method": {"type": "card", "token": CARD_3DS}} if waits else {}
