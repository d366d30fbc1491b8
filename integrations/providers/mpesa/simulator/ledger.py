"""Money and transactions of the simulated M-Pesa: balances in cents, receipts unique for ever."""

from __future__ import annotations

from typing import Any

from integrations.providers.mpesa.simulator.accounts import Organisation
from integrations.providers.mpesa.simulator.envelope import new_receipt
from integrations.simulators import Clock, Store
from integrations.simulators.wire import Json

TRANSACTION = "transaction"
CONVERSATION = "conversation"
BALANCE = "balance"
PAYMENT = "c2b"
OPENING = {"working": 5_000_000, "utility": 5_000_000, "charges": 0}
PEOPLE = (("JOHN", "OTIENO"), ("AMINA", "HASSAN"), ("PETER", "KAMAU"), ("GRACE", "WANJIKU"), ("JANE", "DOE"))


def person(msisdn: str) -> tuple[str, str]:
    """Return first and last name of a number's owner; always the same for one number."""
    return PEOPLE[int(msisdn[-2:]) % len(PEOPLE)]


def public_name(msisdn: str) -> str:
    return f"{msisdn} - {' '.join(person(msisdn))}"


class Ledger:
    """Transactions by receipt, conversations by any of their ids, balances by short code."""

    def __init__(self, slug: str, store: Store, clock: Clock) -> None:
        self._slug = slug
        self._store = store
        self._clock = clock

    def record(
        self, kind: str, organisation: Organisation, msisdn: str, amount: int, account: str, *, receipt: str = "", **more: Any
    ) -> Json:
        """Write a completed transaction (`amount` in shillings), with a new receipt if none was issued; return it."""
        receipt = receipt or self.free_receipt()
        entry = {
            "receipt": receipt, "kind": kind, "shortcode": organisation.shortcode, "msisdn": msisdn, "amount": amount,
            "account": account, "at": self._clock.now(), "status": "Completed", "reversed_by": "", **more,
        }  # fmt: skip
        self.save(entry)
        return entry

    def free_receipt(self) -> str:
        """Return a receipt that no transaction and no payment in validation has."""
        while True:
            receipt = new_receipt(self._clock.now())
            if not any(self._store.get(self._slug, kind, receipt) for kind in (TRANSACTION, PAYMENT)):
                return receipt

    def save(self, entry: Json) -> None:
        self._store.put(self._slug, TRANSACTION, entry["receipt"], entry, ref=entry["msisdn"])

    def transaction(self, receipt: str) -> Json | None:
        return self._store.get(self._slug, TRANSACTION, receipt)

    def transactions(self, msisdn: str | None = None) -> list[Json]:
        """Return the newest transactions, newest first."""
        return [found.data for found in self._store.find(self._slug, TRANSACTION, msisdn)]

    def link(self, kind: str, key: str, *conversation_ids: str, **more: Any) -> None:
        """Make `kind`/`key` (a push, a transaction, a failed request) findable by these ids."""
        for each in conversation_ids:
            self._store.put(self._slug, CONVERSATION, each, {"kind": kind, "key": key, **more})

    def conversation(self, conversation_id: str) -> Json | None:
        return self._store.get(self._slug, CONVERSATION, conversation_id)

    def balances(self, organisation: Organisation) -> dict[str, int]:
        """Return working, utility and charges accounts in cents."""
        return self._store.get(self._slug, BALANCE, organisation.shortcode) or dict(OPENING)

    def move(self, organisation: Organisation, account: str, cents: int) -> bool:
        """Add `cents` (may be negative) to an account; False, and nothing changed, if it would fall below zero."""
        balances = self.balances(organisation)
        if balances[account] + cents < 0:
            return False
        balances[account] += cents
        self._store.put(self._slug, BALANCE, organisation.shortcode, balances)
        return True

    def set_balance(self, organisation: Organisation, account: str, cents: int) -> None:
        self._store.put(self._slug, BALANCE, organisation.shortcode, {**self.balances(organisation), account: cents})


def money(cents: int) -> str:
    """Return cents as shillings with two decimals."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"
