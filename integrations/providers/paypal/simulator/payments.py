"""Payments v2 of the simulated PayPal: authorizations, captures, refunds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.paypal.simulator import shapes
from integrations.providers.paypal.simulator.accounts import Merchant
from integrations.providers.paypal.simulator.books import CAPTURE, DISPUTE, HOLD, ORDER, REFUND
from integrations.providers.paypal.simulator.envelope import answer, empty, refuse, units
from integrations.providers.paypal.simulator.magic import plan_for
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.paypal.simulator.fake import PaypalSimulator

KEPT = 45 * 86_400.0
OPEN = ("CREATED", "PARTIALLY_CAPTURED")
NO_CAPTURE = {
    "VOIDED": "AUTHORIZATION_VOIDED",
    "DENIED": "AUTHORIZATION_DENIED",
    "CAPTURED": "AUTHORIZATION_ALREADY_CAPTURED",
    "PENDING": "TRANSACTION_REFUSED",
}


class PaymentDesk(Part):
    """`/v2/payments`."""

    def __init__(self, sim: PaypalSimulator) -> None:
        self._sim = sim

    # --- authorizations

    @route("GET", "/v2/payments/authorizations/<id>", operation="authorization_status")
    def read_hold(self, request: SimRequest) -> SimReply:
        return answer(shapes.hold(self._sim, self._hold(request)))

    @route("POST", "/v2/payments/authorizations/<id>/capture", operation="capture")
    def capture(self, request: SimRequest) -> SimReply:
        merchant, body = self._sim.authorised(request), self._sim.body(request)
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._capture(request, merchant, body),
            lambda number, _replay: self._made(request, CAPTURE, number),
        )

    @route("POST", "/v2/payments/authorizations/<id>/reauthorize", operation="reauthorize")
    def reauthorize(self, request: SimRequest) -> SimReply:
        merchant, body = self._sim.authorised(request), self._sim.body(request)
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._reauthorize(request, body),
            lambda number, _replay: self._made(request, HOLD, number),
        )

    @route("POST", "/v2/payments/authorizations/<id>/void", operation="void")
    def void(self, request: SimRequest) -> SimReply:
        hold = self._hold(request)
        if hold["parent"]:
            refuse(422, "CANNOT_BE_VOIDED")
        if hold["status"] in ("VOIDED", "DENIED"):
            refuse(422, "PREVIOUSLY_VOIDED")
        if hold["status"] == "CAPTURED":
            refuse(422, "PREVIOUSLY_CAPTURED")
        voided = self._sim.runner.void(hold, self._sim.runner.early(request))
        return (
            answer(shapes.hold(self._sim, self._sim.books.get(HOLD, voided["id"]) or voided))
            if shapes.wants_all(request)
            else empty()
        )

    # --- captures and refunds

    @route("GET", "/v2/payments/captures/<id>", operation="capture_status")
    def read_capture(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        return answer(shapes.capture(self._sim, self._sim.books.owned(CAPTURE, request.params["id"], merchant)))

    @route("POST", "/v2/payments/captures/<id>/refund", operation="refund")
    def refund(self, request: SimRequest) -> SimReply:
        merchant, body = self._sim.authorised(request), self._sim.body(request)
        return self._sim.once(
            request,
            merchant,
            KEPT,
            lambda: self._refund(request, merchant, body),
            lambda number, _replay: self._made(request, REFUND, number),
        )

    @route("GET", "/v2/payments/refunds/<id>", operation="refund_status")
    def read_refund(self, request: SimRequest) -> SimReply:
        merchant = self._sim.authorised(request)
        return answer(shapes.refund(self._sim, self._sim.books.owned(REFUND, request.params["id"], merchant)))

    # --- pieces

    def _hold(self, request: SimRequest) -> Json:
        return self._sim.books.owned(HOLD, request.params["id"], self._sim.authorised(request))

    def _capture(self, request: SimRequest, merchant: Merchant, body: Json) -> str:
        books = self._sim.books
        hold = books.owned(HOLD, request.params["id"], merchant)
        order = books.get(ORDER, hold["order"]) or {}
        taken = books.captured_of(hold)
        if hold["status"] == "VOIDED" and hold["expires"] <= self._sim.clock.now():
            refuse(422, "AUTHORIZATION_EXPIRED")
        if hold["status"] not in OPEN:
            refuse(422, NO_CAPTURE[hold["status"]])
        asked, currency = units(body["amount"]) if body.get("amount") else (hold["units"] - taken, hold["currency"])
        if currency != hold["currency"]:
            refuse(422, "AUTH_CAPTURE_CURRENCY_MISMATCH")
        if taken + asked > hold["units"]:
            refuse(422, "MAX_CAPTURE_AMOUNT_EXCEEDED")
        invoice = str(body.get("invoice_id") or "")
        if invoice and any(each["invoice_id"] == invoice for each in books.all(CAPTURE) if each["label"] == merchant.label):
            refuse(422, "DUPLICATE_INVOICE_ID")
        late = hold["created"] + self._sim.setting("honour") <= self._sim.clock.now()
        if late and self._sim.setting("late_capture_fails"):
            refuse(422, "PAYER_CANNOT_PAY")
        final = bool(body.get("final_capture", False))
        early = self._sim.runner.early(request)
        made = self._sim.runner.capture(
            order, asked, final=final, invoice_id=invoice or hold["invoice_id"], hold=hold, early=early
        )
        return str(made["id"])

    def _reauthorize(self, request: SimRequest, body: Json) -> str:
        hold = self._hold(request)
        if hold["status"] not in OPEN:
            refuse(422, "AUTHORIZATION_ALREADY_CAPTURED" if hold["status"] == "CAPTURED" else "AUTHORIZATION_VOIDED")
        fresh = hold["created"] + self._sim.setting("honour") > self._sim.clock.now()
        if hold["parent"] or hold["status"] != "CREATED" or fresh:
            refuse(422, "REAUTHORIZATION_NOT_SUPPORTED")
        asked, currency = units(body["amount"]) if body.get("amount") else (hold["units"], hold["currency"])
        if currency != hold["currency"]:
            refuse(422, "AUTH_CURRENCY_MISMATCH")
        if asked > hold["units"]:
            refuse(422, "TRANSACTION_REFUSED")
        order = self._sim.books.get(ORDER, hold["order"]) or {}
        return str(self._sim.runner.new_hold({**order, "units": asked}, "CREATED", hold)["id"])

    def _refund(self, request: SimRequest, merchant: Merchant, body: Json) -> str:
        books = self._sim.books
        capture = books.owned(CAPTURE, request.params["id"], merchant)
        left = capture["units"] - books.refunded_of(capture)
        if capture["status"] == "PENDING":
            refuse(422, "PENDING_CAPTURE")
        if capture["status"] in ("DECLINED", "FAILED"):
            refuse(422, "REFUND_NOT_ALLOWED")
        if left <= 0:
            refuse(422, "CAPTURE_FULLY_REFUNDED")
        asked, currency = units(body["amount"]) if body.get("amount") else (left, capture["currency"])
        if currency != capture["currency"]:
            refuse(422, "REFUND_CAPTURE_CURRENCY_MISMATCH")
        if asked > left:
            refuse(422, "REFUND_AMOUNT_EXCEEDED")
        if capture["created"] + self._sim.setting("refund_window") <= self._sim.clock.now():
            refuse(422, "REFUND_TIME_LIMIT_EXCEEDED")
        disputes = books.of(DISPUTE, capture["id"])
        if any(each["outcome"] == "RESOLVED_BUYER_FAVOUR" for each in disputes):
            refuse(422, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK")
        if asked < capture["units"] and any(each["status"] != "RESOLVED" for each in disputes):
            refuse(422, "TRANSACTION_DISPUTED")
        invoice = str(body.get("invoice_id") or "")
        if invoice and any(each["invoice_id"] == invoice for each in books.all(REFUND) if each["label"] == merchant.label):
            refuse(422, "DUPLICATE_INVOICE_ID")
        order = books.get(ORDER, capture["order"]) or {"units": 0}
        if issue := plan_for(order["units"]).refund_issue:
            refuse(422, issue)
        made = self._sim.runner.refund(
            capture,
            asked,
            invoice_id=invoice,
            custom_id=str(body.get("custom_id") or ""),
            note=str(body.get("note_to_payer") or ""),
            early=self._sim.runner.early(request),
        )
        return str(made["id"])

    def _made(self, request: SimRequest, kind: str, number: str) -> SimReply:
        shown = {HOLD: shapes.hold, CAPTURE: shapes.capture, REFUND: shapes.refund}[kind]
        found = shown(self._sim, self._sim.books.get(kind, number) or {})
        return answer(found if shapes.wants_all(request) else shapes.short(found), 201)
