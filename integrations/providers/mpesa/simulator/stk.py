"""STK push and STK query (sheet sections 6 to 8), and the prompts on the phones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from integrations.providers.mpesa.simulator.accounts import Organisation
from integrations.providers.mpesa.simulator.envelope import (
    JSON_TYPE,
    error,
    invalid,
    new_checkout_id,
    new_request_id,
    refuse,
    reply,
    stamp,
    text_of,
)
from integrations.providers.mpesa.simulator.magic import PIN, SANDBOX_NUMBER, plan_for
from integrations.providers.mpesa.simulator.rules import Fields, stk_password
from integrations.simulators import Part, Prompt, SimReply, SimRequest, action, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.mpesa.simulator.fake import MpesaSimulator

PUSH = "push"
LOWEST, HIGHEST = 1, 250_000
DESCRIPTION_LIMIT = 182
CALLBACK = ("stk_callback", "stk_push")
WAITING, AUTOMATIC, PAID, FAILED = "waiting", "automatic", "paid", "failed"
BY_ACTION = {"cancel": "1032", "timeout": "1037"}
TYPES = {"paybill": "CustomerPayBillOnline", "till": "CustomerBuyGoodsOnline"}
PENDING = "4999"


class StkDesk(Part):
    """Every accepted push is a document by CheckoutRequestID; identical pushes are two pushes."""

    def __init__(self, sim: MpesaSimulator) -> None:
        self._sim = sim

    @route("POST", "/mpesa/stkpush/v1/processrequest", operation="stk_push")
    def push(self, request: SimRequest) -> SimReply:
        """Accept a push: a prompt on the phone, or the outcome that the number stands for."""
        sim = self._sim
        owner = sim.authorised(request)
        fields = Fields.of(request)
        code, timestamp = fields.code("BusinessShortCode"), fields.timestamp("Timestamp")
        kind = fields.choice("TransactionType", TYPES.values())
        amount = fields.amount("Amount", LOWEST, HIGHEST)
        msisdn = fields.msisdn("PhoneNumber")
        fields.msisdn("PartyA")
        receiver = fields.code("PartyB")
        url = fields.url("CallBackURL")
        reference = fields.text("AccountReference", 1, 12)
        description = fields.text("TransactionDesc", 0, 4000)
        organisation = self._merchant(owner, fields, code, timestamp)
        if kind != TYPES[organisation.product]:
            invalid("TransactionType")
        if receiver != organisation.shortcode:
            invalid("PartyB")
        plan = plan_for(msisdn)
        if plan.refusal:
            refuse(*plan.refusal)
        now = sim.clock.now()
        checkout = new_checkout_id(now, msisdn)
        while sim.store.get(sim.slug, PUSH, checkout) is not None:
            checkout = new_checkout_id(now, msisdn)
        merchant_id = new_request_id()
        outcome = "1025" if len(description) > DESCRIPTION_LIMIT else plan.code
        push = {
            "checkout": checkout, "merchant_id": merchant_id, "shortcode": organisation.shortcode, "code": code,
            "msisdn": msisdn, "amount": amount, "reference": reference, "url": url, "status": AUTOMATIC if outcome else WAITING,
            "result": "", "receipt": "", "created_at": now, "expires_at": now + sim.setting("stk_timeout"), "polls": 0,
        }  # fmt: skip
        self._save(push)
        sim.ledger.link(PUSH, checkout, checkout, merchant_id)
        if plan.early or sim.take_fault(CALLBACK, "early_callback"):
            self._settle(push, outcome or "0", request)
        elif outcome:
            delay = sim.setting("stk_timeout" if msisdn == SANDBOX_NUMBER else "auto_delay")
            sim.later("stk_settle", {"checkout": checkout, "result": outcome}, delay)
        else:
            sim.later("stk_settle", {"checkout": checkout, "result": "1037"}, sim.setting("stk_timeout"))
        request.cut = plan.cut
        return reply(
            {
                "MerchantRequestID": merchant_id,
                "CheckoutRequestID": checkout,
                "ResponseCode": "0",
                "ResponseDescription": "Success. Request accepted for processing",
                "CustomerMessage": "Success. Request accepted for processing",
            }
        )

    @route("POST", "/mpesa/stkpushquery/v1/query", operation="stk_query")
    def query(self, request: SimRequest) -> SimReply:
        """Tell how a push stands: 4999 until it is settled. The wording (three s) is the real one."""
        sim = self._sim
        owner = sim.authorised(request)
        fields = Fields.of(request)
        code, timestamp = fields.code("BusinessShortCode"), fields.timestamp("Timestamp")
        checkout = fields.text("CheckoutRequestID", 1, 100)
        organisation = self._merchant(owner, fields, code, timestamp)
        push = sim.store.get(sim.slug, PUSH, checkout)
        if push is None or push["shortcode"] != organisation.shortcode:
            refuse("500.001.1001", "The transaction does not Exist")
        push["polls"] += 1
        self._save(push)
        if push["result"] and push["polls"] <= plan_for(push["msisdn"]).busy_polls:
            return error("500.001.1001", "The transaction is being processed")
        result = push["result"] or PENDING
        return reply(
            {
                "ResponseCode": "0",
                "ResponseDescription": "The service request has been accepted successsfully",
                "MerchantRequestID": push["merchant_id"],
                "CheckoutRequestID": checkout,
                "ResultCode": result,
                "ResultDesc": text_of(result),
            }
        )

    @action("stk_settle")
    def settle_later(self, context: Json) -> None:
        """An automatic outcome, or the prompt's time is up."""
        push = self._sim.store.get(self._sim.slug, PUSH, context["checkout"])
        if push:
            self._settle(push, context["result"], None)

    def answer(self, checkout: str, action: str, pin: str) -> Json:
        """The phone's owner answers; KeyError for an unknown prompt, ValueError if it does not wait any more."""
        push = self._sim.store.get(self._sim.slug, PUSH, checkout)
        if push is None:
            raise KeyError(checkout)
        if push["status"] != WAITING:
            raise ValueError("this prompt was answered already")
        result = BY_ACTION.get(action) or ("0" if pin == PIN else "2001")
        self._settle(push, result, None)
        return {"id": checkout, "status": push["status"], "result_code": result, "message": text_of(result)}

    def prompts(self, msisdn: str = "") -> list[Prompt]:
        """Return the newest prompts (of one phone if given), newest first."""
        found = []
        for push in self.pushes(msisdn):
            organisation = self._sim.organisation(push["shortcode"])
            merchant = organisation.name if organisation else push["shortcode"]
            found.append(
                Prompt(
                    id=push["checkout"], slug=self._sim.slug, msisdn=push["msisdn"], merchant=merchant,
                    account=push["reference"], amount=push["amount"], currency="KES", status=push["status"],
                    created_at=push["created_at"], expires_at=push["expires_at"],
                )
            )  # fmt: skip
        return found

    def pushes(self, msisdn: str = "") -> list[Json]:
        """Return the newest 200 pushes (of one phone if given), newest first."""
        return [found.data for found in self._sim.store.find(self._sim.slug, PUSH, msisdn or None)]

    def numbers(self) -> list[str]:
        return self._sim.store.refs(self._sim.slug, PUSH)

    def _merchant(self, owner: Organisation, fields: Fields, code: str, timestamp: str) -> Organisation:
        """Return whose short code and password these are; the app's token must be of the same organisation."""
        organisation = self._sim.organisation(code)
        if organisation is None or organisation != owner or code != organisation.business_code:
            refuse("500.001.1001", "Merchant does not exist")
        if fields.data.get("Password") != stk_password(code, organisation.passkey, timestamp):
            refuse("500.001.1001", "[MerchantValidate] - Wrong credentials")
        return organisation

    def _save(self, push: Json) -> None:
        self._sim.store.put(self._sim.slug, PUSH, push["checkout"], push, ref=push["msisdn"])

    def _settle(self, push: Json, result: str, early: SimRequest | None) -> None:
        """Give a push its final result, once: book the money, send the callback and the C2B confirmation."""
        if push["result"]:
            return
        sim, plan = self._sim, plan_for(push["msisdn"])
        push["result"] = result
        push["status"] = PAID if result == "0" else FAILED
        organisation = sim.organisation(push["shortcode"])
        entry: Json | None = None
        if result == "0" and organisation:
            entry = sim.ledger.record(
                "stk", organisation, push["msisdn"], push["amount"], push["reference"],
                checkout=push["checkout"], merchant_id=push["merchant_id"],
            )  # fmt: skip
            sim.ledger.move(organisation, "working", push["amount"] * 100)
            push["receipt"] = entry["receipt"]
        self._save(push)
        delay = 0.0 if early else sim.setting("callback_delay") + (sim.setting("late_delay") if plan.late else 0.0)
        wrong = plan.wrong_amount or (entry is not None and sim.take_fault(CALLBACK, "wrong_amount") is not None)
        headers = {"Content-Type": JSON_TYPE, "BusinessShortCode": push["code"]}
        body = json.dumps(callback_body(push, entry, wrong_amount=wrong))
        sim.callback(CALLBACK, push["url"], body, headers, delay=delay, early=early, lost=plan.lost, copies=plan.copies)
        if entry and organisation:
            sim.customers.confirm(organisation, entry, lost=plan.lost)


def wrong(amount: int) -> int:
    """Return the amount that a faulty callback names."""
    return amount - 1 if amount > 1 else 2


def callback_body(push: Json, entry: Json | None, *, wrong_amount: bool = False) -> Json:
    """Return the body of an STK callback; without a transaction it has no CallbackMetadata."""
    body: dict[str, Any] = {
        "MerchantRequestID": push["merchant_id"],
        "CheckoutRequestID": push["checkout"],
        "ResultCode": int(push["result"]),
        "ResultDesc": text_of(push["result"]),
    }
    if entry:
        amount = wrong(entry["amount"]) if wrong_amount else entry["amount"]
        body["CallbackMetadata"] = {
            "Item": [
                {"Name": "Amount", "Value": float(amount)},
                {"Name": "MpesaReceiptNumber", "Value": entry["receipt"]},
                {"Name": "Balance"},
                {"Name": "TransactionDate", "Value": int(stamp(entry["at"]))},
                {"Name": "PhoneNumber", "Value": int(entry["msisdn"])},
            ]
        }
    return {"Body": {"stkCallback": body}}
