"""Orders: SubmitOrderRequest, GetTransactionStatus, CancelOrder (sheet sections 5, 8, 10), and how an order moves on."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from integrations.providers.pesapal.simulator.accounts import Merchant
from integrations.providers.pesapal.simulator.envelope import (
    NO_ERROR,
    error_of,
    nairobi_time,
    new_confirmation,
    new_guid,
    plain,
    refuse,
    reply,
)
from integrations.providers.pesapal.simulator.magic import Plan, plan_for
from integrations.providers.pesapal.simulator.rules import Fields
from integrations.simulators import Part, SimReply, SimRequest, action, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.pesapal.simulator.fake import PesapalSimulator

ORDER, TAKEN = "order", "merchant_reference"
PAGE = "/pesapaliframe/PesapalIframe3/Index"
DIGITS = {"KES": 2, "TZS": 2, "USD": 2, "UGX": 0, "RWF": 0}
UNPAID, COMPLETED, FAILED, REVERSED = 0, 1, 2, 3
WORDS = {UNPAID: "INVALID", COMPLETED: "Completed", FAILED: "Failed", REVERSED: "Reversed"}
CARD, MOBILE = "card", "mpesa"
METHODS = {CARD: ("Visa", "476173xxxxxx0010"), MOBILE: ("MpesaKE", "2547xxx74149")}
NO_ORDER: Json = {"order_tracking_id": None, "merchant_reference": None, "redirect_url": None}


class OrderDesk(Part):
    """Every accepted order is a document by tracking id; amounts are kept in ISO minor units."""

    def __init__(self, sim: PesapalSimulator) -> None:
        self._sim = sim

    @route("POST", "/api/Transactions/SubmitOrderRequest", operation="authorize")
    def submit(self, request: SimRequest) -> SimReply:
        """Create an order with a payment page; its `id` must never have been used by this merchant."""
        sim = self._sim
        merchant = sim.authorised(request)
        fields = Fields.of(request)
        reference = fields.text("id", 50, pattern=r"[0-9A-Za-z_.:-]+")
        currency = fields.text("currency", 3)
        amount = fields.amount("amount")
        description = fields.text("description", 100)
        callback_url, cancel_url = fields.url("callback_url"), fields.url("cancellation_url", required=False)
        fields.text("branch", required=False)
        if fields.text("redirect_mode", required=False) not in ("", "TOP_WINDOW", "PARENT_WINDOW"):
            refuse("invalid_api_request_parameters", "Invalid redirect_mode", "invalid_request_error", NO_ORDER)
        ipn_id = fields.text("notification_id", 36)
        address = fields.inner("billing_address")
        email = address.text("email_address", 200, required=False)
        if not (email or address.text("phone_number", 30, required=False)):
            refuse("invalid_api_request_parameters", "Email address or phone number is required", "invalid_request_error")
        if sim.ipns.find(merchant, ipn_id) is None:
            refuse("InvalidIpnId", "Invalid IPN URL ID", members=NO_ORDER)
        if currency not in DIGITS or amount != round(amount, DIGITS[currency]):
            refuse("invalid_currency", "Currency or amount not supported", members=NO_ORDER)
        plan = plan_for(amount)
        if plan.refusal[0]:
            refuse(*plan.refusal, members=NO_ORDER)
        if amount > Decimal(str(sim.setting("amount_ceiling"))):
            refuse("maximum_amount_limit_exceeded", "Request Declined. Maximum amount limit exceeded", members=NO_ORDER)
        if sim.store.get(sim.slug, TAKEN, f"{merchant.label}:{reference}") is not None:
            refuse("duplicate_merchant_reference", "Duplicate merchant reference", members=NO_ORDER)
        order = {
            "tracking": new_guid(), "merchant": merchant.label, "reference": reference, "ipn_id": ipn_id,
            "currency": currency, "minor": int(amount.scaleb(DIGITS[currency])), "description": description,
            "callback_url": callback_url, "cancel_url": cancel_url, "status": UNPAID, "cancelled": False,
            "method": "", "account": "", "confirmation": "", "problem": "", "at": sim.clock.now(),
            "refund": None, "disputed": 0,
        }  # fmt: skip
        sim.store.put(sim.slug, TAKEN, f"{merchant.label}:{reference}", {"tracking": order["tracking"]})
        self.save(order)
        for number, step in enumerate(plan.steps, start=1):
            context = {"tracking": order["tracking"], "step": step, "method": plan.method}
            sim.later("order_step", context, number * sim.setting("auto_delay"))
        if sim.take_fault(("ipn", "authorize"), "early_callback"):
            self.approve(order, MOBILE, "authorize", early=request)
        return reply(
            {
                "order_tracking_id": order["tracking"],
                "merchant_reference": reference,
                "redirect_url": self.page_url(order),
                "error": None,
                "status": "200",
            }
        )

    @route("GET", "/api/Transactions/GetTransactionStatus", operation="status")
    def status(self, request: SimRequest) -> SimReply:
        """Tell how an order stands: unpaid ones answer HTTP 200 with body status 500, as recorded."""
        merchant = self._sim.authorised(request)
        order = self.owned(merchant, request.query.get("orderTrackingId", ""))
        if order is None:
            refuse(
                "invalid_order_tracking_id",
                "Order not found",
                members={"status_code": 0, "payment_status_description": "INVALID"},
            )
        code = int(order["status"])
        minor = int(order["minor"])
        if code in (COMPLETED, REVERSED) and (
            self.plan(order).wrong_amount or self._sim.take_fault(("ipn", "status"), "wrong_amount")
        ):
            minor = minor - 1 if minor > 1 else 2
        body: Json = {
            "payment_method": order["method"],
            "amount": float(Decimal(minor).scaleb(-DIGITS[order["currency"]])),
            "created_date": nairobi_time(order["at"]),
            "confirmation_code": order["confirmation"],
            "order_tracking_id": order["tracking"],
            "payment_status_description": WORDS[code],
            "description": order["problem"] or None,
            "message": "Request processed successfully",
            "payment_account": order["account"],
            "call_back_url": self.return_url(order, order["callback_url"]),
            "status_code": code,
            "merchant_reference": order["reference"],
            "payment_status_code": "",
            "currency": order["currency"],
        }
        if code == UNPAID:
            pending: Json = {**error_of("payment_details_not_found", "Pending Payment"), "call_back_url": body["call_back_url"]}
            return reply({**body, "error": pending, "status": "500"})
        return reply({**body, "error": NO_ERROR, "status": "200"})

    @route("POST", "/api/Transactions/CancelOrder", operation="void")
    def cancel(self, request: SimRequest) -> SimReply:
        """Call an order off: unpaid or failed ones, and each once."""
        merchant = self._sim.authorised(request)
        order = self.owned(merchant, Fields.of(request).text("order_tracking_id", 64))
        if order is None:
            return plain("Order not found.", ok=False)
        if order["status"] not in (UNPAID, FAILED):
            return plain("Order cannot be cancelled: it is paid.", ok=False)
        if order["cancelled"]:
            return plain("Order is already cancelled.", ok=False)
        order["cancelled"] = True
        self.save(order)
        return plain("Order successfully cancelled.", ok=True)

    @action("order_step")
    def step(self, context: Json) -> None:
        """What a magic amount does by itself; nothing where somebody was faster."""
        order = self.get(context["tracking"])
        if order is None or order["cancelled"] or order["status"] not in (UNPAID, FAILED):
            return
        if context["step"] == "fail":
            self.fail(order, "auto")
        else:
            self.approve(order, context["method"], "auto")

    # --- what happens to an order; ValueError where it can't

    def approve(self, order: Json, method: str, cause: str, *, early: SimRequest | None = None) -> None:
        """The payer pays; also after a failed attempt."""
        self._require_open(order)
        name, account = METHODS[method]
        order.update(
            status=COMPLETED,
            method=name,
            account=account,
            confirmation=new_confirmation(),
            problem="",
            at=self._sim.clock.now(),
        )
        self.save(order)
        self._sim.ipns.notify(order, cause, early=early)

    def fail(self, order: Json, cause: str, problem: str = "Insufficient funds") -> None:
        """An attempt fails; the payer may try again on the same page."""
        self._require_open(order)
        order.update(
            status=FAILED, method=METHODS[CARD][0], account=METHODS[CARD][1], problem=problem, at=self._sim.clock.now()
        )
        self.save(order)
        self._sim.ipns.notify(order, cause)

    def reverse(self, order: Json, cause: str) -> None:
        """The money went back: status 3 and an IPN."""
        order["status"] = REVERSED
        self.save(order)
        self._sim.ipns.notify(order, cause)

    def _require_open(self, order: Json) -> None:
        if order["cancelled"]:
            raise ValueError("this order is cancelled: its page refuses payment")
        if order["status"] not in (UNPAID, FAILED):
            raise ValueError("this order is paid already")

    # --- finding and showing

    def get(self, tracking: str) -> Json | None:
        return self._sim.store.get(self._sim.slug, ORDER, tracking)

    def owned(self, merchant: Merchant, tracking: str) -> Json | None:
        order = self.get(tracking)
        return order if order is not None and order["merchant"] == merchant.label else None

    def by_ref(self, ref: str) -> Json:
        """Return an order by tracking id, or the newest with this payment's id as its reference; KeyError if there is none."""
        order = self.get(ref)
        if order is not None:
            return order
        wanted = ref.replace("_", "-")
        for found in self.all():
            if found["reference"] == wanted or found["reference"].startswith(f"{wanted}-"):
                return found
        raise KeyError(ref)

    def by_confirmation(self, merchant: Merchant, code: str) -> Json | None:
        mine = (order for order in self.all() if order["merchant"] == merchant.label)
        return next((order for order in mine if order["confirmation"] == code), None)

    def all(self) -> list[Json]:
        """Return all orders, newest first."""
        return [found.data for found in self._sim.store.find(self._sim.slug, ORDER, limit=10_000)]

    def save(self, order: Json) -> None:
        self._sim.store.put(self._sim.slug, ORDER, order["tracking"], order, ref=order["reference"])

    def plan(self, order: Json) -> Plan:
        return plan_for(Decimal(order["minor"]).scaleb(-DIGITS[order["currency"]]))

    def page_url(self, order: Json) -> str:
        return f"{self._sim.public_url}/{self._sim.slug}{PAGE}?OrderTrackingId={order['tracking']}"

    def return_url(self, order: Json, url: str) -> str:
        """Return where the browser goes: the given address, its own query kept, with Pesapal's three values."""
        added = f"OrderTrackingId={order['tracking']}&OrderMerchantReference={order['reference']}"
        return f"{url}{'&' if '?' in url else '?'}{added}&OrderNotificationType=CALLBACKURL"

    def shown(self, order: Json) -> Json:
        """Return an order as control shows it."""
        hidden: dict[str, Any] = {name: value for name, value in order.items() if name not in ("callback_url", "cancel_url")}
        return {**hidden, "page_url": self.page_url(order)}
