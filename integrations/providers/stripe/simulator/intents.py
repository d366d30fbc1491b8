"""PaymentIntents: created, confirmed, authenticated, captured, cancelled, lapsed (docs.stripe.com/payments/paymentintents)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.stripe.simulator import objects
from integrations.providers.stripe.simulator.answers import Executed, invalid, missing, refuse
from integrations.providers.stripe.simulator.cards import CARDS
from integrations.providers.stripe.simulator.events import wrong_amount
from integrations.simulators import Part, SimReply, SimRequest, action, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import Call, StripeSimulator

MINIMUMS = {"gbp": 30}
MINIMUM = 50
"""USD 0.50, EUR 0.50, GBP 0.30, JPY 50 are documented; for other currencies it depends on the settlement: 50 units here."""
MOST = 99_999_999
THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
KNOWN = frozenset(
    {
        "aed", "aud", "bhd", "bif", "cad", "chf", "clp", "djf", "egp", "etb", "eur", "gbp", "ghs", "gnf", "huf", "inr", "isk",
        "jod", "jpy", "kes", "kmf", "krw", "kwd", "mad", "mga", "ngn", "omr", "pyg", "rwf", "tnd", "twd", "tzs", "ugx", "usd",
        "vnd", "vuv", "xaf", "xof", "xpf", "zar", "zmw",
    }
)  # fmt: skip
CREATE = (
    "amount", "currency", "capture_method", "confirm", "customer", "description", "metadata", "off_session", "payment_method",
    "payment_method_types", "receipt_email", "return_url", "setup_future_usage",
    "statement_descriptor_suffix",
)  # fmt: skip
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCEL_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")


class Intents(Part):
    """One charge per attempt; `latest_charge` is the newest."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    # --- the API

    @route("POST", "/v1/payment_intents", operation="authorize")
    def create(self, request: SimRequest) -> SimReply:
        return self._sim.write(request, self._create)

    def _create(self, call: Call) -> Json:
        params = call.params.allow(*CREATE)
        amount = params.integer("amount")
        currency = params.text("currency", required=True).lower()
        capture_method = params.choice("capture_method", ("automatic", "automatic_async", "manual"), "automatic")
        types = params.texts("payment_method_types") or ["card"]
        if types != ["card"]:
            refuse(400, "The payment method type provided is invalid.", "payment_method_unactivated", "payment_method_types")
        confirm, off_session = params.boolean("confirm"), params.boolean("off_session")
        if off_session and not confirm:
            refuse(400, "off_session may only be set with confirm=true.", "parameter_invalid_empty", "off_session")
        if params.has("return_url") and not confirm:
            refuse(400, "return_url may only be set with confirm=true.", "", "return_url")
        if not self._sim.events.setup(call.account)["charges_enabled"]:
            refuse(400, "Your account cannot currently make live charges.", "account_invalid")
        check_amount(amount, currency)
        customer = params.text("customer") or None
        if customer:
            self._sim.find("customer", customer, call.account, "customer")
        intent = objects.payment_intent(
            call.account, self._sim.clock.now(), amount=amount, currency=currency, capture_method=capture_method,
            payment_method_types=types, customer=customer, description=params.text("description", longest=1000) or None,
            metadata=params.metadata(), receipt_email=params.text("receipt_email") or None,
            setup_future_usage=params.choice("setup_future_usage", ("on_session", "off_session")) or None,
            statement_descriptor_suffix=params.text("statement_descriptor_suffix", longest=22) or None,
        )  # fmt: skip
        method = self._sim.setups.method_from(call)
        if method is not None:
            intent["payment_method"], intent["status"] = method["id"], "requires_confirmation"
            self._check_method(intent, method)
        self._sim.save(intent)
        self._sim.events.emit("payment_intent.created", intent, call.request)
        if confirm:
            if method is None:
                refuse(400, "You cannot confirm this PaymentIntent because it's missing a payment method.",
                       "payment_intent_unexpected_state")  # fmt: skip
            self._confirm(intent, method, call, off_session=off_session)
        return intent

    @route("POST", "/v1/payment_intents/<id>/confirm", operation="pay")
    def confirm(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("payment_method", "return_url", "off_session", "client_secret", "use_stripe_sdk")
            intent = self._mine(call)
            if intent["status"] not in OPEN:
                raise Executed(unexpected(self._sim.render(intent), "confirm", OPEN))
            method = self._sim.setups.method_from(call)
            if method is None and intent["payment_method"]:
                method = self._sim.find("payment_method", intent["payment_method"], call.account)
            if method is None:
                refuse(400, "You cannot confirm this PaymentIntent because it's missing a payment method.",
                       "payment_intent_unexpected_state")  # fmt: skip
            self._check_method(intent, method)
            self._confirm(intent, method, call, off_session=params.boolean("off_session"))
            return intent

        return self._sim.write(request, run, browser=True)

    @route("GET", "/v1/payment_intents", operation="search")
    def listing(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("limit", "starting_after", "created", "customer")
            customer = params.text("customer")
            return self._sim.listed(
                call, "payment_intent", "/v1/payment_intents", lambda each: not customer or each["customer"] == customer
            )

        return self._sim.read(request, run)

    @route("GET", "/v1/payment_intents/<id>", operation="status")
    def one(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            call.params.allow("client_secret")
            intent = self._mine(call)
            return wrong_amount(intent) if self._sim.take_fault(("status",), "wrong_amount") else intent

        return self._sim.read(request, run, browser=True)

    @route("POST", "/v1/payment_intents/<id>/capture", operation="capture")
    def capture(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("amount_to_capture", "metadata", "final_capture")
            intent = self._mine(call)
            amount = params.integer("amount_to_capture", intent["amount_capturable"])
            final = params.boolean("final_capture", True)
            if not final and not self._sim.events.setup(call.account)["multicapture"]:
                refuse(400, "This account is not eligible for multicapture.", "parameter_unknown", "final_capture")
            self.take(intent, amount, final=final, metadata=params.metadata(), cause=request)
            return intent

        return self._sim.write(request, run)

    @route("POST", "/v1/payment_intents/<id>/cancel", operation="void")
    def cancel(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            reason = call.params.allow("cancellation_reason").choice("cancellation_reason", CANCEL_REASONS) or None
            intent = self._mine(call)
            self.release(intent, reason, cause=request)
            return intent

        return self._sim.write(request, run)

    # --- what happens to an intent, whoever asks

    def attempt(
        self, intent: Json, method: Json, cause: SimRequest | None, *, off_session: bool, return_url: str
    ) -> Json | None:
        """Charge, or ask the payer to authenticate; return the error object of a decline, None if there was none."""
        card = CARDS[method["_alias"]]
        needed = card.authentication == "always" or (card.authentication == "unless_stored" and not method["_stored"])
        intent["last_payment_error"], intent["payment_method"] = None, method["id"]
        if needed and off_session:
            text = "Your card was declined. This transaction requires authentication."
            return self._decline(intent, method, ("authentication_required", "authentication_required", text), cause)
        if needed:
            intent["status"] = "requires_action"
            intent["next_action"] = self._sim.setups.next_action(intent["id"], return_url)
            self._sim.save(intent)
            self._sim.events.emit("payment_intent.requires_action", intent, cause)
            return None
        return self._charge(intent, method, cause)

    def authenticated(self, intent: Json, *, passed: bool) -> None:
        """The payer was at the bank's page; ValueError where the intent does not wait for that."""
        if intent["status"] != "requires_action":
            raise ValueError("this payment does not wait for authentication")
        intent["next_action"] = None
        method = self._sim.find("payment_method", intent["payment_method"], intent["_account"])
        if passed:
            self._charge(intent, method, None)
            return
        intent["status"], intent["payment_method"] = "requires_payment_method", None
        intent["last_payment_error"] = {
            **invalid("The provided PaymentMethod has failed authentication.", "payment_intent_authentication_failure"),
            "payment_method": self._sim.render(method),
        }
        self._sim.save(intent)
        self._sim.events.emit("payment_intent.payment_failed", intent)

    def take(
        self, intent: Json, amount: int, *, final: bool = True, metadata: Json | None = None, cause: SimRequest | None = None
    ) -> None:
        """Capture; raises `Executed` where the state forbids it."""
        sim = self._sim
        if intent["status"] != "requires_capture":
            raise Executed(unexpected(sim.render(intent), "capture", ("requires_capture",)))
        if not 0 < amount <= intent["amount_capturable"]:
            text = f"The amount to capture is greater than the amount you can capture ({intent['amount_capturable']})."
            raise Executed(invalid(text, "amount_too_large", "amount_to_capture"))
        charge = sim.find("charge", intent["latest_charge"], intent["_account"])
        rest = intent["amount_capturable"] - amount
        done = final or rest == 0
        intent["metadata"] |= metadata or {}
        intent["amount_received"] += amount
        intent["amount_capturable"] = 0 if done else rest
        intent["status"] = "succeeded" if done else "requires_capture"
        charge["amount_captured"] += amount
        charge["captured"] = True
        line = sim.books.record(charge, "charge", amount)
        charge["balance_transaction"] = charge["balance_transaction"] or line["id"]
        if done and rest:
            sim.refunds.let_go(charge, rest)
        sim.save(charge)
        sim.save(intent)
        sim.events.emit("charge.captured", charge, cause)
        if done:
            sim.events.emit("payment_intent.succeeded", intent, cause)
        else:
            sim.events.emit("payment_intent.amount_capturable_updated", intent, cause)

    def release(self, intent: Json, reason: str | None, cause: SimRequest | None = None) -> None:
        """Cancel; raises `Executed` where the state forbids it."""
        sim = self._sim
        if intent["status"] not in (*OPEN, "requires_capture"):
            raise Executed(unexpected(sim.render(intent), "cancel", (*OPEN, "requires_capture")))
        held = intent["amount_capturable"]
        intent |= {
            "status": "succeeded" if intent["amount_received"] else "canceled", "amount_capturable": 0, "next_action": None,
            "cancellation_reason": reason, "canceled_at": int(sim.clock.now()),
        }  # fmt: skip
        if held:
            charge = sim.find("charge", intent["latest_charge"], intent["_account"])
            sim.refunds.let_go(charge, held, expired=reason == "automatic")
            sim.save(charge)
            sim.events.emit("charge.expired" if reason == "automatic" else "charge.refunded", charge, cause)
        sim.save(intent)
        sim.events.emit("payment_intent.canceled", intent, cause)

    @action("hold_lapses")
    def lapse(self, context: Json) -> None:
        """The time of a hold is up."""
        intent = self._sim.store.get(self._sim.slug, "payment_intent", context["intent"])
        if intent and intent["status"] == "requires_capture" and intent["latest_charge"] == context["charge"]:
            self.release(intent, "automatic")

    # --- pieces

    def _mine(self, call: Call) -> Json:
        intent = self._sim.find("payment_intent", call.request.params["id"], call.account, "intent")
        check_client(call, intent)
        return intent

    def _confirm(self, intent: Json, method: Json, call: Call, *, off_session: bool) -> None:
        error = self.attempt(
            intent, method, call.request, off_session=off_session, return_url=call.params.text("return_url")
        )  # fmt: skip
        if error is not None:
            shown = self._sim.render(intent)
            raise Executed({**error, "payment_intent": shown}, 402)

    def _check_method(self, intent: Json, method: Json) -> None:
        if method["customer"] and method["customer"] != intent["customer"]:
            refuse(400, "The PaymentMethod provided belongs to a Customer: include it in the customer parameter.",
                   "", "payment_method")  # fmt: skip
        if method["_used"] and not method["customer"]:
            refuse(400, "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
                   "Customer, and may not be used again.")  # fmt: skip

    def _charge(self, intent: Json, method: Json, cause: SimRequest | None) -> Json | None:
        sim, card = self._sim, CARDS[method["_alias"]]
        if card.decline:
            return self._decline(intent, method, card.decline, cause)
        now, manual = sim.clock.now(), intent["capture_method"] == "manual"
        charge = objects.charge(intent, method, now, captured=not manual, failure=None)
        intent |= {"latest_charge": charge["id"], "next_action": None}
        method["_used"] = True
        sim.save(method)
        if manual:
            intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
            lifetime = float(sim.setting("hold_lifetime"))
            charge["payment_method_details"]["card"]["capture_before"] = int(now + lifetime)
            sim.later("hold_lapses", {"intent": intent["id"], "charge": charge["id"]}, lifetime)
        else:
            intent |= {"status": "succeeded", "amount_received": intent["amount"]}
            charge["balance_transaction"] = sim.books.record(charge, "charge", intent["amount"])["id"]
        sim.save(charge)
        sim.save(intent)
        sim.events.emit("charge.succeeded", charge, cause)
        happened = "payment_intent.amount_capturable_updated" if manual else "payment_intent.succeeded"
        sim.events.emit(happened, intent, cause)
        if card.dispute:
            sim.later("dispute_opens", {"charge": charge["id"], "kind": card.dispute}, float(sim.setting("dispute_delay")))
        return None

    def _decline(self, intent: Json, method: Json, reason: tuple[str, str, str], cause: SimRequest | None) -> Json:
        sim = self._sim
        charge = objects.charge(intent, method, sim.clock.now(), captured=False, failure=reason)
        code, decline, message = reason
        error: Json = {
            "type": "card_error", "code": code, "message": message, "charge": charge["id"],
            "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}", "payment_method": sim.render(method),
        }  # fmt: skip
        if decline:
            error["decline_code"] = decline
        intent |= {
            "status": "requires_payment_method", "payment_method": None, "next_action": None, "latest_charge": charge["id"],
            "last_payment_error": error,
        }  # fmt: skip
        sim.save(charge)
        sim.save(intent)
        sim.events.emit("charge.failed", charge, cause)
        sim.events.emit("payment_intent.payment_failed", intent, cause)
        return error


def check_client(call: Call, intent: Json) -> None:
    """With a publishable key only the holder of the client secret gets at the object."""
    given = call.params.text("client_secret")
    if (call.browser or given) and given != intent["client_secret"]:
        missing(intent["object"], intent["id"], "intent")


def unexpected(intent: Json, verb: str, allowed: tuple[str, ...]) -> Json:
    """Return the error for a call that the intent's state forbids; it holds the intent as it is."""
    kind = intent["object"]
    text = (
        f"This {kind} could not be {verb}ed because it has a status of {intent['status']}. Only one with one of the following "
        f"statuses may be: {', '.join(allowed)}."
    )
    return {**invalid(text, f"{kind}_unexpected_state"), kind: intent}


def check_amount(amount: int, currency: str) -> None:
    """Refuse what Stripe does not take (docs.stripe.com/currencies)."""
    if currency not in KNOWN:
        refuse(400, f"Invalid currency: {currency[:10]}.", "", "currency")
    if amount > MOST:
        refuse(400, "Amount must be no more than 999,999.99.", "amount_too_large", "amount")
    if amount < MINIMUMS.get(currency, MINIMUM):
        refuse(400, "Amount must convert to at least 50 cents.", "amount_too_small", "amount")
    if currency == "isk" and amount % 100:
        refuse(400, "Amount must be divisible by 100.", "invalid_charge_amount_no_decimal_compatible", "amount")
    if currency in THREE_DECIMALS and amount % 10:
        refuse(400, "Invalid integer: the last digit must be 0.", "parameter_invalid_integer", "amount")
