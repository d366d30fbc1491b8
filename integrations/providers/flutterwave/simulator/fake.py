"""The simulated Flutterwave v3: what its parts share (keys, settings, control, phone). The API itself is in the parts."""

from __future__ import annotations

from pathlib import Path

from integrations.providers.flutterwave.simulator import accounts
from integrations.providers.flutterwave.simulator.accounts import Merchant
from integrations.providers.flutterwave.simulator.charges import Charges
from integrations.providers.flutterwave.simulator.checkout import Checkout
from integrations.providers.flutterwave.simulator.desk import Desk
from integrations.providers.flutterwave.simulator.envelope import BROKEN, error, refuse
from integrations.providers.flutterwave.simulator.hooks import Hooks
from integrations.providers.flutterwave.simulator.ledger import PENDING, SUCCESSFUL, Ledger, payment_id_of
from integrations.providers.flutterwave.simulator.magic import CANCELLED, DECLINED, GOOD_CARD, MAGIC, TIMED_OUT
from integrations.simulators import (
    Clock,
    DemoAccount,
    Part,
    Prompt,
    Refusal,
    Scheduler,
    SimReply,
    SimRequest,
    Simulator,
    Store,
    control,
)
from integrations.simulators.wire import Json


class FlutterwaveSimulator(Simulator):
    """Two merchants in test mode. Webhooks come after `webhook_delay`; three more tries `retry_interval` apart."""

    slug = "flutterwave"
    title = "Flutterwave"
    secret_headers = frozenset({"authorization", "cookie", "verif-hash"})
    settings = {
        "prompt_timeout": 60.0,
        "auto_delay": 1.0,
        "webhook_delay": 0.3,
        "retry_interval": 30.0,
        "refund_status": "completed",
        "refund_comments": True,
        "refund_list_heeds_days": True,
    }
    extra_faults = {"error_503_after": "M-Pesa charges, refunds: done, but answered 503 as after 28 seconds"}
    magic = MAGIC

    def __init__(self, store: Store, clock: Clock, scheduler: Scheduler, public_url: str) -> None:
        self.merchants = accounts.merchants(store.state_dir)
        self.ledger = Ledger(self.slug, store, clock)
        self.hooks = Hooks(self)
        self.charges = Charges(self)
        self.checkout = Checkout(self)
        self.desk = Desk(self)
        super().__init__(store, clock, scheduler, public_url)

    @classmethod
    def demo_accounts(cls, state_dir: Path) -> list[DemoAccount]:
        return accounts.demo_accounts(state_dir)

    def parts(self) -> list[Part]:
        return [self.hooks, self.charges, self.checkout, self.desk]

    def error_reply(self, status: int) -> SimReply:
        texts = {404: "Cannot find the requested resource", 405: "Method not allowed", 429: "Too many requests"}
        return error(status, texts.get(status, BROKEN))

    # --- access

    def authorised(self, request: SimRequest) -> Merchant:
        """Return whose secret key the request carries; 401 for a missing, live or unknown one."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            refuse("Authorization required", 401)
        found = next((each for each in self.merchants if each.secret_key == key), None)
        if found is None or not key.startswith("FLWSECK_TEST-"):
            refuse("Invalid authorization key", 401)
        return found

    def merchant(self, label: str) -> Merchant:
        """Return a merchant by label; KeyError."""
        found = next((each for each in self.merchants if each.label == label), None)
        if found is None:
            raise KeyError(label)
        return found

    # --- control

    @control("PUT", "/accounts/<label>")
    def change_account(self, request: SimRequest) -> Json:
        """Set `webhook_url`, `webhook_retries`, `webhook_meta`, `signature`, or `balances` {currency: minor units}."""
        merchant, data = self.merchant(request.params["label"]), request.data()
        for currency, minor in data.pop("balances", {}).items():
            if not isinstance(minor, int):
                raise ValueError("balances: minor units by currency")
            self.ledger.set_balance(merchant.label, currency, minor)
        self.hooks.change(merchant, data)
        return self._account_state(merchant)

    @control("POST", "/payer")
    def payer(self, request: SimRequest) -> Json:
        """`action` approve, fail or cancel on the newest link or prompt of `ref` (tx_ref, payment id or transaction id).

        Links: `card` (a test card), `again` pays a second time, `method: phone` with `phone` begins a prompt instead.
        `redirect` is where the browser would go.
        """
        data = request.data()
        ref, action = str(data.get("ref", "")), str(data.get("action", ""))
        waiting = next((each for each in self._transactions(ref) if each["status"] == PENDING), None)
        if waiting:
            problems = {"approve": "", "fail": DECLINED, "cancel": CANCELLED}
            if action not in problems:
                raise ValueError("action: approve, fail or cancel")
            self.charges.settle(waiting, problems[action])
            return {"transaction": waiting["id"], "status": waiting["status"], "redirect": ""}
        session = next(iter(self.checkout.sessions(ref)), None)
        if session is None:
            found = self._transactions(ref)
            if found:
                raise ValueError("this charge does not wait for the payer any more")
            raise KeyError(ref)
        if data.get("method") == "phone":
            made = self.checkout.pay_by_phone(session, str(data.get("phone", "")))
            return {"transaction": made["id"], "status": made["status"], "redirect": ""}
        card, again = str(data.get("card", GOOD_CARD)), data.get("again") is True
        url = self.checkout.act(session, action, card=card, again=again)
        newest = next(iter(self.checkout.tries(session)), None)
        return {
            "transaction": newest["id"] if newest else None,
            "status": newest["status"] if newest else "",
            "redirect": url,
        }

    @control("POST", "/dashboard")
    def dashboard(self, request: SimRequest) -> Json:
        """`action` refund (with `amount` in minor units, else all), fail_refund, settle_refund or expire."""
        data = request.data()
        ref, action = str(data.get("ref", "")), str(data.get("action", ""))
        found = self._transactions(ref)
        sessions = self.checkout.sessions(ref)
        if not found and not sessions:
            raise KeyError(ref)
        if action == "expire":
            for session in sessions:
                self.checkout.expire(session)
            for each in found:
                self.charges.settle(each, TIMED_OUT)
            return {"expired": len(sessions)}
        if action not in ("refund", "fail_refund", "settle_refund"):
            raise ValueError("Flutterwave's v3 dashboard can refund; a refund can fail or settle; a link can expire")
        paid = next((each for each in found if each["status"] == SUCCESSFUL), None)
        if paid is None:
            raise ValueError("nothing was paid")
        if action == "refund":
            minor = data.get("amount")
            if minor is not None and (not isinstance(minor, int) or minor <= 0):
                raise ValueError("amount: minor units")
            try:
                made = self.desk.give_back(paid, minor, str(data.get("reason", "")))
            except Refusal as refusal:
                raise ValueError(refusal.reply.json()["message"]) from refusal
            return {"refund": made["id"], "status": made["status"]}
        usable = "completed" if action == "fail_refund" else ""
        refund = next((each for each in self.ledger.refunds(transaction=paid) if self._may(each, usable)), None)
        if refund is None:
            raise ValueError("there is no such refund")
        if action == "fail_refund":
            self.desk.fail(refund)
        else:
            self.desk.settle(refund)
        return {"refund": refund["id"], "status": refund["status"]}

    @staticmethod
    def _may(refund: Json, done: str) -> bool:
        """Whether a refund may fail (also when done) or settle (while under way)."""
        running = refund["status"] in ("pending", "new")
        return running or (bool(done) and str(refund["status"]).startswith(done))

    @control("GET", "/money")
    def money(self, request: SimRequest) -> Json:
        """One row per transaction, and per link without one; ISO minor units."""
        rows = [
            {
                "ref": each["tx_ref"],
                "transaction": each["id"],
                "payment_id": payment_id_of(each),
                "currency": each["currency"],
                "asked": each["amount"],
                "held": 0,
                "captured": each["amount"] if each["status"] == SUCCESSFUL else 0,
                "refunded": each["refunded"],
                "disputed": 0,
            }
            for each in self.ledger.transactions()
        ]
        used = {row["ref"] for row in rows}
        for session in self.checkout.sessions():
            if session["tx_ref"] not in used:
                used.add(session["tx_ref"])
                rows.append(
                    {
                        "ref": session["tx_ref"],
                        "transaction": None,
                        "payment_id": payment_id_of(session),
                        "currency": session["currency"],
                        "asked": session["amount"],
                        **dict.fromkeys(("held", "captured", "refunded", "disputed"), 0),
                    }
                )
        return {"payments": rows}

    def _transactions(self, ref: str) -> list[Json]:
        """Return the transactions that a tx_ref, payment id or transaction id means, newest first."""
        one = self.ledger.transaction(None, ref)
        if one:
            return [one]
        return [each for each in self.ledger.transactions() if ref and ref in (each["tx_ref"], payment_id_of(each))]

    def state(self) -> Json:
        return {
            "accounts": [self._account_state(each) for each in self.merchants],
            "links": self.checkout.sessions(),
            "transactions": self.ledger.transactions()[:200],
            "refunds": self.ledger.refunds()[:200],
            "settings": self.all_settings(),
        }

    def _account_state(self, merchant: Merchant) -> Json:
        used = sorted({each["currency"] for each in self.ledger.transactions(merchant)} | {"KES"})
        balances = {currency: self.ledger.balance(merchant.label, currency) for currency in used}
        return {"label": merchant.label, "name": merchant.name, "balances": balances, **self.hooks.switches(merchant)}

    # --- the phone

    def prompts(self, number: str = "") -> list[Prompt]:
        return self.charges.prompts(number)

    def answer_prompt(self, prompt_id: str, action: str, pin: str) -> Json:
        return self.charges.answer(prompt_id, action, pin)

    def phone_numbers(self) -> list[str]:
        return self.charges.numbers()
