"""Orders v2 of the simulated PayPal: create, read, change, run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from integrations.providers.paypal.simulator import shapes
from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.books import CAPTURE, HOLD, ORDER
from integrations.providers.paypal.simulator.envelope import amount, answer, empty, error, link, new_id, refuse, units
from integrations.providers.paypal.simulator.magic import plan_for
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

KEPT = 6 * 3600.0
ASK_AGAIN = "PAYER_ACTION_REQUIRED"
PATCHED_AMOUNT = "/purchase_units/@reference_id=='default'/amount"
NOTES = {"custom_id": 127, "invoice_id": 127, "description": 127, "soft_descriptor": 22}


class OrderDesk(Part):
    """`/v2/checkout/orders`."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    @route("POST", "/v2/checkout/orders", operation="authorize")
    def create(self, request: SimRequest) -> SimReply:
        merchant, body = self._sim.authorised(request), self._sim.body(request)
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._create(request, merchant, body),
            lambda number, replay: self._shown(request, number, 200 if replay else 201),
        )

    @route("GET", "/v2/checkout/orders/<id>", operation="status")
    def read(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        data = self._sim.books.owned(ORDER, request.params["id"], merchant)
        return answer(self._maybe_wrong(request, shapes.order(self._sim, data)))

    @route("PATCH", "/v2/checkout/orders/<id>", operation="patch")
    def change(self, request: SimRequest) -> SimReply:
        """Only the amount of an order that nobody has approved at another one."""
        merchant = self._sim.authorised(request)
        data = self._sim.books.owned(ORDER, request.params["id"], merchant)
        if data["status"] not in ("CREATED", "APPROVED", "PAYER_ACTION_REQUIRED"):
            refuse(422, "ORDER_ALREADY_COMPLETED")
        try:
            patches = json.loads(request.body)
        except ValueError:
            refuse(400, "MALFORMED_REQUEST_JSON")
        for each in patches if isinstance(patches, list) else [{}]:
            if not isinstance(each, dict) or each.get("op") != "replace":
                refuse(400, "INVALID_PATCH_OPERATION")
            if each.get("path") != PATCHED_AMOUNT:
                refuse(422, "NOT_PATCHABLE")
            given, currency = units(each.get("value"))
            if data["status"] == "APPROVED" and given > data["units"]:
                refuse(422, "AMOUNT_CHANGE_NOT_ALLOWED")
            data = {**data, "units": given, "currency": currency}
        self._sim.books.put(ORDER, data, data["custom_id"] or data["id"])
        return empty()

    @route("POST", "/v2/checkout/orders/<id>/authorize", operation="complete")
    def authorize(self, request: SimRequest) -> SimReply:
        return self._run(request, "AUTHORIZE")

    @route("POST", "/v2/checkout/orders/<id>/capture", operation="complete")
    def capture(self, request: SimRequest) -> SimReply:
        return self._run(request, "CAPTURE")

    # --- pieces

    def _create(self, request: SimRequest, merchant: Merchant, body: Json) -> str:
        intent, given = body.get("intent"), body.get("purchase_units")
        if intent not in ("CAPTURE", "AUTHORIZE"):
            refuse(400, "INVALID_PARAMETER_VALUE" if intent else "MISSING_REQUIRED_PARAMETER", field="/intent")
        if not isinstance(given, list) or not given or not isinstance(given[0], dict):
            refuse(400, "MISSING_REQUIRED_PARAMETER", field="/purchase_units")
        if len(given) > 1:
            refuse(422, "UNSUPPORTED_INTENT" if intent == "AUTHORIZE" else "MULTI_CURRENCY_ORDER")
        unit = given[0]
        for name, longest in NOTES.items():
            value = unit.get(name)
            if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= longest):
                refuse(400, "INVALID_STRING_LENGTH", field=f"/purchase_units/@reference_id=='default'/{name}")
        asked, currency = units(unit.get("amount"), PATCHED_AMOUNT)
        source = body.get("payment_source") or {}
        wallet = source.get("paypal")
        if source and not isinstance(wallet, dict):
            refuse(400, "INVALID_PARAMETER_VALUE", field="/payment_source")
        context = (wallet or {}).get("experience_context") or body.get("application_context") or {}
        vault_id = (wallet or {}).get("vault_id", "")
        if vault_id and not request.headers.get("PayPal-Request-Id"):
            refuse(400, "PAYPAL_REQUEST_ID_REQUIRED")
        data: Json = {
            "id": new_id(),
            "label": merchant.label,
            "intent": intent,
            "status": "PAYER_ACTION_REQUIRED" if wallet is not None else "CREATED",
            "modern": wallet is not None,
            "units": asked,
            "currency": currency,
            "custom_id": unit.get("custom_id", ""),
            "invoice_id": unit.get("invoice_id", ""),
            "description": unit.get("description", ""),
            "soft_descriptor": unit.get("soft_descriptor", ""),
            "return_url": context.get("return_url", ""),
            "cancel_url": context.get("cancel_url", ""),
            "created": self._sim.clock.now(),
            "approved_at": None,
            "payer": "",
            "fail": "",
            "tried": False,
        }
        if vault_id:
            payer = self._sim.vault.payer_of(merchant, vault_id)
            if payer is None:
                refuse(422, "TOKEN_EXPIRED")
            data |= {"status": "APPROVED", "payer": payer, "approved_at": self._sim.clock.now()}
        self._save(data)
        if vault_id and self._carry_out(request, data) is not None:
            refuse(422, "INSTRUMENT_DECLINED")  # nobody is there to choose another way: the order is not made
        return str(data["id"])

    def _run(self, request: SimRequest, intent: str) -> SimReply:
        merchant, _body = self._sim.authorised(request), self._sim.body(request)
        number = request.params["id"]
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._execute(request, merchant, number, intent),
            lambda found, replay: self._shown(request, found, 200 if replay else 201),
        )

    def _execute(self, request: SimRequest, merchant: Merchant, number: str, intent: str) -> str | SimReply:
        found = self._sim.books.get(ORDER, number)
        if found and found["label"] == merchant.label and intent == "AUTHORIZE" and self._sim.books.lapsed(found):
            refuse(422, "ORDER_EXPIRED")
        data = self._sim.books.owned(ORDER, number, merchant)
        if data["status"] == "COMPLETED":
            refuse(422, "ORDER_ALREADY_AUTHORIZED" if intent == "AUTHORIZE" else "ORDER_ALREADY_CAPTURED")
        if data["intent"] != intent:
            refuse(422, "ACTION_DOES_NOT_MATCH_INTENT")
        if data["status"] != "APPROVED":
            refuse(422, "ORDER_NOT_APPROVED")
        return self._carry_out(request, data) or number

    def _carry_out(self, request: SimRequest, data: Json) -> SimReply | None:
        """Run the order; return PayPal's no where the payer must choose another way to pay."""
        plan = plan_for(data["units"])
        issue = data["fail"] or plan.issue
        asks_again = issue == ASK_AGAIN
        if asks_again and data["intent"] == "CAPTURE":
            issue = "INSTRUMENT_DECLINED"  # not among the issues that PayPal lists for the authorize call
        if issue and not asks_again:
            refuse(422, issue)
        if issue and not data["tried"]:
            # Answered and not raised: a refusal would undo that the approval is used up.
            self._save({**data, "status": "PAYER_ACTION_REQUIRED", "approved_at": None, "fail": "", "tried": True})
            rel = "redirect" if issue == "INSTRUMENT_DECLINED" else "payer-action"
            return error(422, issue, links=[link(shapes.payer_page(self._sim, data), rel)])
        early = self._sim.runner.early(request)
        data = {**data, "status": "COMPLETED"}
        self._save(data)
        if data["intent"] == "CAPTURE":
            self._sim.runner.capture(data, data["units"], final=True, invoice_id=data["invoice_id"], early=early)
        else:
            self._sim.runner.authorize(data, early=early)
        shown = shapes.order(self._sim, data)
        self._sim.notifications.notify(data["label"], "CHECKOUT.ORDER.COMPLETED", "checkout-order", shown, "complete")
        return None

    def _shown(self, request: SimRequest, number: str, status: int) -> SimReply:
        data = self._sim.books.get(ORDER, number) or {}
        found = shapes.order(self._sim, data)
        shown = found if shapes.wants_all(request) else shapes.short(found)
        return answer(self._maybe_wrong(request, shown), status)

    def _maybe_wrong(self, request: SimRequest, found: Json) -> Json:
        """Name another amount where the fault `wrong_amount` says so: one unit less, two if it was one."""
        if "purchase_units" not in found or not self._sim.take_fault((request.operation,), "wrong_amount"):
            return found
        unit = found["purchase_units"][0]
        for each in [unit, *(one for kind in (CAPTURE, HOLD) for one in unit.get("payments", {}).get(f"{kind}s", []))]:
            given, currency = units(each["amount"])
            each["amount"] = amount(given - 1 if given > 1 else 2, currency)
        return found

    def _save(self, data: Json) -> None:
        self._sim.books.put(ORDER, data, data["custom_id"] or data["id"])
