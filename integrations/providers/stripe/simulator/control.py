"""The control routes: what the payer's click, the merchant's dashboard, the bank and time do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.contracts.money import exponent
from integrations.providers.stripe.simulator import objects
from integrations.providers.stripe.simulator.answers import Executed
from integrations.providers.stripe.simulator.cards import card_of
from integrations.providers.stripe.simulator.intents import THREE_DECIMALS
from integrations.providers.stripe.simulator.pages import Pages
from integrations.providers.stripe.simulator.refunds import GONE
from integrations.simulators import Part, SimRequest, control
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import StripeSimulator

SWITCHES = {"webhook_url": str, "multicapture": bool, "charges_enabled": bool}
ZERO_DECIMALS = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
APPROVES, FAILS = "pm_card_visa", "pm_card_chargeDeclined"
TAKEN_AWAY = ("needs_response", "under_review", "lost")


class Desk(Part):
    """Refs are Stripe's ids or our payment's (setup's) id in the metadata."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim
        self._pages = Pages(sim)

    @control("PUT", "/accounts/<name>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url` (all events of the account), `multicapture`, `charges_enabled`."""
        account = next((each for each in self._sim.people if request.params["name"] in (each.label, each.id)), None)
        if account is None:
            raise KeyError(request.params["name"])
        changed = request.data()
        for name, value in changed.items():
            if not isinstance(value, SWITCHES.get(name, type(None))):
                raise ValueError(f"{name!r}: one of {', '.join(SWITCHES)}")
        return {"label": account.label, "id": account.id, **self._sim.events.set_up(account.id, changed)}

    @control("POST", "/payer")
    def payer(self, request: SimRequest) -> Json:
        """What a click does: `action` approve, fail or cancel; on the hub's page with `card`, one of the test cards."""
        data = request.data()
        thing, action = self._thing(str(data.get("ref", ""))), str(data.get("action", ""))
        if action not in ("approve", "fail", "cancel"):
            raise ValueError("action is one of approve, fail, cancel")
        back = ""
        if thing["status"] == "requires_action":
            back = self._pages.decide(thing, passed=action == "approve")
        elif thing["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise ValueError(f"this does not wait for the payer: {thing['status']}")
        elif action != "cancel":  # who leaves the page leaves everything as it is
            self._pay(
                thing, str(data.get("card") or (APPROVES if action == "approve" else FAILS)), str(data.get("return_url", ""))
            )
        return {"ref": thing["id"], "status": thing["status"], "redirect": back}

    def _pay(self, thing: Json, token: str, return_url: str) -> None:
        card = card_of(token)
        if card is None:
            raise ValueError(f"no such test card: {token}")
        method = self._sim.save(objects.payment_method(thing["_account"], self._sim.clock.now(), card))
        if thing["object"] == "setup_intent":
            self._sim.setups.attempt(thing, method, None, return_url=return_url)
        else:
            self._sim.intents.attempt(thing, method, None, off_session=False, return_url=return_url)

    @control("POST", "/dashboard")
    def dashboard(self, request: SimRequest) -> Json:
        """What the merchant, the bank or time does; `amount` in ISO minor units."""
        data = request.data()
        intent, action = self._thing(str(data.get("ref", ""))), str(data.get("action", ""))
        if intent["object"] != "payment_intent":
            raise ValueError("only payments have a dashboard page here")
        given = data.get("amount")
        amount = self._units(int(given), intent["currency"]) if given not in (None, "") else None
        try:
            self._do(action, intent, amount)
        except Executed as refused:
            raise ValueError(refused.reply.json()["error"]["message"]) from None
        return {"ref": intent["id"], "status": self._thing(intent["id"])["status"]}

    def _do(self, action: str, intent: Json, amount: int | None) -> None:
        sim = self._sim
        match action:
            case "capture":
                several = sim.events.setup(intent["_account"])["multicapture"]
                sim.intents.take(intent, intent["amount_capturable"] if amount is None else amount, final=not several)
            case "void":
                sim.intents.release(intent, "requested_by_customer")
            case "expire":
                if intent["status"] != "requires_capture":
                    raise ValueError("there is no hold that could lapse")
                sim.intents.release(intent, "automatic")
            case "refund":
                charge = self._charge(intent)
                sim.refunds.give_back(charge, sim.refunds.left(charge) if amount is None else amount)
            case "fail_refund":
                sim.refunds.fail(self._newest_refund(intent))
            case "settle_refund":
                sim.refunds.settle(self._newest_refund(intent))
            case "dispute":
                charge = self._charge(intent)
                sim.refunds.open(charge, int(charge["amount_captured"]) if amount is None else amount)
            case "dispute_won" | "dispute_lost":
                sim.refunds.close(self._charge(intent), won=action == "dispute_won")
            case _:
                raise ValueError(f"unknown action {action!r}")

    @control("GET", "/money")
    def money(self, request: SimRequest) -> Json:
        """Return one row for each payment, in ISO minor units."""
        return {"payments": [self._row(each) for each in reversed(self._sim.all("payment_intent"))]}

    def _row(self, intent: Json) -> Json:
        account = intent["_account"]
        refunds = [
            each["amount"]
            for each in self._sim.all("refund", account)
            if each["payment_intent"] == intent["id"] and not each["_release"] and each["status"] not in GONE
        ]
        disputes = [
            each["amount"]
            for each in self._sim.all("dispute", account)
            if each["payment_intent"] == intent["id"] and each["status"] in TAKEN_AWAY
        ]
        sums = {
            "asked": intent["amount"], "held": intent["amount_capturable"], "captured": intent["amount_received"],
            "refunded": sum(refunds), "disputed": sum(disputes),
        }  # fmt: skip
        return {
            "ref": intent["id"], "payment_id": intent["metadata"].get("payment_id", ""), "currency": intent["currency"].upper(),
            **{name: self._minor(value, intent["currency"]) for name, value in sums.items()},
        }  # fmt: skip

    # --- pieces

    def _thing(self, ref: str) -> Json:
        for kind in ("payment_intent", "setup_intent"):
            found = self._sim.store.get(self._sim.slug, kind, ref)
            if found:
                return found
            for each in self._sim.all(kind):
                if ref and ref in (each["metadata"].get("payment_id"), each["metadata"].get("setup_id")):
                    return each
        raise KeyError(ref)

    def _charge(self, intent: Json) -> Json:
        if not intent["latest_charge"] or not intent["amount_received"]:
            raise ValueError("nothing was captured of this payment")
        return self._sim.find("charge", intent["latest_charge"], intent["_account"])

    def _newest_refund(self, intent: Json) -> Json:
        for each in self._sim.all("refund", intent["_account"]):
            if each["payment_intent"] == intent["id"] and not each["_release"]:
                return each
        raise ValueError("this payment has no refund")

    def _decimals(self, currency: str) -> int:
        if currency == "ugx":
            return int(self._sim.setting("ugx_decimals"))
        return 0 if currency in ZERO_DECIMALS else 3 if currency in THREE_DECIMALS else 2

    def _minor(self, units: int, currency: str) -> int:
        return _scaled(units, exponent(currency.upper()) - self._decimals(currency))

    def _units(self, minor: int, currency: str) -> int:
        return _scaled(minor, self._decimals(currency) - exponent(currency.upper()))


def _scaled(amount: int, digits: int) -> int:
    factor: int = 10 ** abs(digits)
    return amount * factor if digits >= 0 else amount // factor
