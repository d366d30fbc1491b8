"""Account, balance and balance transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.providers.stripe.simulator import objects
from integrations.simulators import Part, SimReply, SimRequest, route
from integrations.simulators.wire import Json

if TYPE_CHECKING:
    from integrations.providers.stripe.simulator.fake import Call, StripeSimulator

LINE = "balance_transaction"
FEE_PER_MILLE, FEE_FIXED = 29, 30
"""2.9 % + 0.30, as in the United States; settlement is in the currency of the charge."""


class Books(Part):
    """Every movement of money is a line; fees are taken from charges and disputes."""

    def __init__(self, sim: StripeSimulator) -> None:
        self._sim = sim

    def record(self, of: Json, kind: str, amount: int, *, fee: int | None = None) -> Json:
        """Write a line for an object; a charge's fee is reckoned where none is given."""
        if fee is None:
            fee = amount * FEE_PER_MILLE // 1000 + FEE_FIXED if kind == "charge" else 0
        text = of.get("description") or {"refund": "REFUND FOR CHARGE", "adjustment": "Chargeback"}.get(kind, kind)
        return self._sim.save(objects.balance_transaction(of, kind, amount, fee, self._sim.clock.now(), text))

    @route("GET", "/v1/balance_transactions", operation="transactions")
    def listing(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            params = call.params.allow("limit", "starting_after", "created", "source", "type", "currency")
            wanted = {name: params.text(name) for name in ("source", "type", "currency") if params.has(name)}

            def matches(each: Json) -> bool:
                return all(each[name] == value for name, value in wanted.items())

            return self._sim.listed(call, LINE, "/v1/balance_transactions", matches)

        return self._sim.read(request, run)

    @route("GET", "/v1/balance_transactions/<id>", operation="transactions")
    def one(self, request: SimRequest) -> SimReply:
        return self._sim.read(request, lambda call: self._sim.find(LINE, request.params["id"], call.account, "id"))

    @route("GET", "/v1/balance", operation="test")
    def balance(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            call.params.allow()
            sums: dict[str, int] = {}
            for line in self._sim.all(LINE, call.account):
                sums[line["currency"]] = sums.get(line["currency"], 0) + line["net"]
            person = next(each for each in self._sim.people if each.id == call.account)
            sums = sums or {person.currency.lower(): 0}
            rows = [
                {"amount": amount, "currency": currency, "source_types": {"card": amount}} for currency, amount in sums.items()
            ]
            return {"object": "balance", "available": rows, "livemode": False, "pending": []}

        return self._sim.read(request, run)

    @route("GET", "/v1/account", operation="test")
    def account(self, request: SimRequest) -> SimReply:
        def run(call: Call) -> Json:
            call.params.allow()
            person = next(each for each in self._sim.people if each.id == call.account)
            able = bool(self._sim.events.setup(person.id)["charges_enabled"])
            return {
                "id": person.id, "object": "account", "business_type": None, "charges_enabled": able, "country": "US",
                "default_currency": person.currency.lower(), "details_submitted": True,
                "email": f"{person.label}@demo.invalid", "metadata": {}, "payouts_enabled": able, "type": "standard",
            }  # fmt: skip

        return self._sim.read(request, run)
