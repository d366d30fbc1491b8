"""Transactions, refunds and balances of the simulated Flutterwave. Amounts are minor units; documents in the store."""

from __future__ import annotations

import re
import secrets
from typing import Any

from integrations.contracts.money import exponent
from integrations.providers.flutterwave.simulator.accounts import Merchant
from integrations.providers.flutterwave.simulator.envelope import number, refuse, stamp
from integrations.simulators import Clock, Store
from integrations.simulators.wire import Json

TRANSACTION, REFUND, COUNTER = "transaction", "refund", "counter"
BALANCE = "balance"
FIRST = {TRANSACTION: 4_193_428, REFUND: 75_923}
OPENING = 1_000_000
"""Opening balance in major units: fees alone would leave too little for a full refund of the first payment."""

MOST = 10_000
PENDING, SUCCESSFUL, FAILED = "pending", "successful", "failed"
FEE_PER_MILLE = 29


class Ledger:
    """Who paid what to whom."""

    def __init__(self, slug: str, store: Store, clock: Clock) -> None:
        self._slug = slug
        self._store = store
        self._clock = clock

    def _next(self, kind: str) -> int:
        held = self._store.get(self._slug, COUNTER, kind) or {"next": FIRST[kind]}
        self._store.put(self._slug, COUNTER, kind, {"next": held["next"] + 1})
        return int(held["next"])

    # --- transactions

    def begin(self, merchant: Merchant, **members: Any) -> Json:
        """Store a pending transaction; `members`: tx_ref, amount, currency, payment_type, customer, meta, ..."""
        found: Json = {
            "id": self._next(TRANSACTION),
            "account": merchant.label,
            "flw_ref": f"FLW-MOCK-{secrets.token_hex(8)}",
            "status": PENDING,
            "processor_response": "Successful, pending customer validation",
            "created_at": self._clock.now(),
            "refunded": 0,
            "silent": False,
            **members,
        }
        self.save(found)
        return found

    def save(self, transaction: Json) -> None:
        self._store.put(self._slug, TRANSACTION, str(transaction["id"]), transaction, ref=transaction["tx_ref"])

    def transaction(self, merchant: Merchant | None, id: str) -> Json | None:
        found = self._store.get(self._slug, TRANSACTION, id)
        return found if found and (merchant is None or found["account"] == merchant.label) else None

    def transactions(self, merchant: Merchant | None = None, tx_ref: str | None = None) -> list[Json]:
        """Return transactions, newest first."""
        found = [each.data for each in self._store.find(self._slug, TRANSACTION, tx_ref, limit=MOST)]
        return [each for each in found if merchant is None or each["account"] == merchant.label]

    def succeed(self, transaction: Json, response: str) -> None:
        transaction.update(status=SUCCESSFUL, processor_response=response)
        self.save(transaction)
        self.move(transaction["account"], transaction["currency"], transaction["amount"] - fee(transaction))

    def fail(self, transaction: Json, response: str) -> None:
        transaction.update(status=FAILED, processor_response=response)
        self.save(transaction)

    # --- refunds

    def refund(self, transaction: Json, amount: int | None, comments: str, first_status: str) -> Json:
        """Give money back; refuses more than is left, and more than the available balance."""
        if transaction["status"] != SUCCESSFUL:
            refuse("Transaction is not successful and cannot be refunded")
        left = transaction["amount"] - transaction["refunded"]
        if left == 0:
            refuse("This transaction has been fully refunded")
        taken = left if amount is None else amount
        if taken > left:
            refuse("Refund amount cannot be greater than transaction amount")
        if taken > self.balance(transaction["account"], transaction["currency"]):
            refuse("Insufficient funds in your available balance to process this refund")
        transaction["refunded"] += taken
        self.save(transaction)
        self.move(transaction["account"], transaction["currency"], -taken)
        made: Json = {
            "id": self._next(REFUND),
            "account": transaction["account"],
            "transaction": transaction["id"],
            "currency": transaction["currency"],
            "flw_ref": transaction["flw_ref"],
            "amount": taken,
            "status": first_status,
            "comments": comments,
            "created_at": self._clock.now(),
        }
        self.save_refund(made)
        return made

    def save_refund(self, refund: Json) -> None:
        self._store.put(self._slug, REFUND, str(refund["id"]), refund, ref=str(refund["transaction"]))

    def refunds(self, merchant: Merchant | None = None, transaction: Json | None = None) -> list[Json]:
        """Return refunds, newest first."""
        ref = str(transaction["id"]) if transaction else None
        found = [each.data for each in self._store.find(self._slug, REFUND, ref, limit=MOST)]
        return [each for each in found if merchant is None or each["account"] == merchant.label]

    def take_back(self, refund: Json) -> None:
        """The payer's bank sent it back: the refund failed and the money is the merchant's again."""
        transaction = self._store.get(self._slug, TRANSACTION, str(refund["transaction"]))
        if transaction is None:
            raise KeyError(refund["transaction"])
        transaction["refunded"] -= refund["amount"]
        self.save(transaction)
        self.move(refund["account"], refund["currency"], refund["amount"])
        refund["status"] = "failed"
        self.save_refund(refund)

    # --- balances

    def balance(self, label: str, currency: str) -> int:
        held = self._store.get(self._slug, BALANCE, f"balance {label} {currency}")
        return int(held["minor"]) if held else OPENING * 10 ** exponent(currency)

    def set_balance(self, label: str, currency: str, minor: int) -> None:
        self._store.put(self._slug, BALANCE, f"balance {label} {currency}", {"minor": minor})

    def move(self, label: str, currency: str, minor: int) -> None:
        self.set_balance(label, currency, self.balance(label, currency) + minor)


def fee(transaction: Json) -> int:
    """Return 2.9 % of the amount in minor units, rounded to the nearest (KES 1500 costs 43.50)."""
    return (int(transaction["amount"]) * FEE_PER_MILLE + 500) // 1000


def wrong(minor: int, currency: str) -> int:
    """Return the amount that a faulty answer or webhook names: one major unit less, or two units if it was one."""
    unit: int = 10 ** exponent(currency)
    return minor - unit if minor > unit else 2 * unit


def payment_id_of(transaction: Json) -> str:
    """Return the hub's payment id, from the notes or else from the reference without its attempt."""
    noted = (transaction.get("meta") or {}).get("payment_id")
    return str(noted) if noted else re.sub(r"^(pay_\w+)-\d{1,4}$", r"\1", str(transaction["tx_ref"]))


def shown(transaction: Json, merchant: Merchant, *, misstated: bool = False, verified: bool = True) -> Json:
    """Return a transaction as verify, the list and a webhook's `data` show it; `misstated` names another amount."""
    currency = transaction["currency"]
    minor = wrong(transaction["amount"], currency) if misstated else transaction["amount"]
    created = stamp(transaction["created_at"])
    data: Json = {
        "id": transaction["id"],
        "tx_ref": transaction["tx_ref"],
        "flw_ref": transaction["flw_ref"],
        "device_fingerprint": "N/A",
        "amount": number(minor, currency),
        "currency": currency,
        "charged_amount": number(minor, currency),
        "app_fee": number(fee(transaction), currency),
        "merchant_fee": 0,
        "processor_response": transaction["processor_response"],
        "auth_model": transaction["auth_model"],
        "ip": "127.0.0.1",
        "narration": merchant.name,
        "status": transaction["status"],
        "payment_type": transaction["payment_type"],
        "created_at": created,
        "account_id": merchant.number,
        "customer": {"id": 1998111, **transaction["customer"], "created_at": created},
    }
    if verified:
        data["meta"] = transaction.get("meta")
        if transaction["status"] == SUCCESSFUL:
            data["amount_settled"] = number(minor - fee(transaction), currency)
    card = transaction.get("card")
    if card:
        data["card"] = {
            "first_6digits": card["number"][:6], "last_4digits": card["number"][-4:], "issuer": "TEST BANK", "country": "KE",
            "type": card["brand"], "token": f"flw-t1nf-{transaction['flw_ref'].lower()}", "expiry": "09/32",
        }  # fmt: skip
    return data
