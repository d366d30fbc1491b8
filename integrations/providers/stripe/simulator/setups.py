"""SetupIntents, customers and payment methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.stripe.simulator import objects
from integrations.providers.stripe.simulator.answers import Executed, invalid, refuse
from integrations.providers.stripe.simulator.cards import CARDS, card_of
from integrations.providers.stripe.simulator.intents import OPEN, check_client, unexpected
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import Call, StripeSimulator


class Setups(Part):
    """A setup that succeeds attaches the card to its customer."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    # --- setup intents

    @route("POST", "/v1/setup_intents", operation="setup")
    def create(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow(
                "customer", "payment_method", "payment_method_types", "usage", "confirm", "return_url",
                "metadata", "description",
            )  # fmt: skip
            customer = params.text("customer") or None
            if customer:
                self._sim.find("customer", customer, call.account, "customer")
            usage = params.choice("usage", ("off_session", "on_session"), "off_session")
            setup = objects.setup_intent(
                call.account, self._sim.clock.now(), customer=customer, metadata=params.metadata(), usage=usage,
                payment_method_types=params.texts("payment_method_types") or ["card"],
                description=params.text("description") or None,
            )  # fmt: skip
            method = self.method_from(call)
            if method is not None:
                setup |= {"payment_method": method["id"], "status": "requires_confirmation"}
            self._sim.save(setup)
            self._sim.events.emit("setup_intent.created", setup, request)
            if params.boolean("confirm"):
                if method is None:
                    refuse(400, "You cannot confirm this SetupIntent because it's missing a payment method.",
                           "setup_intent_unexpected_state")  # fmt: skip
                self._confirm(setup, method, call)
            return setup

        return self._sim.write(request, run)

    @route("POST", "/v1/setup_intents/<id>/confirm", operation="pay")
    def confirm(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            call.params.allow("payment_method", "return_url", "client_secret", "use_stripe_sdk")
            setup = self._mine(call)
            if setup["status"] not in OPEN:
                raise Executed(unexpected(self._sim.render(setup), "confirm", OPEN))
            method = self.method_from(call)
            if method is None:
                refuse(400, "You cannot confirm this SetupIntent because it's missing a payment method.",
                       "setup_intent_unexpected_state")  # fmt: skip
            self._confirm(setup, method, call)
            return setup

        return self._sim.write(request, run, browser=True)

    @route("GET", "/v1/setup_intents", operation="setup_status")
    def listing(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            customer = call.params.allow("limit", "starting_after", "created", "customer").text("customer")
            return self._sim.listed(
                call, "setup_intent", "/v1/setup_intents", lambda each: not customer or each["customer"] == customer
            )

        return self._sim.read(request, run)

    @route("GET", "/v1/setup_intents/<id>", operation="setup_status")
    def one(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, self._mine, browser=True)

    @route("POST", "/v1/setup_intents/<id>/cancel", operation="setup_cancel")
    def cancel(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            call.params.allow("cancellation_reason")
            setup = self._mine(call)
            if setup["status"] not in OPEN:
                raise Executed(unexpected(self._sim.render(setup), "cancel", OPEN))
            setup |= {"status": "canceled", "next_action": None}
            self._sim.save(setup)
            self._sim.events.emit("setup_intent.canceled", setup, request)
            return setup

        return self._sim.write(request, run)

    def attempt(self, setup: Json, method: Json, cause: SimRequest | None, *, return_url: str) -> Json | None:
        """Store the card, or ask the payer to authenticate; return the error object of a decline."""
        card = CARDS[method["_alias"]]
        setup |= {"payment_method": method["id"], "last_setup_error": None}
        if card.authentication:
            setup |= {"status": "requires_action", "next_action": self.next_action(setup["id"], return_url)}
            self._sim.save(setup)
            self._sim.events.emit("setup_intent.requires_action", setup, cause)
            return None
        if card.decline and not card.attaches:
            code, decline, message = card.decline
            error: Json = {"type": "card_error", "code": code, "message": message, "payment_method": self._sim.render(method)}
            if decline:
                error["decline_code"] = decline
            self._fail(setup, error, cause)
            return error
        self._store(setup, method, cause)
        return None

    def authenticated(self, setup: Json, *, passed: bool) -> None:
        """The payer was at the bank's page; ValueError where the setup does not wait for that."""
        if setup["status"] != "requires_action":
            raise ValueError("this setup does not wait for authentication")
        method = self._sim.find("payment_method", setup["payment_method"], setup["_account"])
        if passed:
            self._store(setup, method, None)
            return
        text = "The provided PaymentMethod has failed authentication."
        error = invalid(text, "setup_intent_authentication_failure", payment_method=self._sim.render(method))
        self._fail(setup, error, None)

    def _confirm(self, setup: Json, method: Json, call: Call) -> None:
        error = self.attempt(setup, method, call.request, return_url=call.params.text("return_url"))
        if error is not None:
            raise Executed({**error, "setup_intent": self._sim.render(setup)}, 402)

    def _fail(self, setup: Json, error: Json, cause: SimRequest | None) -> None:
        setup |= {
            "status": "requires_payment_method", "payment_method": None, "next_action": None, "last_setup_error": error,
        }  # fmt: skip
        self._sim.save(setup)
        self._sim.events.emit("setup_intent.setup_failed", setup, cause)

    def _store(self, setup: Json, method: Json, cause: SimRequest | None) -> None:
        method |= {"customer": setup["customer"], "_stored": True}
        setup |= {"status": "succeeded", "next_action": None}
        self._sim.save(method)
        self._sim.save(setup)
        if method["customer"]:
            self._sim.events.emit("payment_method.attached", method, cause)
        self._sim.events.emit("setup_intent.succeeded", setup, cause)

    def _mine(self, call: Call) -> Json:
        setup = self._sim.find("setup_intent", call.request.params["id"], call.account, "intent")
        check_client(call, setup)
        return setup

    def next_action(self, ref: str, return_url: str) -> Json:
        """Return where the payer must go: a page where a return URL was given, else Stripe.js shows it."""
        if not return_url:
            return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        url = f"{self._sim.url}/authenticate/{ref}"
        return {"type": "redirect_to_url", "redirect_to_url": {"return_url": return_url, "url": url}}

    # --- customers

    @route("POST", "/v1/customers", operation="customer")
    def create_customer(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("email", "name", "phone", "description", "metadata")
            given = {name: params.text(name) or None for name in ("email", "name", "phone", "description")}
            made = objects.customer(call.account, self._sim.clock.now(), metadata=params.metadata(), **given)
            self._sim.save(made)
            self._sim.events.emit("customer.created", made, request)
            return made

        return self._sim.write(request, run)

    @route("GET", "/v1/customers/<id>", operation="customer")
    def customer(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._sim.find("customer", request.params["id"], call.account, "id"))

    @route("GET", "/v1/customers/<id>/payment_methods", operation="payment_methods")
    def methods_of(self, request: SimRequest) -> SimReply:
        ref = request.params["id"]

        def run(call: Call) -> Json:
            call.params.allow("limit", "starting_after", "type")
            self._sim.find("customer", ref, call.account, "customer")
            path = f"/v1/customers/{ref}/payment_methods"
            return self._sim.listed(call, "payment_method", path, lambda each: each["customer"] == ref)

        return self._sim.read(request, run)

    # --- payment methods

    def method_from(self, call: Call) -> Json | None:
        """Return the method that a request names by id, or by a test card's alias (which makes a real one); else None."""
        token = call.params.text("payment_method")
        if not token:
            return None
        card = card_of(token)
        if card is not None:
            return self._sim.save(objects.payment_method(call.account, self._sim.clock.now(), card))
        return self._sim.find("payment_method", token, call.account, "payment_method")

    @route("GET", "/v1/payment_methods/<id>", operation="payment_methods")
    def method(self, request: SimRequest) -> SimReply:
        return self._sim.read(
            request, lambda call: self._sim.find("payment_method", request.params["id"], call.account, "payment_method")
        )

    @route("POST", "/v1/payment_methods/<id>/attach", operation="attach")
    def attach(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            customer = call.params.allow("customer").text("customer", required=True)
            self._sim.find("customer", customer, call.account, "customer")
            card = card_of(request.params["id"])
            method = (
                self._sim.save(objects.payment_method(call.account, self._sim.clock.now(), card))
                if card
                else self._sim.find("payment_method", request.params["id"], call.account)
            )
            if card and card.decline and not card.attaches:
                code, decline, message = card.decline
                raise Executed({"type": "card_error", "code": code, "decline_code": decline or code, "message": message}, 402)
            if method["_used"] and not method["customer"]:
                refuse(400, "This PaymentMethod was previously used and may not be used again.")
            method["customer"] = customer
            return self._sim.save(method)

        return self._sim.write(request, run)

    @route("POST", "/v1/payment_methods/<id>/detach", operation="forget")
    def detach(self, request: SimRequest) -> SimReply:
        """Detach; the method can never be used again."""

        def run(call: Call) -> Json:
            call.params.allow()
            method = self._sim.find("payment_method", request.params["id"], call.account, "payment_method")
            if not method["customer"]:
                text = "The payment method you provided is not attached to a customer so detachment is impossible."
                raise Executed(invalid(text))
            method |= {"customer": None, "_used": True}
            self._sim.save(method)
            self._sim.events.emit("payment_method.detached", method, request)
            return method

        return self._sim.write(request, run)
