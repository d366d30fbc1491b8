"""C2B: URL registration, simulate, validation and confirmation (sheet section 9), and the pay form on the phone."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from integrations.providers.mpesa.simulator.accounts import Organisation
from integrations.providers.mpesa.simulator.envelope import (
    JSON_TYPE,
    invalid,
    new_request_id,
    refuse,
    reply,
    stamp,
)
from integrations.providers.mpesa.simulator.ledger import PAYMENT, money, person
from integrations.providers.mpesa.simulator.magic import PIN
from integrations.providers.mpesa.simulator.rules import MSISDN, Fields, whole
from integrations.providers.mpesa.simulator.stk import wrong
from integrations.simulators import CallbackReply, CustomerForm, FormField, Part, SimReply, SimRequest, on_reply, route
from integrations.simulators.wire import Json, digits

if TYPE_CHECKING:
    from integrations.providers.mpesa.simulator.fake import MpesaSimulator

SETUP = "setup"
HIGHEST = 250_000
COMMANDS = {"paybill": "CustomerPayBillOnline", "till": "CustomerBuyGoodsOnline"}
KINDS = {"paybill": "Pay Bill", "till": "Buy Goods"}
CONFIRMATION = ("c2b_confirmation", "c2b")
VALIDATION = ("c2b_validation", "c2b")


class CustomerDesk(Part):
    """Money that customers send by themselves. With validation enabled and registered, the hub is asked first."""

    def __init__(self, sim: MpesaSimulator) -> None:
        self._sim = sim

    @route("POST", "/mpesa/c2b/v1/registerurl", operation="c2b_register")
    @route("POST", "/mpesa/c2b/v2/registerurl", operation="c2b_register")
    def register(self, request: SimRequest) -> SimReply:
        """Store the URLs. v1 then sends the payer's number hashed, v2 masked."""
        owner = self._sim.authorised(request)
        fields = Fields.of(request)
        organisation = self._own(owner, fields, "ShortCode")
        data = {
            "version": 1 if "/v1/" in request.path else 2,
            "response_type": fields.choice("ResponseType", ("Completed", "Cancelled")),
            "confirmation": fields.url("ConfirmationURL"),
            "validation": fields.url("ValidationURL"),
        }
        if self._sim.setting("register_once") and self.registration(organisation):
            refuse("500.003.1001", "Duplicate notification info: URLs are already registered")
        self._sim.store.put(self._sim.slug, SETUP, f"urls {organisation.shortcode}", data)
        return self._accepted()

    @route("POST", "/mpesa/c2b/v1/simulate", operation="c2b_simulate")
    @route("POST", "/mpesa/c2b/v2/simulate", operation="c2b_simulate")
    def simulate(self, request: SimRequest) -> SimReply:
        """The sandbox's own way to send money."""
        owner = self._sim.authorised(request)
        fields = Fields.of(request)
        organisation = self._own(owner, fields, "ShortCode")
        fields.choice("CommandID", (COMMANDS[organisation.product],))
        amount = fields.amount("Amount", 1, HIGHEST)
        msisdn = fields.msisdn("Msisdn")
        shortest = 1 if organisation.product == "paybill" else 0
        account = fields.text("BillRefNumber", shortest, 20)
        self.pay(organisation, amount, msisdn, account, "")
        return self._accepted()

    def pay(self, organisation: Organisation, amount: int, msisdn: str, account: str, name: str) -> Json:
        """Start a payment (`amount` in shillings); return its document, status `validating` or `completed`."""
        sim = self._sim
        urls = self.registration(organisation)
        receipt = sim.ledger.free_receipt()
        payment = {
            "receipt": receipt, "shortcode": organisation.shortcode, "amount": amount, "msisdn": msisdn, "account": account,
            "name": name, "at": sim.clock.now(), "status": "validating", "third_party_id": "",
        }  # fmt: skip
        self._save(payment)
        if not urls or not sim.switch(organisation, "validation_enabled"):
            self._complete(payment, organisation)
            return payment
        body = json.dumps(self._body(organisation, payment, urls["version"], balance=""))
        sim.callback(
            VALIDATION, urls["validation"], body, {"Content-Type": JSON_TYPE}, timeout=sim.setting("validation_timeout"),
            reply_to="c2b_validated", context={"receipt": receipt},
        )  # fmt: skip
        return payment

    @on_reply("c2b_validated")
    def validated(self, context: Json, answer: CallbackReply | None) -> None:
        """Anything but 0 in a 200 cancels; no usable answer leaves it to the registered ResponseType."""
        payment = self._sim.store.get(self._sim.slug, PAYMENT, context["receipt"])
        organisation = self._sim.organisation(payment["shortcode"]) if payment else None
        if payment is None or organisation is None or payment["status"] != "validating":
            return
        verdict = _verdict(answer)
        if verdict is None:
            urls = self.registration(organisation) or {"response_type": "Completed"}
            accepted = urls["response_type"] == "Completed"
        else:
            accepted = str(verdict.get("ResultCode")) == "0"
            payment["third_party_id"] = str(verdict.get("ThirdPartyTransID") or "") if accepted else ""
        if accepted:
            self._complete(payment, organisation)
        else:
            payment["status"] = "rejected"
            self._save(payment)

    def confirm(self, organisation: Organisation, entry: Json, *, lost: bool = False) -> None:
        """Tell the registered confirmation URL of settled money (C2B or STK); nothing if none is registered."""
        urls = self.registration(organisation)
        if not urls:
            return
        sim = self._sim
        wrong_amount = sim.take_fault(CONFIRMATION, "wrong_amount") is not None
        shown = {**entry, "amount": wrong(entry["amount"])} if wrong_amount else entry
        balance = money(sim.ledger.balances(organisation)["working"])
        body = json.dumps(self._body(organisation, shown, urls["version"], balance=balance))
        delay = sim.setting("callback_delay")
        sim.callback(CONFIRMATION, urls["confirmation"], body, {"Content-Type": JSON_TYPE}, delay=delay, lost=lost)

    def registration(self, organisation: Organisation) -> Json | None:
        """Return the registered URLs, None before any registration."""
        return self._sim.store.get(self._sim.slug, SETUP, f"urls {organisation.shortcode}")

    def forms(self) -> list[CustomerForm]:
        choices = tuple((each.shortcode, f"{each.shortcode} · {each.name}") for each in self._sim.organisations)
        fields = (
            FormField("shortcode", "Business or till number", choices=choices),
            FormField("bill_ref", "Account number (paybill)", required=False),
            FormField("amount", "Amount (KES)", inputmode="numeric"),
            FormField("pin", f"PIN ({PIN})", inputmode="numeric"),
        )
        return [CustomerForm("c2b", "Lipa na M-Pesa: pay bill or buy goods", "Pay", fields)]

    def submit(self, data: Json) -> Json:
        """Pay from the phone or by control: shortcode, amount, msisdn, bill_ref, name?, pin? ValueError if refused."""
        organisation = self._sim.organisation(str(data.get("shortcode", "")))
        amount, msisdn = whole(data.get("amount")), digits(str(data.get("msisdn", "")))
        account = str(data.get("bill_ref") or "")
        if organisation is None:
            raise ValueError("there is no such business or till number")
        if amount is None or not 1 <= amount <= HIGHEST:
            raise ValueError(f"the amount is a whole number from 1 to {HIGHEST}")
        if not MSISDN.fullmatch(msisdn):
            raise ValueError("the phone number is not a Kenyan mobile number")
        if organisation.product == "paybill" and not 1 <= len(account) <= 20:
            raise ValueError("the account number has 1 to 20 characters")
        if str(data.get("pin") or PIN) != PIN:
            raise ValueError("wrong PIN")
        payment = self.pay(organisation, amount, msisdn, account, str(data.get("name") or ""))
        message = f"Sent, {payment['receipt']}." if payment["status"] == "completed" else "Sent; you will get a confirmation."
        return {"TransID": payment["receipt"], "status": payment["status"], "message": message}

    def _complete(self, payment: Json, organisation: Organisation) -> None:
        sim = self._sim
        payment["status"] = "completed"
        self._save(payment)
        entry = sim.ledger.record(
            "c2b", organisation, payment["msisdn"], payment["amount"], payment["account"],
            receipt=payment["receipt"], name=payment["name"], third_party_id=payment["third_party_id"],
        )  # fmt: skip
        sim.ledger.move(organisation, "working", payment["amount"] * 100)
        self.confirm(organisation, entry)

    def _body(self, organisation: Organisation, payment: Json, version: int, *, balance: str) -> Json:
        given = str(payment.get("name") or person(payment["msisdn"])[0]).split()
        return {
            "TransactionType": KINDS[organisation.product],
            "TransID": payment["receipt"],
            "TransTime": stamp(payment["at"]),
            "TransAmount": f"{payment['amount']}.00",
            "BusinessShortCode": organisation.shortcode,
            "BillRefNumber": payment["account"],
            "InvoiceNumber": "",
            "OrgAccountBalance": balance,
            "ThirdPartyTransID": payment.get("third_party_id", ""),
            "MSISDN": shown_msisdn(payment["msisdn"], version),
            "FirstName": given[0].upper(),
            "MiddleName": "",
            "LastName": "",
        }

    def _own(self, owner: Organisation, fields: Fields, name: str) -> Organisation:
        return owner if fields.code(name) in owner.codes else invalid(name)

    def _accepted(self) -> SimReply:
        # The misspelt key is the real one.
        return reply({"OriginatorCoversationID": new_request_id(), "ResponseCode": "0", "ResponseDescription": "Success"})

    def _save(self, payment: Json) -> None:
        self._sim.store.put(self._sim.slug, PAYMENT, payment["receipt"], payment, ref=payment["msisdn"])


def shown_msisdn(msisdn: str, version: int) -> str:
    """Return how C2B shows a payer: v1 SHA-256 in lower-case hex (unconfirmed), v2 masked."""
    return hashlib.sha256(msisdn.encode()).hexdigest() if version == 1 else f"{msisdn[:4]} ***** {msisdn[-3:]}"


def _verdict(answer: CallbackReply | None) -> Json | None:
    if answer is None or answer.status != 200:
        return None
    try:
        return answer.json()
    except ValueError:
        return None
