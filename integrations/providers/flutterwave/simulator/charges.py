"""Direct M-Pesa charges (sheet section 5) and the prompts on the phones, the hosted page's M-Pesa too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from integrations.providers.flutterwave.simulator import envelope
from integrations.providers.flutterwave.simulator.accounts import Merchant
from integrations.providers.flutterwave.simulator.envelope import BROKEN, M_PESA, error, refuse, success
from integrations.providers.flutterwave.simulator.ledger import FAILED, PENDING, SUCCESSFUL, shown
from integrations.providers.flutterwave.simulator.magic import CANCELLED, PAID, PIN, TIMED_OUT, plan_for
from integrations.simulators import Part, Prompt, SimReply, SimRequest, action, route
from integrations.simulators.wire import Json, digits

if TYPE_CHECKING:
    from integrations.providers.flutterwave.simulator.fake import FlutterwaveSimulator

KNOWN = frozenset(
    {"tx_ref", "amount", "currency", "email", "phone_number", "fullname", "network", "client_ip", "device_fingerprint", "meta"}
)
DUPLICATE = "Transaction Reference already exist. Try again in 2 minutes time to use the same ref for a new transaction"
DUPLICATE_SECONDS = 120.0
CALLBACK = ("charge_webhook", "authorize")
PROMPT_STATUS = {PENDING: "waiting", SUCCESSFUL: "paid", FAILED: "failed"}


class Charges(Part):
    """Every charge is a transaction of its own; a reference is free again after two minutes, as in reality."""

    def __init__(self, sim: FlutterwaveSimulator) -> None:
        self._sim = sim

    @route("POST", "/v3/charges", operation="authorize")
    def charge(self, request: SimRequest) -> SimReply:
        """Put a prompt on the phone, or the outcome that the number stands for. Only `type=mpesa` is simulated."""
        sim = self._sim
        merchant = sim.authorised(request)
        if request.query.get("type") != M_PESA:
            refuse("This charge type is not enabled for your account")
        data = envelope.body(request, KNOWN)
        tx_ref = envelope.text(data, "tx_ref", most=100)
        currency = envelope.currency_of(data)
        if currency != "KES":
            refuse("currency is invalid")
        minor = envelope.amount(data, currency)
        if minor % 100:
            refuse("amount must be a whole number")
        email = envelope.email(data)
        phone = envelope.text(data, "phone_number", most=50)
        if not re.fullmatch(r"\+?[0-9]+", phone):
            refuse("phone_number is invalid")
        name = envelope.text(data, "fullname", most=100, required=False)
        newest = next(iter(sim.ledger.transactions(merchant, tx_ref)), None)
        if newest and newest["created_at"] > sim.clock.now() - DUPLICATE_SECONDS:
            refuse(DUPLICATE)
        made = self.begin(merchant, tx_ref, minor, email, phone, name, envelope.meta(data))
        plan = plan_for(made["msisdn"])
        early = sim.take_fault(CALLBACK, "early_callback") is not None
        answer = success("Charge initiated", shown(made, merchant, verified=False))
        if early:
            self.settle(made, plan.result or "", early=request)
        request.cut = plan.cut
        return error(503, BROKEN) if sim.faults.take(sim.slug, (request.operation,), ("error_503_after",)) else answer

    def begin(self, merchant: Merchant, tx_ref: str, minor: int, email: str, phone: str, name: str, meta: Json | None) -> Json:
        """Store a pending M-Pesa transaction and plan how it ends if nobody answers its prompt."""
        sim, msisdn = self._sim, digits(phone)
        plan = plan_for(msisdn)
        made = sim.ledger.begin(
            merchant, tx_ref=tx_ref, amount=minor, currency="KES", payment_type=M_PESA, auth_model="LIPA_MPESA", meta=meta,
            msisdn=msisdn, silent=plan.silent, customer={"phone_number": phone, "name": name or "Anonymous", "email": email},
            automatic=plan.result is not None,
        )  # fmt: skip
        delay = sim.setting("prompt_timeout" if plan.result is None else "auto_delay")
        context = {"id": made["id"], "result": TIMED_OUT if plan.result is None else plan.result}
        sim.later("charge_settle", context, float(delay))
        return made

    @action("charge_settle")
    def settle_later(self, context: Json) -> None:
        """An automatic outcome, or the prompt's time is up."""
        found = self._sim.ledger.transaction(None, str(context["id"]))
        if found:
            self.settle(found, context["result"])

    def settle(self, transaction: Json, problem: str, *, early: SimRequest | None = None) -> None:
        """Give a pending transaction its final status, once: paid, or failed with the processor's text."""
        if transaction["status"] != PENDING:
            return
        if problem:
            self._sim.ledger.fail(transaction, problem)
        else:
            self._sim.ledger.succeed(transaction, PAID)
        self._sim.hooks.charge(transaction, early=early)

    # --- the phone

    def answer(self, prompt_id: str, action: str, pin: str) -> Json:
        """The phone's owner answers; KeyError for an unknown prompt, ValueError if it does not wait any more."""
        found = self._sim.ledger.transaction(None, prompt_id)
        if found is None or not found.get("msisdn"):
            raise KeyError(prompt_id)
        if found["status"] != PENDING or found["automatic"]:
            raise ValueError("this prompt was answered already")
        problem = {"cancel": CANCELLED, "timeout": TIMED_OUT}.get(action)
        if problem is None:
            problem = "" if pin == PIN else "The initiator information is invalid."
        self.settle(found, problem)
        return {"id": prompt_id, "status": PROMPT_STATUS[found["status"]], "message": found["processor_response"]}

    def prompts(self, number: str = "") -> list[Prompt]:
        """Return the newest prompts (of one phone if given), newest first."""
        sim = self._sim
        found = [each for each in sim.ledger.transactions() if each.get("msisdn") and number in ("", each["msisdn"])]
        return [
            Prompt(
                id=str(each["id"]), slug=sim.slug, msisdn=each["msisdn"], merchant=sim.merchant(each["account"]).name,
                account=each["tx_ref"], amount=each["amount"] // 100, currency="KES",
                status="automatic" if each["automatic"] and each["status"] == PENDING else PROMPT_STATUS[each["status"]],
                created_at=each["created_at"], expires_at=each["created_at"] + float(sim.setting("prompt_timeout")),
            )
            for each in found[:200]
        ]  # fmt: skip

    def numbers(self) -> list[str]:
        return list(dict.fromkeys(each["msisdn"] for each in self._sim.ledger.transactions() if each.get("msisdn")))
