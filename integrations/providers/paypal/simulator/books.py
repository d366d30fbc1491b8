"""What the simulated PayPal remembers: orders, authorizations, captures, refunds; lookups and sums over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.envelope import minor, refuse
from integrations.simulators import Clock, Store
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

ORDER, HOLD, CAPTURE, REFUND, DISPUTE = "order", "authorization", "capture", "refund", "dispute"
TAKEN = frozenset({"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"})
WAITING = frozenset({"CREATED", "PAYER_ACTION_REQUIRED", "APPROVED"})
LIMIT = 1000


class Books:
    """Documents by kind and id. `ref` is what an object belongs to: an order's payment id, a hold's or capture's order, a
    refund's or dispute's capture. Amounts are in the smallest unit that PayPal writes."""

    def __init__(self, sim: PaypalSimulator, store: Store, clock: Clock) -> None:
        self._sim = sim
        self._store = store
        self._clock = clock

    def put(self, kind: str, data: Json, ref: str) -> None:
        """Keep an object; the time of its last change is noted in `data` itself."""
        data["updated"] = self._clock.now()
        self._store.put(self._sim.slug, kind, data["id"], data, ref)

    def get(self, kind: str, number: str) -> Json | None:
        return self._store.get(self._sim.slug, kind, number)

    def of(self, kind: str, ref: str) -> list[Json]:
        """Return the objects that belong to `ref`, oldest first."""
        return [each.data for each in reversed(self._store.find(self._sim.slug, kind, ref, LIMIT))]

    def all(self, kind: str) -> list[Json]:
        return [each.data for each in reversed(self._store.find(self._sim.slug, kind, None, LIMIT))]

    def owned(self, kind: str, number: str, merchant: Merchant) -> Json:
        """Return an object of this account, time applied; refuse with 404 as PayPal does for other accounts' too."""
        found = self.get(kind, number)
        if found is None or found["label"] != merchant.label:
            refuse(404, "INVALID_RESOURCE_ID")
        if kind == ORDER and self.lapsed(found):
            refuse(404, "INVALID_RESOURCE_ID")
        return self._aged(found) if kind == HOLD else found

    def lapsed(self, order: Json) -> bool:
        """Return whether PayPal has dropped this order: not approved, or not run, in time."""
        if order["status"] not in WAITING:
            return False
        approved = order.get("approved_at")
        if approved is None:
            return bool(order["created"] + self._sim.setting("approve_within") <= self._clock.now())
        return bool(approved + self._sim.setting("run_within") <= self._clock.now())

    def holds(self, order_id: str) -> list[Json]:
        return [self._aged(each) for each in self.of(HOLD, order_id)]

    def _aged(self, hold: Json) -> Json:
        """Return the hold as time has left it: PayPal voids what was not captured in 29 days."""
        if hold["status"] in ("CREATED", "PARTIALLY_CAPTURED", "PENDING") and hold["expires"] <= self._clock.now():
            hold = {**hold, "status": "VOIDED" if not self.captured_of(hold) else "CAPTURED"}
        return hold

    def root(self, hold: Json) -> Json:
        """Return the authorization that a reauthorization came from (itself where it is none)."""
        parent = self.get(HOLD, hold["parent"]) if hold["parent"] else None
        return parent or hold

    def captured_of(self, hold: Json) -> int:
        """Return what was captured of a hold and its reauthorizations."""
        root = self.root(hold)["id"]
        return sum(
            each["units"]
            for each in self.of(CAPTURE, hold["order"])
            if each.get("root") == root and each["status"] in (*TAKEN, "PENDING")
        )

    def refunded_of(self, capture: Json) -> int:
        """Return what was or is being refunded of a capture."""
        return sum(each["units"] for each in self.of(REFUND, capture["id"]) if each["status"] in ("COMPLETED", "PENDING"))

    def find_order(self, ref: str) -> Json:
        """Return the newest order with this id or payment id, or the one of this hold or capture; KeyError if there is none."""
        found = self.get(ORDER, ref) or next(reversed(self.of(ORDER, ref)), None)
        if found is None:
            part = self.get(HOLD, ref) or self.get(CAPTURE, ref)
            found = self.get(ORDER, part["order"]) if part else None
        if found is None:
            raise KeyError(ref)
        return found

    def money(self) -> list[Json]:
        """Return one row per order, in ISO minor units."""
        rows = []
        for order in self.all(ORDER):
            captures = self.of(CAPTURE, order["id"])
            held = sum(
                max(0, each["units"] - self.captured_of(each))
                for each in self.holds(order["id"])
                if each["status"] in ("CREATED", "PARTIALLY_CAPTURED", "PENDING") and not each["parent"]
            )
            sums = {
                "asked": order["units"],
                "held": held,
                "captured": sum(each["units"] for each in captures if each["status"] in TAKEN),
                "refunded": sum(
                    each["units"] for one in captures for each in self.of(REFUND, one["id"]) if each["status"] == "COMPLETED"
                ),
                "disputed": sum(each["units"] for one in captures for each in self.of(DISPUTE, one["id"]) if each["withdrawn"]),
            }
            currency = order["currency"]
            amounts = {name: minor(value, currency) for name, value in sums.items()}
            rows.append({"ref": order["id"], "payment_id": order["custom_id"], "currency": currency, **amounts})
        return rows

    def overview(self) -> list[Json]:
        """Return the newest orders for the control page."""
        return [
            {
                "id": order["id"],
                "payment_id": order["custom_id"],
                "account": order["label"],
                "status": "EXPIRED" if self.lapsed(order) else order["status"],
                "intent": order["intent"],
                "amount": order["units"],
                "currency": order["currency"],
                "authorizations": [f"{each['id']} {each['status']}" for each in self.holds(order["id"])],
                "captures": [f"{each['id']} {each['status']}" for each in self.of(CAPTURE, order["id"])],
            }
            for order in self.all(ORDER)[-50:][::-1]
        ]
