"""Money as integer minor units plus an ISO 4217 code; `Decimal` only at a provider's edge, `float` never."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, Overflow

# ISO 4217 exponents that differ from 2 (ISO 4217 table A.1). Everything else that the table lists has two.
_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0),
    **dict.fromkeys(("UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}

MAX_MINOR_UNITS = 10**15


class InvalidMoney(ValueError):
    """The value is no exact amount of the currency."""


def exponent(currency: str) -> int:
    """Return how many decimal digits `currency` has by ISO 4217 (2 where it is not a known exception)."""
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True)
class Money:
    """`minor_units` of `currency`; `Money(150000, "KES")` is 1,500.00 shillings."""

    minor_units: int
    currency: str

    def __post_init__(self) -> None:
        if isinstance(self.minor_units, bool) or not isinstance(self.minor_units, int):
            raise InvalidMoney("amount must be an integer number of minor units")
        if abs(self.minor_units) > MAX_MINOR_UNITS:
            raise InvalidMoney("amount is out of range")
        if len(self.currency) != 3 or not (self.currency.isascii() and self.currency.isalpha() and self.currency.isupper()):
            raise InvalidMoney("currency must be three upper-case letters (ISO 4217)")

    @classmethod
    def from_decimal(cls, value: Decimal | str | int, currency: str) -> Money:
        """Return the exact amount; raise `InvalidMoney` where it has more digits than the currency: nothing is rounded."""
        try:
            scaled = Decimal(str(value)).scaleb(exponent(currency))
        except (InvalidOperation, Overflow) as error:
            raise InvalidMoney(f"{value!r} is not a decimal number") from error
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            raise InvalidMoney(f"{value!r} is not a whole number of minor units of {currency}")
        return cls(int(scaled), currency)

    def to_decimal(self) -> Decimal:
        """Return the amount in major units, with exactly the currency's number of digits."""
        return Decimal(self.minor_units).scaleb(-exponent(self.currency))

    def whole_major_units(self) -> int:
        """Return major units for a provider that knows no fractions; raise `InvalidMoney` if there is a fraction."""
        unit: int = 10 ** exponent(self.currency)
        quotient, rest = divmod(self.minor_units, unit)
        if rest:
            raise InvalidMoney(f"amount must be whole {self.currency}, without a fraction")
        return quotient

    def __str__(self) -> str:
        return f"{self.currency} {self.to_decimal():,}"
