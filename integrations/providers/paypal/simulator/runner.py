"""What happens to money in the simulated PayPal, whoever asked for it: the API, the dashboard, time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.paypal.simulator import shapes
from integrations.providers.paypal.simulator.books import CAPTURE, HOLD, ORDER, REFUND, TAKEN
from integrations.providers.paypal.simulator.envelope import new_id
from integrations.providers.paypal.simulator.magic import plan_for
from integrations.simulators import Part, SimRequest, action
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

CAPTURE_EVENTS = {
    "COMPLETED": "PAYMENT.CAPTURE.COMPLETED",
    "PENDING": "PAYMENT.CAPTURE.PENDING",
    "DECLINED": "PAYMENT.CAPTURE.DECLINED",
}
REFUND_EVENTS = {
    "COMPLETED": "PAYMENT.CAPTURE.REFUNDED",
    "PENDING": "PAYMENT.REFUND.PENDING",
    "FAILED": "PAYMENT.REFUND.FAILED",
}
OPEN = ("CREATED", "PARTIALLY_CAPTURED", "PENDING")


class Runner(Part):
    """Makes and changes holds, captures and refunds, and tells of it."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    def early(self, request: SimRequest) -> SimRequest | None:
        """Return the request where the fault `early_callback` wants its webhook answered before its reply goes out."""
        return request if self._sim.take_fault((request.operation,), "early_callback") else None

    def authorize(self, order: Json, *, early: SimRequest | None = None) -> Json:
        """Hold an order's amount."""
        statuses = plan_for(order["units"]).hold
        hold = self.new_hold(order, statuses[0])
        self._tell_hold(hold, "PAYMENT.AUTHORIZATION.CREATED", "complete", early)
        self._later("hold", hold["id"], statuses)
        return hold

    def new_hold(self, order: Json, status: str, parent: Json | None = None) -> Json:
        """Make an authorization; with `parent` a reauthorization, which ends when that would have ended."""
        now = self._sim.clock.now()
        hold: Json = {
            "id": new_id(),
            "label": order["label"],
            "order": order["id"],
            "parent": parent["id"] if parent else "",
            "status": status,
            "units": order["units"],
            "currency": order["currency"],
            "custom_id": order["custom_id"],
            "invoice_id": order["invoice_id"],
            "created": now,
            "expires": parent["expires"] if parent else now + self._sim.setting("authorization_life"),
        }
        self.save_hold(hold)
        return hold

    def save_hold(self, hold: Json) -> None:
        self._sim.books.put(HOLD, hold, hold["order"])

    def capture(
        self,
        order: Json,
        units: int,
        *,
        final: bool,
        invoice_id: str = "",
        hold: Json | None = None,
        early: SimRequest | None = None,
    ) -> Json:
        """Take money: of a hold, or at once."""
        statuses = plan_for(order["units"]).capture
        capture: Json = {
            "id": new_id(),
            "label": order["label"],
            "order": order["id"],
            "hold": hold["id"] if hold else "",
            "root": self._sim.books.root(hold)["id"] if hold else "",
            "status": statuses[0],
            "units": units,
            "currency": order["currency"],
            "custom_id": order["custom_id"],
            "invoice_id": invoice_id,
            "final": final,
            "created": self._sim.clock.now(),
        }
        self._sim.books.put(CAPTURE, capture, order["id"])
        if hold:
            self._mark_captured(hold, final)
        self._tell_capture(capture, CAPTURE_EVENTS[capture["status"]], "capture" if hold else "complete", early)
        self._later("capture", capture["id"], statuses)
        return capture

    def _mark_captured(self, hold: Json, final: bool) -> None:
        books = self._sim.books
        root = books.root(hold)
        whole = final or books.captured_of(hold) >= root["units"]
        for each in books.of(HOLD, hold["order"]):
            if each["id"] == root["id"] or each["parent"] == root["id"]:
                self.save_hold({**each, "status": "CAPTURED" if whole else "PARTIALLY_CAPTURED"})

    def void(self, hold: Json, early: SimRequest | None = None) -> Json:
        """Release what is left of a hold and its reauthorizations."""
        for each in self._sim.books.of(HOLD, hold["order"]):
            if each["id"] == hold["id"] or each["parent"] == hold["id"]:
                self.save_hold({**each, "status": "VOIDED"})
        hold = {**hold, "status": "VOIDED"}
        self._tell_hold(hold, "PAYMENT.AUTHORIZATION.VOIDED", "void", early)
        return hold

    def refund(
        self, capture: Json, units: int, *, invoice_id: str = "", custom_id: str = "", note: str = "",
        early: SimRequest | None = None,
    ) -> Json:  # fmt: skip
        """Give money of a capture back."""
        order = self._sim.books.get(ORDER, capture["order"]) or {"units": 0}
        statuses = plan_for(order["units"]).refund
        refund: Json = {
            "id": new_id(),
            "label": capture["label"],
            "capture": capture["id"],
            "order": capture["order"],
            "status": statuses[0],
            "units": units,
            "currency": capture["currency"],
            "custom_id": custom_id or capture["custom_id"],
            "invoice_id": invoice_id,
            "note": note,
            "total": self._sim.books.refunded_of(capture) + units,
            "created": self._sim.clock.now(),
        }
        self._sim.books.put(REFUND, refund, capture["id"])
        self.mark_refunded(capture)
        self._tell_refund(refund, "refund", early)
        self._later("refund", refund["id"], statuses)
        return refund

    def mark_refunded(self, capture: Json) -> None:
        """Bring a capture's status up to date with its refunds."""
        if capture["status"] not in TAKEN:
            return
        back = self._sim.books.refunded_of(capture)
        status = "REFUNDED" if back >= capture["units"] else "PARTIALLY_REFUNDED" if back else "COMPLETED"
        self._sim.books.put(CAPTURE, {**capture, "status": status}, capture["order"])

    # --- what comes of it later

    def _later(self, kind: str, number: str, statuses: tuple[str, ...]) -> None:
        if len(statuses) > 1:
            context = {"kind": kind, "id": number, "status": statuses[1]}
            self._sim.later("settle", context, float(self._sim.setting("settle_delay")))

    @action("settle")
    def settle(self, context: Json) -> None:
        """Bring what was pending to its end."""
        kinds = {"hold": HOLD, "capture": CAPTURE, "refund": REFUND}
        found = self._sim.books.get(kinds[context["kind"]], context["id"])
        if found is not None and found["status"] == "PENDING":
            self.settled(context["kind"], found, context["status"])

    def settled(self, kind: str, found: Json, status: str) -> Json:
        """Set the end of a pending hold, capture or refund, and tell of it."""
        books, found = self._sim.books, {**found, "status": status}
        if kind == "hold":
            self.save_hold(found)
            self._tell_hold(found, f"PAYMENT.AUTHORIZATION.{'VOIDED' if status == 'DENIED' else 'CREATED'}", "settle", None)
        elif kind == "capture":
            books.put(CAPTURE, found, found["order"])
            self._tell_capture(found, CAPTURE_EVENTS[status], "settle", None)
        else:
            books.put(REFUND, found, found["capture"])
            self.mark_refunded(books.get(CAPTURE, found["capture"]) or {"status": ""})
            self._tell_refund(found, "settle", None)
        return found

    # --- telling

    def _tell_hold(self, hold: Json, event: str, cause: str, early: SimRequest | None) -> None:
        kept = self._sim.books.get(HOLD, hold["id"]) or hold
        shown = shapes.hold(self._sim, kept)
        self._sim.notifications.notify(hold["label"], event, "authorization", shown, cause, early)

    def _tell_capture(self, capture: Json, event: str, cause: str, early: SimRequest | None) -> None:
        kept = self._sim.books.get(CAPTURE, capture["id"]) or capture
        shown = shapes.capture(self._sim, kept)
        self._sim.notifications.notify(capture["label"], event, "capture", shown, cause, early)

    def _tell_refund(self, refund: Json, cause: str, early: SimRequest | None) -> None:
        kept = self._sim.books.get(REFUND, refund["id"]) or refund
        shown = shapes.refund(self._sim, kept)
        event = REFUND_EVENTS[refund["status"]]
        self._sim.notifications.notify(refund["label"], event, "refund", shown, cause, early)
