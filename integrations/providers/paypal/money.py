"""Money as PayPal writes it: a decimal string with exactly the currency's digits. Nothing is rounded, nothing is a float.

Source: PayPal's currency codes page and the schema `money` of checkout_orders_v2 (read 2026-11, provider sheet section 6).
"""

from __future__ import annotations

from decimal import Decimal

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import InvalidMoney, Money, exponent
from integrations.contracts.payment_features import CurrencyRule
from integrations.contracts.wire import Wire, WireError

WITHOUT_DECIMALS = frozenset({"HUF", "JPY", "TWD"})
"""PayPal takes whole units only, though forint and Taiwan dollar have two digits by ISO 4217."""

EVERYWHERE = (
    "AUD", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "NOK", "NZD", "PHP", "PLN", "SEK",
    "SGD", "THB", "TWD", "USD",
)  # fmt: skip
IN_COUNTRY = {"BR": "BRL", "CN": "CNY", "IN": "INR", "MY": "MYR"}
"""Country of the merchant's account -> the currency that only accounts of that country may use, among themselves."""

MAXIMUM = 99_999_999_999_999
"""Minor units: below the service's own ceiling (999999999999999.99), which lies beyond what the hub can hold."""


def decimals(currency: str) -> int:
    """Return how many digits PayPal writes after the point."""
    return 0 if currency in WITHOUT_DECIMALS else 2


def rule(currency: str) -> CurrencyRule:
    """Return the limits of one currency. The hub's minor units may be finer than what PayPal can express."""
    step: int = 10 ** (exponent(currency) - decimals(currency))
    return CurrencyRule(step, MAXIMUM - MAXIMUM % step, decimals=decimals(currency), step=step)


RULES = {currency: rule(currency) for currency in EVERYWHERE}


def rules(country: str) -> dict[str, CurrencyRule]:
    """Return the currencies of an account in `country` (two letters, empty where that is not known)."""
    own = IN_COUNTRY.get(country)
    return {**RULES, own: rule(own)} if own else dict(RULES)


def to_wire(money: Money) -> dict[str, str]:
    """Return PayPal's money object; raise `InvalidRequest` for a currency it has not, or an amount it can't write."""
    if money.currency not in EVERYWHERE and money.currency not in IN_COUNTRY.values():
        raise InvalidRequest(f"PayPal does not take {money.currency}.", attr="currency")
    digits = decimals(money.currency)
    value = money.to_decimal()
    written = value.quantize(Decimal(1).scaleb(-digits))
    if written != value:
        raise InvalidRequest(f"PayPal takes whole {money.currency}, without a fraction.", attr="amount")
    return {"currency_code": money.currency, "value": f"{written:f}"}


def from_wire(wire: Wire) -> Money:
    """Return the exact amount of a money object; raise `WireError` where it is none."""
    try:
        return Money.from_decimal(wire["value"].decimal(), wire["currency_code"].text(max_length=3))
    except InvalidMoney as error:
        raise WireError(f"{wire.path or 'amount'} is no amount of money: {error}") from None
