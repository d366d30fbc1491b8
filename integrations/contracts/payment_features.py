"""The capability matrix of a gateway: what it can do, in which currencies, how much. Checked before any call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.contracts.money import Money, exponent


class MethodType(StrEnum):
    """How the payer pays: a card token (or stored card), a prompt on the phone, or the gateway's own page."""

    CARD = "card"
    MOBILE_MONEY = "mobile_money"
    REDIRECT = "redirect"


class GatewayOperation(StrEnum):
    """What a gateway may be able to do. A payment with automatic capture is `AUTHORIZE` alone."""

    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    """Hold first, take later."""
    PARTIAL_CAPTURE = "partial_capture"
    """Take less than was held; the rest is released unless MULTIPLE_CAPTURE."""
    MULTIPLE_CAPTURE = "multiple_capture"
    VOID = "void"
    """Release a hold."""
    CANCEL = "cancel"
    """Call off a request that the payer has not paid yet."""
    REFUND = "refund"
    PARTIAL_REFUND = "partial_refund"
    MULTIPLE_REFUND = "multiple_refund"
    SETUP = "setup"
    """Store a card or payer for later."""
    OFF_SESSION = "off_session"
    """Charge a stored one without the payer."""
    SYNC = "sync"
    """Be asked how a payment stands."""
    TRANSACTIONS = "transactions"
    """List what happened at the gateway, for reconciliation."""
    RECEIPT = "receipt"
    """Be asked whether a receipt number is real."""
    DISPUTES = "disputes"
    """Report disputes and chargebacks."""


@dataclass(frozen=True, slots=True)
class CurrencyRule:
    """`minimum` and `maximum` in minor units (ISO 4217); `decimals` is how many digits the gateway itself writes.

    `step`: amounts must be a multiple of so many minor units (100 where the gateway takes whole shillings only).
    """

    minimum: int
    maximum: int
    decimals: int
    step: int = 1


@dataclass(frozen=True, slots=True)
class PaymentFeatures:
    """The matrix. Times are seconds.

    `polls`: how long after the request a pending payment is asked for (the last interval repeats); `silence`: after how long
    with neither callback nor answer a person must look; `unknown_after`: the same for a payment that can't be asked about,
    since the answer to our request was lost; `validity`: a request that could not be made within this is not made any more;
    `lapses`: after how long a request that the payer never acted on counts as expired (0: it does not; see `silence`);
    `arrives_within`: from this on after the last try, "the gateway knows nothing of it" means that it never will.
    """

    operations: frozenset[str]
    methods: frozenset[MethodType]
    currencies: Mapping[str, CurrencyRule]
    polls: tuple[int, ...] = (30, 60, 120, 300, 900, 3600)
    silence: int = 86_400
    unknown_after: int = 900
    validity: int = 300
    lapses: int = 0
    arrives_within: int = 600
    notes: Mapping[str, str] | None = None
    """Operation -> a sentence for people on its limits ("one request per payment")."""

    def check(self, operation: str, money: Money | None = None, method: MethodType | None = None) -> None:
        """Raise `UnsupportedOperation` or `InvalidRequest` for what the gateway can't do."""
        if operation not in self.operations:
            raise UnsupportedOperation(f"This provider does not support {operation}.")
        if method is not None and method not in self.methods:
            raise UnsupportedOperation(f"This provider does not take {method.value} payments.", attr="method.type")
        if money is None:
            return
        rule = self.currencies.get(money.currency)
        if rule is None:
            raise InvalidRequest(f"This provider does not take {money.currency}.", attr="currency")
        if not rule.minimum <= money.minor_units <= rule.maximum:
            low, high = Money(rule.minimum, money.currency), Money(rule.maximum, money.currency)
            raise InvalidRequest(f"Amount must be between {low} and {high}.", attr="amount")
        self.check_step(money)

    def check_step(self, money: Money) -> None:
        """Raise `InvalidRequest` for an amount that the gateway can't express; nothing is ever rounded. For refunds too, which
        know no minimum."""
        rule = self.currencies.get(money.currency)
        if rule is not None and money.minor_units % rule.step:
            whole = rule.step == 10 ** exponent(money.currency)
            text = (
                f"whole {money.currency}, without a fraction" if whole else f"a multiple of {Money(rule.step, money.currency)}"
            )
            raise InvalidRequest(f"amount must be {text}", attr="amount")

    def without(self, *operations: str) -> PaymentFeatures:
        """Return the matrix of a config that lacks these (an account without a permission that others have)."""
        return replace(self, operations=self.operations - set(operations))

    def describe(self) -> dict[str, Any]:
        """Return the matrix as API, admin and docs show it."""
        return {
            "operations": {each.value: each.value in self.operations for each in GatewayOperation},
            "methods": sorted(method.value for method in self.methods),
            "currencies": {
                code: {"minimum": rule.minimum, "maximum": rule.maximum, "decimals": rule.decimals, "step": rule.step}
                for code, rule in sorted(self.currencies.items())
            },
            "notes": dict(self.notes or {}),
        }
