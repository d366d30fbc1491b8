"""Money in Stripe's units: an integer of the currency's smallest unit *as Stripe counts it*, which is not always ISO 4217.

Source: docs.stripe.com/currencies ("Zero-decimal currencies", "Special cases", "Minimum and maximum charge amounts"; provider
sheet of November 2026). Nothing is rounded: what has no exact counterpart is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import MAX_MINOR_UNITS, InvalidMoney, Money, exponent
from integrations.contracts.payment_features import CurrencyRule
from integrations.contracts.wire import WireError

MOST = 99_999_999
"""Eight digits is the most that an amount may have."""

CONTRADICTORY = "UGX"
"""Stripe lists it both as zero-decimal and as two-decimal with 00 at the end: only the account's owner can say."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How Stripe counts a currency: `decimals` digits after the point, amounts a multiple of `step` of its own units."""

    decimals: int
    step: int = 1


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_TWO = _split(
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK "
    "DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD KES KGS KHR KYD KZT LAK LBP LKR "
    "LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB "
    "SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER ZAR ZMW"
)
_ZERO = _split("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF")
_THREE = _split("BHD JOD KWD OMR TND")

UNITS: dict[str, Unit] = {
    **dict.fromkeys(_TWO, Unit(2)),
    **dict.fromkeys(_ZERO, Unit(0)),
    **dict.fromkeys(_THREE, Unit(3, step=10)),  # the last digit must be 0
    "ISK": Unit(2, step=100),  # two digits for old clients' sake, and both must be 0 (support.stripe.com)
}


def unit_of(currency: str, ugx_decimals: str = "") -> Unit | None:
    """Return how Stripe counts `currency`, None where it does not take it (UGX: unless the config says how)."""
    if currency == CONTRADICTORY and ugx_decimals in ("0", "2"):
        return Unit(int(ugx_decimals), step=100 if ugx_decimals == "2" else 1)
    return UNITS.get(currency)


def rules(ugx_decimals: str = "") -> dict[str, CurrencyRule]:
    """Return the currency rules of the capability matrix, in ISO minor units.

    Minimums differ by settlement currency and change: the smallest amount that can be written is allowed here, and Stripe's
    `amount_too_small` is passed on.
    """
    found = {}
    for currency in (*UNITS, CONTRADICTORY):
        unit = unit_of(currency, ugx_decimals)
        if unit is None:
            continue
        up, down = _ratio(currency, unit)
        step = max(1, unit.step // up) * down
        most = MOST * down // up
        found[currency] = CurrencyRule(step, most - most % step, decimals=unit.decimals, step=step)
    return found


def to_units(money: Money, ugx_decimals: str = "") -> int:
    """Return the integer to send; raise `InvalidRequest` for what Stripe can't express."""
    unit = unit_of(money.currency, ugx_decimals)
    if unit is None:
        raise InvalidRequest(_refusal(money.currency), attr="currency")
    up, down = _ratio(money.currency, unit)
    units, rest = divmod(money.minor_units * up, down)
    if rest or units % unit.step:
        raise InvalidRequest(f"Stripe can't express {money} exactly; nothing is rounded.", attr="amount")
    if not 0 < units <= MOST:
        raise InvalidRequest("Stripe takes amounts of 1 to 99999999 of its smallest units.", attr="amount")
    return units


def from_units(units: int, currency: str, ugx_decimals: str = "") -> Money:
    """Return what Stripe's integer means; the sign is kept. `currency` in either case.

    Raises `InvalidRequest` for UGX that the config does not explain, `WireError` for what ISO 4217 can't express.
    Settlement currencies that no charge can have are read with their ISO digits.
    """
    code = currency.upper()
    unit = unit_of(code, ugx_decimals)
    if unit is None and code == CONTRADICTORY:
        raise InvalidRequest(_refusal(code), attr="ugx_decimals")
    up, down = _ratio(code, unit or Unit(exponent(code)))
    minor, rest = divmod(abs(units) * down, up)
    if rest or minor > MAX_MINOR_UNITS:
        raise WireError(f"amount is no amount of {code[:3]}")
    try:
        return Money(minor if units >= 0 else -minor, code)
    except InvalidMoney as error:
        raise WireError(f"amount: {error}") from None


def _ratio(currency: str, unit: Unit) -> tuple[int, int]:
    """Return (up, down): Stripe's units = ISO minor units * up / down; one of them is 1."""
    digits = unit.decimals - exponent(currency)
    up: int = 10 ** max(digits, 0)
    down: int = 10 ** max(-digits, 0)
    return up, down


def _refusal(currency: str) -> str:
    if currency == CONTRADICTORY:
        return "Stripe documents UGX in two contradictory ways: say in the config with how many decimals it is counted."
    return f"Stripe does not take {currency}."
