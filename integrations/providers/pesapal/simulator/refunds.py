"""RefundRequest (sheet section 9), and what the merchant's dashboard and the bank do to a payment."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from integrations.providers.pesapal.simulator.envelope import plain
from integrations.providers.pesapal.simulator.orders import COMPLETED, DIGITS, METHODS, MOBILE, REVERSED
from integrations.providers.pesapal.simulator.rules import Fields
from integrations.simulators import Part, SimReply, SimRequest, control, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.pesapal.simulator.fake import PesapalSimulator

REQUESTED, DONE, DENIED = "requested", "done", "denied"


class RefundDesk(Part):
    """An order has at most one refund, ever: requested, then done or denied by a person."""

    def __init__(self, sim: PesapalSimulator) -> None:
        self._sim = sim

    @route("POST", "/api/Transactions/RefundRequest", operation="refund")
    def request(self, request: SimRequest) -> SimReply:
        """Take a request: completed payments only, one ever, mobile money in full only."""
        sim = self._sim
        merchant = sim.authorised(request)
        fields = Fields.of(request)
        code = fields.text("confirmation_code", 100)
        amount = fields.amount("amount", numeric_text=True)
        fields.text("username", 200)
        fields.text("remarks", 500)
        order = sim.orders.by_confirmation(merchant, code)
        if order is None:
            return plain("Invalid confirmation code", ok=False)
        if order["refund"] is not None:
            return plain("A refund request already exists for this payment", ok=False)
        if order["status"] != COMPLETED:
            return plain("Only completed payments can be refunded", ok=False)
        minor = amount.scaleb(DIGITS[order["currency"]])
        if minor != minor.to_integral_value() or minor > order["minor"]:
            return plain("The amount exceeds the amount paid", ok=False)
        if order["method"] == METHODS[MOBILE][0] and minor != order["minor"]:
            return plain("Mobile money does not support a partial refund", ok=False)
        order["refund"] = {"minor": int(minor), "state": REQUESTED}
        sim.orders.save(order)
        return plain("Refund request successfully", ok=True)

    @control("POST", "/dashboard")
    def dashboard(self, request: SimRequest) -> Json:
        """Act as the merchant's dashboard or the bank: `refund`, `settle_refund`, `fail_refund`, `dispute`."""
        data = request.data()
        order = self._sim.orders.by_ref(str(data.get("ref", "")))
        match data.get("action"):
            case "refund":
                self._refund(order, data.get("amount"))
            case "settle_refund":
                self._settle(order)
            case "fail_refund":
                self._requested(order)["state"] = DENIED
                self._sim.orders.save(order)
            case "dispute":
                self._require_completed(order)
                order["disputed"] = order["minor"]
                self._sim.orders.reverse(order, "dashboard")
            case other:
                raise ValueError(f"{other!r} is nothing that can happen at Pesapal")
        return self._sim.orders.shown(order)

    @control("GET", "/money")
    def money(self, request: SimRequest) -> Json:
        """Where the money is, in ISO minor units: one row per order."""
        return {"payments": [self._row(order) for order in self._sim.orders.all()[::-1]]}

    def _refund(self, order: Json, amount: object) -> None:
        """The merchant refunds: what was requested before (then without an amount), else anew and done at once."""
        if order["refund"] is None:
            self._require_completed(order)
            minor = order["minor"] if amount is None else int(Decimal(str(amount)))
            if not 0 < minor <= order["minor"]:
                raise ValueError("amount is more than nothing and at most what was paid")
            if order["method"] == METHODS[MOBILE][0] and minor != order["minor"]:
                raise ValueError("mobile money is refunded in full only")
            order["refund"] = {"minor": minor, "state": REQUESTED}
        self._settle(order)

    def _settle(self, order: Json) -> None:
        refund = self._requested(order)
        refund["state"] = DONE
        self._sim.orders.reverse(order, "dashboard")

    def _requested(self, order: Json) -> Json:
        refund: Json | None = order["refund"]
        if refund is None or refund["state"] != REQUESTED:
            raise ValueError("no refund of this order waits for a decision")
        return refund

    def _require_completed(self, order: Json) -> None:
        if order["status"] != COMPLETED:
            raise ValueError("this order is not paid, or its money went back already")

    def _row(self, order: Json) -> Json:
        refund = order["refund"] or {"minor": 0, "state": ""}
        paid = order["status"] in (COMPLETED, REVERSED)
        return {
            "ref": order["tracking"],
            "payment_id": _payment_id(order["reference"]),
            "currency": order["currency"],
            "asked": order["minor"],
            "held": 0,
            "captured": order["minor"] if paid else 0,
            "refunded": refund["minor"] if refund["state"] == DONE else 0,
            "disputed": order["disputed"],
        }


def _payment_id(reference: str) -> str:
    """Return the hub's id as its merchant reference shows it: `pay-abc-2` is the second try of `pay_abc`."""
    parts = reference.split("-")
    return "_".join(parts[:2]) if len(parts) > 1 else reference
