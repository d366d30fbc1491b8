"""Refunds, charges and disputes; what comes back late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.stripe.simulator import objects
from integrations.providers.stripe.simulator.answers import Executed, invalid, refuse
from integrations.providers.stripe.simulator.cards import CARDS
from integrations.simulators import Part, SimReply, SimRequest, action, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import Call, StripeSimulator

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
GONE = ("failed", "canceled")
FINAL_DISPUTES = ("won", "lost", "warning_closed")


class Refunds(Part):
    """A released hold shows as refunded too, and as a refund without a balance transaction; `_release` marks it."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    # --- the API

    @route("POST", "/v1/refunds", operation="refund")
    def create(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("payment_intent", "charge", "amount", "reason", "metadata")
            reason = params.choice("reason", REASONS) or None
            metadata = params.metadata()
            charge = self._charge_for(call)
            amount = params.integer("amount", self.left(charge))
            return self.give_back(charge, amount, reason=reason, metadata=metadata, cause=request)

        return self._sim.write(request, run)

    @route("GET", "/v1/refunds", operation="refund_status")
    def listing(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._by_payment(call, "refund", "/v1/refunds"))

    @route("GET", "/v1/refunds/<id>", operation="refund_status")
    def one(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._sim.find("refund", request.params["id"], call.account, "id"))

    @route("GET", "/v1/charges", operation="charges")
    def charges(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._by_payment(call, "charge", "/v1/charges"))

    @route("GET", "/v1/charges/<id>", operation="charges")
    def charge(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._sim.find("charge", request.params["id"], call.account, "id"))

    @route("GET", "/v1/disputes", operation="dispute_status")
    def disputes(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._by_payment(call, "dispute", "/v1/disputes"))

    @route("GET", "/v1/disputes/<id>", operation="dispute_status")
    def dispute(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._sim.find("dispute", request.params["id"], call.account, "id"))

    def _by_payment(self, call: Call, kind: str, path: str) -> Json:
        params = call.params.allow("limit", "starting_after", "created", "payment_intent", "charge")
        intent, charge = params.text("payment_intent"), params.text("charge")
        if intent:
            self._sim.find("payment_intent", intent, call.account, "payment_intent")

        def matches(each: Json) -> bool:
            return (not intent or each["payment_intent"] == intent) and (not charge or each.get("charge") == charge)

        return self._sim.listed(call, kind, path, matches)

    def _charge_for(self, call: Call) -> Json:
        ref, by_charge = call.params.text("payment_intent"), call.params.text("charge")
        if bool(ref) is bool(by_charge):
            refuse(400, "One of the following params should be provided for this request: payment_intent or charge.",
                   "parameter_missing")  # fmt: skip
        if by_charge:
            return self._sim.find("charge", by_charge, call.account, "charge")
        intent = self._sim.find("payment_intent", ref, call.account, "payment_intent")
        if not intent["latest_charge"] or not intent["amount_received"]:
            text = f"This PaymentIntent ({ref}) does not have a successful charge to refund."
            raise Executed(invalid(text, "payment_intent_unexpected_state", "payment_intent"))
        return self._sim.find("charge", intent["latest_charge"], call.account)

    # --- what happens to money that came in

    def left(self, charge: Json) -> int:
        """Return what of the captured money is not given back."""
        given: int = sum(each["amount"] for each in self.of(charge) if not each["_release"] and each["status"] not in GONE)
        return int(charge["amount_captured"]) - given

    def of(self, charge: Json) -> list[Json]:
        return [each for each in self._sim.all("refund", charge["_account"]) if each["charge"] == charge["id"]]

    def give_back(
        self, charge: Json, amount: int, *, reason: str | None = None, metadata: Json | None = None,
        cause: SimRequest | None = None,
    ) -> Json:  # fmt: skip
        """Refund; raises `Executed` where that can't be."""
        sim, left = self._sim, self.left(charge)
        if charge["disputed"] and any(not each["is_charge_refundable"] for each in self._disputes_of(charge)):
            raise Executed(invalid("This charge has been charged back.", "charge_disputed", charge=charge["id"]))
        if left <= 0:
            text = f"Charge {charge['id']} has already been refunded."
            raise Executed(invalid(text, "charge_already_refunded", charge=charge["id"]))
        if amount > left:
            text = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            raise Executed(invalid(text, param="amount"))
        fate = CARDS[charge["_alias"]].refund
        made = objects.refund(charge, amount, sim.clock.now(), reason=reason, metadata=metadata or {})
        if fate == "pending":
            made["status"] = "pending"
        else:
            made["balance_transaction"] = sim.books.record(made, "refund", -amount)["id"]
        sim.save(made)
        self._count(charge)
        sim.events.emit("charge.refunded", charge, cause)
        if fate:
            sim.later("refund_turns", {"refund": made["id"], "to": fate}, float(sim.setting("refund_delay")))
        return made

    def let_go(self, charge: Json, amount: int, *, expired: bool = False) -> None:
        """The rest of a hold is released: refunded in words, though no money had moved."""
        reason = "expired_uncaptured_charge" if expired else None
        self._sim.save(objects.refund(charge, amount, self._sim.clock.now(), reason=reason, _release=True))
        self._count(charge)

    @action("refund_turns")
    def turn(self, context: Json) -> None:
        refund = self._sim.store.get(self._sim.slug, "refund", context["refund"])
        if refund and refund["status"] in ("pending", "succeeded"):
            (self.fail if context["to"] == "fail" else self.settle)(refund)

    def settle(self, refund: Json) -> None:
        """A pending refund goes through; ValueError for any other."""
        if refund["status"] != "pending":
            raise ValueError("this refund is not pending")
        line = self._sim.books.record(refund, "refund", -refund["amount"])
        refund |= {"status": "succeeded", "balance_transaction": line["id"]}
        self._sim.save(refund)
        self._sim.events.emit("charge.refund.updated", refund, previous={"status": "pending"})

    def fail(self, refund: Json) -> None:
        """The payer's bank sends a refund back, also days after it succeeded; ValueError where that was so already."""
        if refund["status"] in GONE:
            raise ValueError("this refund has failed already")
        before = refund["status"]
        if refund["balance_transaction"]:
            line = self._sim.books.record(refund, "refund_failure", refund["amount"])
            refund["failure_balance_transaction"] = line["id"]
        refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
        self._sim.save(refund)
        charge = self._sim.find("charge", refund["charge"], refund["_account"])
        self._count(charge)
        self._sim.events.emit("charge.refund.updated", refund, previous={"status": before})

    def _count(self, charge: Json) -> None:
        total = sum(each["amount"] for each in self.of(charge) if each["status"] not in GONE)
        charge |= {"amount_refunded": total, "refunded": total >= charge["amount"]}
        self._sim.save(charge)

    # --- disputes

    def _disputes_of(self, charge: Json) -> list[Json]:
        return [each for each in self._sim.all("dispute", charge["_account"]) if each["charge"] == charge["id"]]

    @action("dispute_opens")
    def opens(self, context: Json) -> None:
        charge = self._sim.store.get(self._sim.slug, "charge", context["charge"])
        if charge:
            self.open(charge, int(charge["amount_captured"]), inquiry=context["kind"] == "inquiry")

    def open(self, charge: Json, amount: int, *, inquiry: bool = False) -> Json:
        """The payer's bank disputes; the money is withdrawn at once, unless it only inquires. ValueError without money."""
        if not 0 < amount <= charge["amount_captured"]:
            raise ValueError("nothing of that size was captured")
        sim = self._sim
        made = objects.dispute(charge, amount, sim.clock.now(), "warning_needs_response" if inquiry else "needs_response")
        charge["disputed"] = True
        sim.save(charge)
        if not inquiry:
            line = sim.books.record(made, "adjustment", -amount, fee=1500)
            made["balance_transactions"] = [sim.render(line)]
        sim.save(made)
        sim.events.emit("charge.dispute.created", made)
        if not inquiry:
            sim.events.emit("charge.dispute.funds_withdrawn", made)
        return made

    def close(self, charge: Json, *, won: bool) -> Json:
        """The open dispute ends; ValueError where there is none."""
        found = [each for each in self._disputes_of(charge) if each["status"] not in FINAL_DISPUTES]
        if not found:
            raise ValueError("this payment has no open dispute")
        dispute, sim = found[0], self._sim
        inquiry = dispute["status"].startswith("warning")
        before = dispute["status"]
        dispute["status"] = "warning_closed" if inquiry else "won" if won else "lost"
        if won and not inquiry:
            line = sim.books.record(dispute, "adjustment", dispute["amount"], fee=0)
            dispute["balance_transactions"].append(sim.render(line))
            sim.events.emit("charge.dispute.funds_reinstated", dispute)
        sim.save(dispute)
        sim.events.emit("charge.dispute.closed", dispute, previous={"status": before})
        return dispute
