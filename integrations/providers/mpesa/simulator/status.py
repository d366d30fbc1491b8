"""What a transaction status query finds (sheet section 11), with the oddities that real answers have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from integrations.providers.mpesa.simulator.accounts import Organisation
from integrations.providers.mpesa.simulator.envelope import stamp
from integrations.providers.mpesa.simulator.ledger import public_name
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.mpesa.simulator.fake import MpesaSimulator

REASONS = {
    "stk": "Pay Bill Online",
    "c2b": "Pay Bill Online",
    "b2c": "Business Payment to Customer via API",
    "reversal": "Transaction Reversal via API",
}
PUSH_STATES = {"": "Pending Authorized", "1032": "Cancelled", "1037": "Expired", "1019": "Expired"}
Parameters = list[tuple[str, Any]]


def status_parameters(sim: MpesaSimulator, organisation: Organisation, receipt: str, conversation: str) -> Parameters | None:
    """Return the result parameters for a receipt or conversation id, None if this organisation has no such thing."""
    entry = sim.ledger.transaction(receipt) if receipt else None
    link = None if receipt else sim.ledger.conversation(conversation)
    if link and link["kind"] == "transaction":
        entry = sim.ledger.transaction(link["key"])
    elif link and link["kind"] == "push":
        push = sim.store.get(sim.slug, "push", link["key"])
        if push and push["receipt"]:
            entry = sim.ledger.transaction(push["receipt"])
        elif push and push["shortcode"] == organisation.shortcode:
            return _of_push(organisation, push)
    elif link and link["shortcode"] == organisation.shortcode:
        return [
            ("TransactionStatus", "Declined"),
            ("InitiatedTime", stamp(link["at"])),
            ("ReasonType", REASONS[link["operation"]]),
        ]
    if entry is None or entry["shortcode"] != organisation.shortcode:
        return None
    return _of_entry(organisation, entry)


def _of_push(organisation: Organisation, push: Json) -> Parameters:
    return [
        ("TransactionStatus", PUSH_STATES.get(push["result"], "Declined")),
        ("Amount", str(push["amount"])),
        ("InitiatedTime", stamp(push["created_at"])),
        ("DebitPartyName", public_name(push["msisdn"])),
        ("CreditPartyName", f"{organisation.shortcode} - {organisation.name}"),
        ("ReasonType", REASONS["stk"]),
        ("OriginatorConversationID", push["merchant_id"]),
    ]


def _of_entry(organisation: Organisation, entry: Json) -> Parameters:
    customer, business = public_name(entry["msisdn"]), f"{organisation.shortcode} - {organisation.name}"
    outgoing = entry["kind"] in ("b2c", "reversal")
    debit, credit = (business, customer) if outgoing else (customer, business)
    return [
        # Real answers sometimes name the debit party twice, once holding the credit side.
        ("DebitPartyName", debit),
        ("DebitPartyName", credit),
        ("CreditPartyName", credit),
        ("OriginatorConversationID", entry.get("originator_id") or entry.get("merchant_id") or ""),
        ("ConversationID", entry.get("conversation_id") or entry.get("checkout") or ""),
        ("InitiatedTime", stamp(entry["at"])),
        ("FinalisedTime", stamp(entry["at"])),
        ("DebitAccountType", "Working Account" if outgoing else "MMF Account For Customer"),
        ("DebitPartyCharges", "Fee For B2C Payment|KES|0.00" if entry["kind"] == "b2c" else None),
        ("TransactionReason", None),
        ("ReasonType", REASONS[entry["kind"]]),
        ("TransactionStatus", entry["status"]),
        ("ReceiptNo", entry["receipt"]),
        ("Amount", str(entry["amount"])),
    ]
