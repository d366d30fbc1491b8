"""B2C, transaction status, reversal, account balance: accepted at once, outcome at the ResultURL (sheet sections 10 to 12)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from integrations.providers.mpesa.simulator.accounts import Organisation, decrypted
from integrations.providers.mpesa.simulator.envelope import (
    JSON_TYPE,
    invalid,
    key_values,
    local,
    new_conversation_id,
    new_request_id,
    placeholder,
    refuse,
    reply,
    stamp,
    text_of,
)
from integrations.providers.mpesa.simulator.ledger import money, public_name
from integrations.providers.mpesa.simulator.magic import plan_for
from integrations.providers.mpesa.simulator.rules import Fields
from integrations.providers.mpesa.simulator.status import status_parameters
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.mpesa.simulator.fake import MpesaSimulator

B2C_LOWEST, B2C_HIGHEST = 10, 250_000
B2C_COMMANDS = ("BusinessPayment", "SalaryPayment", "PromotionPayment")
B2C_ID = "b2c id"
QUEUE_TIMEOUT_URL = "https://internalsandbox.safaricom.co.ke/mpesa/b2cresults/v1/submit"


@dataclass(slots=True)
class Outcome:
    """How a request ended. `how`: '', or `timeout`, `lost`, `twice`, `drop`; `receipt` of the transaction it made."""

    code: str
    parameters: list[tuple[str, Any]] = field(default_factory=list)
    receipt: str = ""
    how: str = ""
    reference: Json = field(default_factory=lambda: {"Key": "QueueTimeoutURL", "Value": QUEUE_TIMEOUT_URL})


class InitiatorDesk(Part):
    """All four share credential check, acknowledgement, result envelope and faults. The effect is booked on acceptance."""

    def __init__(self, sim: MpesaSimulator) -> None:
        self._sim = sim

    @route("POST", "/mpesa/b2c/v1/paymentrequest", operation="b2c")
    @route("POST", "/mpesa/b2c/v3/paymentrequest", operation="b2c")
    def b2c(self, request: SimRequest) -> SimReply:
        """v3 refuses a used OriginatorConversationID; v1 has none and so no protection."""
        owner, fields = self._read(request)
        keyed = "/v3/" in request.path
        own_id = fields.text("OriginatorConversationID", 1, 100) if keyed else new_request_id()
        initiator = fields.text("InitiatorName", 1, 100)
        fields.choice("CommandID", B2C_COMMANDS)
        amount = fields.amount("Amount", B2C_LOWEST, B2C_HIGHEST)
        organisation = self._own(owner, fields, "PartyA")
        msisdn = fields.msisdn("PartyB")
        fields.text("Remarks", 2, 100)
        fields.text("Occassion" if keyed else "Occasion", 0, 100)
        key = f"{organisation.shortcode} {own_id}"
        if self._sim.store.get(self._sim.slug, B2C_ID, key) is not None:
            refuse("500.002.1001", "Duplicate OriginatorConversationID.")
        self._sim.store.put(self._sim.slug, B2C_ID, key, {"amount": amount})

        def act() -> Outcome:
            return self._pay_out(organisation, msisdn, amount)

        return self._run(request, "b2c", organisation, fields, initiator, own_id, act)

    @route("POST", "/mpesa/transactionstatus/v1/query", operation="transaction_status")
    def transaction_status(self, request: SimRequest) -> SimReply:
        """By receipt, or by a conversation id. Also takes an STK push's MerchantRequestID or CheckoutRequestID (own rule)."""
        owner, fields = self._read(request)
        initiator = fields.text("Initiator", 1, 100)
        fields.choice("CommandID", ("TransactionStatusQuery",))
        fields.choice("IdentifierType", ("1", "2", "4"))
        organisation = self._own(owner, fields, "PartyA")
        fields.text("Remarks", 0, 100)
        receipt = fields.text("TransactionID", 0, 20)
        conversation = fields.text("OriginalConversationID", 0, 100)
        if not receipt and not conversation:
            invalid("TransactionID")

        def act() -> Outcome:
            found = status_parameters(self._sim, organisation, receipt, conversation)
            # Which code real M-Pesa gives for an unknown id is unconfirmed; this one is documented for reversals.
            return Outcome("R000002") if found is None else Outcome("0", found, reference={"Key": "Occasion"})

        return self._run(request, "transaction_status", organisation, fields, initiator, new_request_id(), act)

    @route("POST", "/mpesa/reversal/v1/request", operation="reversal")
    def reversal(self, request: SimRequest) -> SimReply:
        """Gives back one received payment, once. B2C payments are refused by the result."""
        owner, fields = self._read(request)
        initiator = fields.text("Initiator", 1, 100)
        fields.choice("CommandID", ("TransactionReversal",))
        receipt = fields.text("TransactionID", 1, 20)
        amount = fields.amount("Amount", 1, 1_000_000)
        organisation = self._own(owner, fields, "ReceiverParty")
        fields.choice("RecieverIdentifierType", ("11",))
        fields.text("Remarks", 2, 100)
        fields.text("Occasion", 0, 100)

        def act() -> Outcome:
            return self._reverse(organisation, receipt, amount)

        return self._run(request, "reversal", organisation, fields, initiator, new_request_id(), act)

    @route("POST", "/mpesa/accountbalance/v1/query", operation="account_balance")
    def account_balance(self, request: SimRequest) -> SimReply:
        """Three accounts, joined by `&` with fields by `|`."""
        owner, fields = self._read(request)
        initiator = fields.text("Initiator", 1, 100)
        fields.choice("CommandID", ("AccountBalance",))
        fields.choice("IdentifierType", ("1", "2", "4"))
        organisation = self._own(owner, fields, "PartyA")
        fields.text("Remarks", 0, 100)

        def act() -> Outcome:
            balances = self._sim.ledger.balances(organisation)
            accounts = "&".join(
                f"{name}|KES|{money(balances[key])}|{money(balances[key])}|0.00|0.00"
                for name, key in (
                    ("Working Account", "working"),
                    ("Utility Account", "utility"),
                    ("Charges Paid Account", "charges"),
                )
            )
            return Outcome("0", [("AccountBalance", accounts), ("BOCompletedTime", int(stamp(self._sim.clock.now())))])

        return self._run(request, "account_balance", organisation, fields, initiator, new_request_id(), act)

    # --- what they share

    def _read(self, request: SimRequest) -> tuple[Organisation, Fields]:
        owner = self._sim.authorised(request)
        return owner, Fields.of(request)

    def _own(self, owner: Organisation, fields: Fields, name: str) -> Organisation:
        return owner if fields.code(name) in owner.codes else invalid(name)

    def _run(
        self,
        request: SimRequest,
        operation: str,
        organisation: Organisation,
        fields: Fields,
        initiator: str,
        own_id: str,
        act: Callable[[], Outcome],
    ) -> SimReply:
        sim, now = self._sim, self._sim.clock.now()
        result_url, timeout_url = fields.url("ResultURL"), fields.url("QueueTimeOutURL")
        credential = fields.text("SecurityCredential", 1, 2000)
        conversation = new_conversation_id(now)
        outcome = self._credential_problem(organisation, initiator, credential) or act()
        kind = "transaction" if outcome.receipt else "failed"
        if operation in ("b2c", "reversal"):
            more = {"operation": operation, "shortcode": organisation.shortcode, "at": now, "result": outcome.code}
            sim.ledger.link(kind, outcome.receipt, own_id, conversation, **more)
            self._note_ids(outcome.receipt, own_id, conversation)
        names = (f"{operation}_result", operation)
        how = "timeout" if sim.take_fault(names, "queue_timeout") else outcome.how
        early = request if sim.take_fault(names, "early_callback") else None
        body = result_body(now, operation, own_id, conversation, outcome, timed_out=how == "timeout")
        sim.callback(
            names, timeout_url if how == "timeout" else result_url, json.dumps(body), {"Content-Type": JSON_TYPE},
            delay=0.0 if early else sim.setting("result_delay"), early=early, lost=how == "lost",
            copies=2 if how == "twice" else 1,
        )  # fmt: skip
        request.cut = how == "drop"
        return reply(
            {
                "OriginatorConversationID": own_id,
                "ConversationID": conversation,
                "ResponseCode": "0",
                "ResponseDescription": "Accept the service request successfully.",
            }
        )

    def _credential_problem(self, organisation: Organisation, initiator: str, credential: str) -> Outcome | None:
        if self._sim.switch(organisation, "credential_locked"):
            return Outcome("8006")
        try:
            encrypted = base64.b64decode(credential, validate=True)
        except (binascii.Error, ValueError):
            return Outcome("2001")
        password = decrypted(self._sim.store.state_dir, encrypted)
        right = password == organisation.initiator_password.encode() and initiator == organisation.initiator_name
        return None if right else Outcome("2001")

    def _note_ids(self, receipt: str, own_id: str, conversation: str) -> None:
        entry = self._sim.ledger.transaction(receipt)
        if entry:
            self._sim.ledger.save({**entry, "originator_id": own_id, "conversation_id": conversation})

    # --- effects

    def _pay_out(self, organisation: Organisation, msisdn: str, amount: int) -> Outcome:
        ledger, now = self._sim.ledger, self._sim.clock.now()
        how = plan_for(msisdn).b2c
        if how.isdigit():
            return Outcome(how)
        if not ledger.move(organisation, "utility", -amount * 100):
            return Outcome("1")
        entry = ledger.record("b2c", organisation, msisdn, amount, "")
        balances = ledger.balances(organisation)
        parameters = [
            ("TransactionAmount", amount),
            ("TransactionReceipt", entry["receipt"]),
            ("ReceiverPartyPublicName", public_name(msisdn)),
            ("TransactionCompletedDateTime", local(now).strftime("%d.%m.%Y %H:%M:%S")),
            ("B2CUtilityAccountAvailableFunds", balances["utility"] / 100),
            ("B2CWorkingAccountAvailableFunds", balances["working"] / 100),
            ("B2CRecipientIsRegisteredCustomer", "Y"),
            ("B2CChargesPaidAccountAvailableFunds", balances["charges"] / 100),
        ]
        return Outcome("0", parameters, entry["receipt"], how)

    def _reverse(self, organisation: Organisation, receipt: str, amount: int) -> Outcome:
        ledger, now = self._sim.ledger, self._sim.clock.now()
        original = ledger.transaction(receipt)
        if original is None or original["shortcode"] != organisation.shortcode or original["kind"] not in ("stk", "c2b"):
            return Outcome("R000002")
        # Unconfirmed for Daraja: a receipt may be reversed in parts, until nothing is left of it.
        done = [each["amount"] for each in ledger.transactions(original["msisdn"]) if each.get("original") == receipt]
        left = original["amount"] - sum(done)
        if left <= 0:
            return Outcome("R000001")
        if amount > left:
            return Outcome("3")
        how = plan_for(original["msisdn"]).reversal
        if how.isdigit():
            return Outcome(how)
        if not ledger.move(organisation, "working", -amount * 100):
            return Outcome("1")
        entry = ledger.record("reversal", organisation, original["msisdn"], amount, "", original=receipt)
        ledger.save({**original, "reversed_by": entry["receipt"]})
        funds = money(ledger.balances(organisation)["working"])
        parameters = [
            ("DebitAccountBalance", f"Working Account|KES|{funds}|{funds}|0.00|0.00"),
            ("Amount", amount),
            ("TransCompletedTime", int(stamp(now))),
            ("OriginalTransactionID", receipt),
            ("Charge", 0),
            ("CreditPartyPublicName", public_name(original["msisdn"])),
            ("DebitPartyPublicName", f"{organisation.shortcode} - {organisation.name}"),
        ]
        return Outcome("0", parameters, entry["receipt"], how)


def result_body(now: float, operation: str, own_id: str, conversation: str, outcome: Outcome, *, timed_out: bool) -> Json:
    """Return the Result envelope. Reversals give their ResultCode as a string, the others as a number where it is one."""
    code = "1037" if timed_out else outcome.code
    done = outcome.code == "0" and not timed_out
    result: Json = {
        "ResultType": 0,
        "ResultCode": int(code) if code.isdigit() and operation != "reversal" else code,
        "ResultDesc": "The service request timed out in the queue." if timed_out else text_of(code),
        "OriginatorConversationID": own_id,
        "ConversationID": conversation,
        "TransactionID": outcome.receipt if done and outcome.receipt else placeholder(now),
    }
    if done:
        result["ResultParameters"] = {"ResultParameter": key_values(outcome.parameters)}
    result["ReferenceData"] = {"ReferenceItem": outcome.reference}
    return {"Result": result}
