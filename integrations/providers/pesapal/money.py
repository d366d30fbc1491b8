"""Amounts as Pesapal writes them: JSON numbers in major units with up to two decimals. Refused rather than rounded.

Source: developer.pesapal.com, API 3.0, "Submit Order Request" and "Get Transaction Status" (read November 2026).
"""

from __future__ import annotations

from decimal import Decimal

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import InvalidMoney, Money, exponent
from integrations.contracts.payment_features import CurrencyRule

DECIMALS = {"KES": 2, "RWF": 0, "TZS": 2, "UGX": 0, "USD": 2}
"""Currency -> decimals that an amount may have: Pesapal writes two at most, and no more than ISO 4217 gives the currency.
ZMW and MWK are mentioned in places but confirmed nowhere, so they are left out (November 2026)."""

MAXIMUM = 10**12
"""Most minor units of one order. Pesapal publishes no ceiling; each account has one of its own, which Pesapal enforces."""


def rules() -> dict[str, CurrencyRule]:
    """Return the currencies with their limits: more than nothing, at most `MAXIMUM` minor units."""
    return {code: CurrencyRule(1, MAXIMUM, decimals=digits) for code, digits in DECIMALS.items()}


def to_number(money: Money) -> int | float:
    """Return the amount as the number to put into JSON: an int where it is whole, else a float that reads back exactly.

    Raises `InvalidRequest` (attr `currency` or `amount`) where Pesapal could not be told exactly this.
    """
    value = _exact(money)
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    if Decimal(repr(number)) != value:
        raise InvalidRequest("Pesapal can't be told this amount exactly.", attr="amount")
    return number


def to_text(money: Money) -> str:
    """Return the amount as a numeric string (`1500.00`), the form of the documented refund; raises as `to_number`."""
    return str(_exact(money))


def from_decimal(value: Decimal, currency: str) -> Money:
    """Return what Pesapal says was paid, in any currency; raise `InvalidMoney` for an amount the currency can't have."""
    return Money.from_decimal(value, currency.strip().upper())


def _exact(money: Money) -> Decimal:
    digits = DECIMALS.get(money.currency)
    if digits is None:
        raise InvalidRequest(f"Pesapal does not take {money.currency}.", attr="currency")
    if money.minor_units <= 0:
        raise InvalidRequest("Amount must be more than nothing.", attr="amount")
    if digits < exponent(money.currency):
        raise InvalidMoney(f"the table gives {money.currency} fewer digits than it has")
    return money.to_decimal()
