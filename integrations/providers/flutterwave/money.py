"""Flutterwave's amounts: major units, as JSON numbers. Which currencies it takes here and how the payer may pay in each."""

from __future__ import annotations

from decimal import Decimal

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import InvalidMoney, Money, exponent
from integrations.contracts.payment_features import CurrencyRule
from integrations.contracts.wire import Wire, WireError

MAXIMUM = 10**13
"""Flutterwave publishes no limits for v3 (2026-11), the account has its own."""

M_PESA_CURRENCY = "KES"

OPTIONS: dict[str, tuple[str, str]] = {
    "KES": ("card", "card,mpesa"),
    "UGX": ("card", "card,mobilemoneyuganda"),
    "TZS": ("card", "card,mobilemoneytanzania"),
    "NGN": ("card,banktransfer,ussd", "card,banktransfer,ussd"),
    "GHS": ("card", "card,mobilemoneyghana"),
    "RWF": ("card", "card,mobilemoneyrwanda"),
    "ZMW": ("card", "card,mobilemoneyzambia"),
    "XAF": ("card", "card,mobilemoneyfranco"),
    "XOF": ("card", "card,mobilemoneyfranco"),
    "USD": ("card", "card"),
}
"""Currency -> payment options of the hosted page (of an amount with a fraction, of a whole one): wallets know no cents."""

CURRENCIES = {code: CurrencyRule(1, MAXIMUM, decimals=exponent(code)) for code in OPTIONS}


def payment_options(money: Money) -> str:
    """Return the comma list for the hosted page. A fraction leaves wallets out: they would refuse it, or round."""
    broken, whole = OPTIONS[money.currency]
    return broken if money.minor_units % 10 ** exponent(money.currency) else whole


def check_currency(money: Money) -> None:
    """Raise `InvalidRequest` for a currency that this folder has no rule for: its units are not known for certain."""
    if money.currency not in OPTIONS:
        raise InvalidRequest(f"This provider does not take {money.currency}.", attr="currency")


def whole_shillings(money: Money) -> int:
    """Return the amount of an M-Pesa prompt; raise `InvalidRequest` for another currency or for cents."""
    if money.currency != M_PESA_CURRENCY:
        raise InvalidRequest("M-Pesa prompts are in KES only.", attr="currency")
    try:
        return money.whole_major_units()
    except InvalidMoney as error:
        raise InvalidRequest(str(error), attr="amount") from error


def text_amount(money: Money) -> str:
    """Return major units as text without a superfluous fraction (`1500`, `100.50`), for fields that take text."""
    check_currency(money)
    units = money.to_decimal()
    return str(int(units)) if units == units.to_integral_value() else str(units)


def number_amount(money: Money) -> int | float:
    """Return major units as a JSON number, for fields that take nothing else.

    The float is only written, never reckoned with: `Money` has at most 15 digits below its limit, and so many a float's
    shortest form gives back exactly.
    """
    check_currency(money)
    units = money.to_decimal()
    return int(units) if units == units.to_integral_value() else float(units)


def read_money(wire: Wire, currency: str) -> Money:
    """Return an amount that Flutterwave states, a number or a numeric text; `WireError` where it is no exact amount."""
    try:
        return Money.from_decimal(wire.decimal(), currency)
    except InvalidMoney as error:
        raise WireError(f"{wire.path} is no amount of its currency") from error


def read_fee(data: Wire, currency: str) -> Money | None:
    """Return app_fee plus merchant_fee, None where there is none or it has a part below the currency's smallest unit."""
    parts = [each.decimal() for each in (data.get("app_fee"), data.get("merchant_fee")) if each is not None]
    if not parts:
        return None
    try:
        return Money.from_decimal(sum(parts, Decimal(0)), currency)
    except InvalidMoney:
        return None
