"""What merchants ask and refund (sheet sections 7 to 9): verify, lists, fee, resend-hook, refunds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from integrations.providers.flutterwave.simulator import envelope
from integrations.providers.flutterwave.simulator.accounts import Merchant
from integrations.providers.flutterwave.simulator.envelope import BROKEN, day, error, number, refuse, stamp, success
from integrations.providers.flutterwave.simulator.ledger import fee, shown
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.flutterwave.simulator.fake import FlutterwaveSimulator

PAGE_SIZE = 10
NO_TRANSACTION = "No transaction was found for this id"
FIRST_STATUSES = ("completed", "completed-momo", "completed-mpgs", "completed-bank-transfer", "pending", "new", "failed")


class Desk(Part):
    """Queries answer what the ledger holds; the newest transaction stands for its tx_ref."""

    def __init__(self, sim: FlutterwaveSimulator) -> None:
        self._sim = sim

    # --- transactions

    @route("GET", "/v3/transactions/verify_by_reference", operation="status")
    def verify_by_reference(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        found = self._sim.ledger.transactions(merchant, request.query.get("tx_ref") or refuse("tx_ref is required"))
        return self._verified(merchant, found[0] if found else None)

    @route("GET", "/v3/transactions/<id>/verify", operation="status")
    def verify(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        return self._verified(merchant, self._sim.ledger.transaction(merchant, request.params["id"]))

    def _verified(self, merchant: Merchant, found: Json | None) -> SimReply:
        if found is None:
            refuse(NO_TRANSACTION)
        # Only here: a fault that a list used up would change nothing, since verify alone is believed.
        misstated = self._sim.faults.take(self._sim.slug, ("status",), ("wrong_amount",)) is not None
        return success("Transaction fetched successfully", shown(found, merchant, misstated=misstated))

    @route("GET", "/v3/transactions", operation="status")
    def transactions(self, request: SimRequest) -> SimReply:
        """Newest first, ten a page, by days (inclusive), tx_ref, currency and status."""
        merchant, query = self._sim.authorised(request), request.query
        found = [
            each
            for each in self._sim.ledger.transactions(merchant, query.get("tx_ref"))
            if self._within(each, query.get("from"), query.get("to"))
            and query.get("currency") in (None, each["currency"])
            and query.get("status") in (None, each["status"])
        ]
        return self._listed(request, "Transactions fetched", [shown(each, merchant) for each in found])

    @route("GET", "/v3/transactions/fee", operation="fee")
    def fee(self, request: SimRequest) -> SimReply:
        self._sim.authorised(request)
        currency = envelope.currency_of(dict(request.query))
        try:
            given = float(request.query.get("amount", ""))
        except ValueError:
            refuse("amount must be a number")
        minor = envelope.amount({"amount": given}, currency)
        kept = number(fee({"amount": minor}), currency)
        data = {
            "charge_amount": number(minor, currency), "fee": kept, "merchant_fee": 0, "flutterwave_fee": kept,
            "stamp_duty_fee": 0, "currency": currency,
        }  # fmt: skip
        return success("Charged fee", data)

    @route("POST", "/v3/transactions/<id>/resend-hook", operation="resend_hook")
    def resend_hook(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        found = self._sim.ledger.transaction(merchant, request.params["id"])
        if found is None or found["status"] == "pending":
            refuse(NO_TRANSACTION)
        self._sim.hooks.charge(found)
        return success("hook sent successfully", "hook sent")

    # --- refunds

    @route("POST", "/v3/transactions/<id>/refund", operation="refund")
    def refund(self, request: SimRequest) -> SimReply:
        """Every call refunds anew: there is no idempotency key."""
        sim = self._sim
        merchant = sim.authorised(request)
        found = sim.ledger.transaction(merchant, request.params["id"])
        data = envelope.body(request, frozenset({"amount", "comments"})) if request.body else {}
        if found is None:
            refuse(NO_TRANSACTION)
        minor = envelope.amount(data, found["currency"]) if data.get("amount") is not None else None
        made = self.give_back(found, minor, envelope.text(data, "comments", most=500, required=False))
        if sim.faults.take(sim.slug, (request.operation,), ("error_503_after",)):
            return error(503, BROKEN)
        return success("Transaction refund initiated", self._shown(made, merchant))

    def give_back(self, transaction: Json, minor: int | None, comments: str) -> Json:
        """Refund from the API or the dashboard; tells by webhook once the refund is done."""
        first = str(self._sim.setting("refund_status"))
        made = self._sim.ledger.refund(transaction, minor, comments, first if first in FIRST_STATUSES else "completed")
        if made["status"] == "failed":
            self._sim.ledger.take_back(made)
        if made["status"].startswith(("completed", "failed")):
            self._sim.hooks.refund(made)
        return made

    def settle(self, refund: Json) -> None:
        """A refund that was under way is done."""
        refund["status"] = "completed"
        self._sim.ledger.save_refund(refund)
        self._sim.hooks.refund(refund)

    def fail(self, refund: Json) -> None:
        """The payer's bank sent it back, be it long after it was done."""
        self._sim.ledger.take_back(refund)
        self._sim.hooks.refund(refund)

    @route("GET", "/v3/refunds/<id>", operation="status")
    def one_refund(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        found = next((each for each in self._sim.ledger.refunds(merchant) if str(each["id"]) == request.params["id"]), None)
        return success("Refund fetched", self._shown(found, merchant)) if found else refuse("No refund was found for this id")

    @route("GET", "/v3/refunds", operation="status")
    def refunds(self, request: SimRequest) -> SimReply:
        """Newest first, ten a page, by days (inclusive; unconfirmed, so `refund_list_heeds_days` can switch it off)."""
        merchant, query = self._sim.authorised(request), request.query
        found = self._sim.ledger.refunds(merchant)
        if self._sim.setting("refund_list_heeds_days"):
            found = [each for each in found if self._within(each, query.get("from"), query.get("to"))]
        return self._listed(request, "Refunds fetched", [self._shown(each, merchant) for each in found])

    def _shown(self, refund: Json, merchant: Merchant) -> Json:
        data: Json = {
            "id": refund["id"],
            "account_id": merchant.number,
            "tx_id": refund["transaction"],
            "flw_ref": refund["flw_ref"],
            "wallet_id": 74639,
            "amount_refunded": number(refund["amount"], refund["currency"]),
            "status": refund["status"],
            "destination": "payment_source",
            "meta": {"source": "availablebalance"},
            "created_at": stamp(refund["created_at"]),
        }
        if self._sim.setting("refund_comments"):
            data["comments"] = refund["comments"]
        return data

    # --- lists

    def _within(self, entry: Json, first: str | None, last: str | None) -> bool:
        for each in (first, last):
            if each is not None and not re.match(r"\d{4}-\d\d-\d\d", each):
                refuse("from and to must be dates")
        made = day(entry["created_at"])
        return (first is None or made >= first[:10]) and (last is None or made <= last[:10])

    def _listed(self, request: SimRequest, message: str, found: Sequence[Any]) -> SimReply:
        page = request.query.get("page", "1")
        if not page.isdigit() or int(page) < 1:
            refuse("page is invalid")
        current, pages = int(page), max(1, -(-len(found) // PAGE_SIZE))
        info = {"total": len(found), "current_page": current, "total_pages": pages}
        return success(message, found[(current - 1) * PAGE_SIZE : current * PAGE_SIZE], {"page_info": info})
