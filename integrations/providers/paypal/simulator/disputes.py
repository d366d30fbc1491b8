"""Disputes of the simulated PayPal: read by API, opened and decided by control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.paypal.simulator.books import CAPTURE, DISPUTE
from integrations.providers.paypal.simulator.envelope import amount, answer, link, new_id, refuse, time
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

REASON = "MERCHANDISE_OR_SERVICE_NOT_RECEIVED"
ANSWER_WITHIN = 10 * 86_400.0


class DisputeDesk(Part):
    """`/v1/customer/disputes`."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    @route("GET", "/v1/customer/disputes", operation="disputes")
    def search(self, request: SimRequest) -> SimReply:
        """By `disputed_transaction_id` (a capture), else all. An empty list is left out."""
        label = self._allowed(request)
        capture = request.query.get("disputed_transaction_id", "")
        found = [each for each in self._sim.books.all(DISPUTE) if each["label"] == label and capture in ("", each["capture"])]
        shown = [self._listed(each) for each in found]
        links = [link(f"{self._sim.base}/v1/customer/disputes", "self")]
        return answer({**({"items": shown} if shown else {}), "links": links})

    @route("GET", "/v1/customer/disputes/<id>", operation="disputes")
    def read(self, request: SimRequest) -> SimReply:
        label = self._allowed(request)
        found = self._sim.books.get(DISPUTE, request.params["id"])
        if found is None or found["label"] != label:
            refuse(404, "INVALID_RESOURCE_ID")
        return answer(self.shown(found))

    def _allowed(self, request: SimRequest) -> str:
        merchant = self._sim.authorised(request)
        if not self._sim.switch(merchant, "disputes"):
            refuse(403, "PERMISSION_DENIED")
        return merchant.label

    # --- used by the dashboard

    def open(self, capture: Json, units: int, stage: str) -> Json:
        """Open a case: an INQUIRY is a question, anything else takes the money until it is decided."""
        now = self._sim.clock.now()
        inquiry = stage == "INQUIRY"
        case: Json = {
            "id": f"PP-R-{new_id(3)}-{now:.0f}{new_id(2)}",
            "label": capture["label"],
            "capture": capture["id"],
            "units": units,
            "currency": capture["currency"],
            "custom_id": capture["custom_id"],
            "stage": stage,
            "status": "OPEN" if inquiry else "WAITING_FOR_SELLER_RESPONSE",
            "outcome": "",
            "withdrawn": not inquiry,
            "moves": [] if inquiry else ["DEBIT"],
            "created": now,
            "due": now + ANSWER_WITHIN,
        }
        return self._saved(case, "CREATED")

    def decide(self, case: Json, won: bool) -> Json:
        """Resolve a case, for the seller (who gets his money back) or for the buyer."""
        moves = list(case["moves"])
        if won and case["withdrawn"]:
            moves.append("CREDIT")
        if not won and not case["withdrawn"]:
            moves.append("DEBIT")
        outcome = "RESOLVED_SELLER_FAVOUR" if won else "RESOLVED_BUYER_FAVOUR"
        return self._saved({**case, "status": "RESOLVED", "outcome": outcome, "withdrawn": not won, "moves": moves}, "RESOLVED")

    def _saved(self, case: Json, event: str) -> Json:
        self._sim.books.put(DISPUTE, case, case["capture"])
        kept = self._sim.books.get(DISPUTE, case["id"]) or case
        name = f"CUSTOMER.DISPUTE.{event}"
        self._sim.notifications.notify(case["label"], name, "dispute", self.shown(kept), "dispute")
        return kept

    # --- shapes

    def shown(self, case: Json) -> Json:
        money = amount(case["units"], case["currency"])
        capture = self._sim.books.get(CAPTURE, case["capture"]) or case
        transaction = {
            "seller_transaction_id": case["capture"],
            "create_time": time(capture["created"]),
            "transaction_status": "COMPLETED",
            "gross_amount": amount(capture["units"], capture["currency"]),
            **({"custom": case["custom_id"]} if case["custom_id"] else {}),
        }
        moves = [
            {
                "affected_party": "SELLER",
                "amount": money,
                "initiated_time": time(case["created"]),
                "type": each,
                "reason": "DISPUTE_SETTLEMENT",
            }
            for each in case["moves"]
        ]
        return {
            **self._listed(case),
            "disputed_transactions": [transaction],
            **({"dispute_outcome": {"outcome_code": case["outcome"], "amount_refunded": money}} if case["outcome"] else {}),
            **({"money_movements": moves} if moves else {}),
        }

    def _listed(self, case: Json) -> Json:
        return {
            "dispute_id": case["id"],
            "create_time": time(case["created"]),
            "update_time": time(case["updated"]),
            "reason": REASON,
            "status": case["status"],
            "dispute_amount": amount(case["units"], case["currency"]),
            "dispute_life_cycle_stage": case["stage"],
            "dispute_channel": "INTERNAL",
            "seller_response_due_date": time(case["due"]),
            "links": [link(f"{self._sim.base}/v1/customer/disputes/{case['id']}", "self")],
        }
