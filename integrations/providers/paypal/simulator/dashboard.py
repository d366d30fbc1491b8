"""What the merchant's pages, the bank and time do in the simulated PayPal, by control; and the sums over all money."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from integrations.providers.paypal.simulator.books import CAPTURE, DISPUTE, ORDER, REFUND, TAKEN, WAITING
from integrations.providers.paypal.simulator.envelope import from_minor
from integrations.providers.paypal.simulator.runner import OPEN
from integrations.simulators import Part, SimRequest, control
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

STAGES = ("INQUIRY", "CHARGEBACK", "PRE_ARBITRATION", "ARBITRATION")


class Dashboard(Part):
    """`/control/paypal/dashboard` and `/money`."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    @control("GET", "/money")
    def money(self, request: SimRequest) -> Json:
        return {"payments": self._sim.books.money()}

    @control("POST", "/dashboard")
    def act(self, request: SimRequest) -> Json:
        """`ref` (order, payment id, authorization or capture), `action`, `amount` (ISO minor units, default all), and for
        `dispute` a `stage`. ValueError for what PayPal has not, or what the payment's state does not allow."""
        data = request.data()
        order = self._sim.books.find_order(str(data.get("ref", "")))
        actions: dict[str, Callable[[Json, Json], Json]] = {
            "capture": self._capture,
            "refund": self._refund,
            "void": self._void,
            "expire": self._expire,
            "dispute": self._dispute,
            "dispute_won": lambda one, _: self._decide(one, won=True),
            "dispute_lost": lambda one, _: self._decide(one, won=False),
            "settle_refund": lambda one, _: self._settle_refund(one, "COMPLETED"),
            "fail_refund": lambda one, _: self._settle_refund(one, "FAILED"),
            "settle_capture": lambda one, _: self._settle_capture(one, "COMPLETED"),
            "fail_capture": lambda one, _: self._settle_capture(one, "DECLINED"),
        }
        action = actions.get(str(data.get("action", "")))
        if action is None:
            raise ValueError(f"action is one of {', '.join(sorted(actions))}")
        found = action(order, data)
        return {"id": found["id"], "status": found["status"]}

    def _capture(self, order: Json, data: Json) -> Json:
        hold = self._hold(order)
        left = hold["units"] - self._sim.books.captured_of(hold)
        units = self._units(data, order, left)
        return self._sim.runner.capture(order, units, final=units == left, hold=hold)

    def _refund(self, order: Json, data: Json) -> Json:
        for capture in self._sim.books.of(CAPTURE, order["id"]):
            left = capture["units"] - self._sim.books.refunded_of(capture)
            if capture["status"] in TAKEN and left > 0:
                return self._sim.runner.refund(capture, self._units(data, order, left))
        raise ValueError("there is nothing to refund")

    def _void(self, order: Json, data: Json) -> Json:
        return self._sim.runner.void(self._hold(order))

    def _expire(self, order: Json, data: Json) -> Json:
        """Let time pass for this payment alone: an order that was not run is dropped, a hold is released."""
        now = self._sim.clock.now()
        if order["status"] in WAITING:
            approved = order.get("approved_at")
            field = "created" if approved is None else "approved_at"
            within = float(self._sim.setting("approve_within" if approved is None else "run_within"))
            order = {**order, field: now - within}
            self._sim.books.put(ORDER, order, order["custom_id"] or order["id"])
            if approved is not None:
                unit = {"reference_id": "default", **({"custom_id": order["custom_id"]} if order["custom_id"] else {})}
                resource = {"order_id": order["id"], "purchase_units": [unit]}
                name = "CHECKOUT.PAYMENT-APPROVAL.REVERSED"
                self._sim.notifications.notify(order["label"], name, "checkout-order", resource, "expire")
            return {"id": order["id"], "status": "EXPIRED"}
        hold = {**self._hold(order), "expires": now}
        self._sim.runner.save_hold(hold)
        if self._sim.books.captured_of(hold):
            hold = {**hold, "status": "CAPTURED"}
            self._sim.runner.save_hold(hold)
            return hold
        return self._sim.runner.void(hold)

    def _dispute(self, order: Json, data: Json) -> Json:
        stage = str(data.get("stage") or "CHARGEBACK")
        if stage not in STAGES:
            raise ValueError(f"stage is one of {', '.join(STAGES)}")
        for capture in self._sim.books.of(CAPTURE, order["id"]):
            if capture["status"] in TAKEN:
                return self._sim.disputes.open(capture, self._units(data, order, capture["units"]), stage)
        raise ValueError("there is nothing to dispute")

    def _decide(self, order: Json, *, won: bool) -> Json:
        for capture in self._sim.books.of(CAPTURE, order["id"]):
            for case in self._sim.books.of(DISPUTE, capture["id"]):
                if case["status"] != "RESOLVED":
                    return self._sim.disputes.decide(case, won)
        raise ValueError("there is no open dispute")

    def _settle_refund(self, order: Json, status: str) -> Json:
        for capture in self._sim.books.of(CAPTURE, order["id"]):
            for refund in self._sim.books.of(REFUND, capture["id"]):
                if refund["status"] == "PENDING":
                    return self._sim.runner.settled("refund", refund, status)
        raise ValueError("there is no pending refund: at PayPal a completed one stays completed")

    def _settle_capture(self, order: Json, status: str) -> Json:
        for capture in self._sim.books.of(CAPTURE, order["id"]):
            if capture["status"] == "PENDING":
                return self._sim.runner.settled("capture", capture, status)
        raise ValueError("there is no pending capture")

    def _hold(self, order: Json) -> Json:
        for hold in self._sim.books.holds(order["id"]):
            if hold["status"] in OPEN and not hold["parent"]:
                return hold
        raise ValueError("there is no open authorization")

    def _units(self, data: Json, order: Json, most: int) -> int:
        given = data.get("amount")
        units = most if given in (None, "") else from_minor(int(str(given)), order["currency"])
        if units > most:
            raise ValueError("amount is more than there is")
        return units
