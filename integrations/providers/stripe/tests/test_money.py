"""Amounts in Stripe's units, both ways; tables from docs.stripe.com/currencies."""

from __future__ import annotations

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import Money
from integrations.contracts.wire import WireError
from integrations.providers.stripe.money import UNITS, from_units, rules, to_units

ZERO_DECIMALS = {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
THREE_DECIMALS = {"BHD", "JOD", "KWD", "OMR", "TND"}

EXACT = [
    ("KES", 150_000, 150_000),
    ("TZS", 100_000, 100_000),
    ("NGN", 100_001, 100_001),
    ("USD", 99_999_999, 99_999_999),
    ("JPY", 500, 500),
    ("KWD", 5_120, 5_120),
    ("ISK", 500, 50_000),
    ("HUF", 12_345, 12_345),
    ("TWD", 80_045, 80_045),
    ("MGA", 500_00, 500),
    ("RWF", 1_000, 1_000),
]


@pytest.mark.parametrize(("currency", "minor", "units"), EXACT)
def test_exact_both_ways(currency: str, minor: int, units: int) -> None:
    assert to_units(Money(minor, currency)) == units
    assert from_units(units, currency.lower()) == Money(minor, currency)
    assert from_units(-units, currency) == Money(-minor, currency)


@pytest.mark.parametrize(
    ("currency", "minor", "field"),
    [
        ("KWD", 5_124, "amount"),
        ("MGA", 500_01, "amount"),
        ("USD", 100_000_000, "amount"),
        ("ISK", 1_000_000, "amount"),
        ("USD", 0, "amount"),
        ("UGX", 1_000, "currency"),
        ("LYD", 1_000, "currency"),
    ],
)
def test_nothing_is_rounded(currency: str, minor: int, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_units(Money(minor, currency))
    assert caught.value.attr == field


@pytest.mark.parametrize(("decimals", "units"), [("0", 1_000), ("2", 100_000)])
def test_ugandan_shillings_as_the_config_says(decimals: str, units: int) -> None:
    assert to_units(Money(1_000, "UGX"), decimals) == units
    assert from_units(units, "ugx", decimals) == Money(1_000, "UGX")
    assert "UGX" in rules(decimals)
    assert "UGX" not in rules()
    with pytest.raises(InvalidRequest) as caught:
        from_units(units, "ugx")
    assert caught.value.attr == "ugx_decimals"


def test_what_iso_can_not_express_is_unreadable() -> None:
    with pytest.raises(WireError):
        from_units(50_050, "isk")
    with pytest.raises(WireError):
        from_units(100, "12")


def test_the_table_is_stripes() -> None:
    assert {code for code, unit in UNITS.items() if unit.decimals == 0} == ZERO_DECIMALS
    assert {code for code, unit in UNITS.items() if unit.decimals == 3} == THREE_DECIMALS
    assert {code for code, unit in UNITS.items() if unit.step > 1} == {*THREE_DECIMALS, "ISK"}


@pytest.mark.parametrize("currency", sorted(rules("2")))
def test_every_rule_ends_where_stripe_does(currency: str) -> None:
    rule = rules("2")[currency]
    for amount in (rule.minimum, rule.maximum):
        assert from_units(to_units(Money(amount, currency), "2"), currency, "2") == Money(amount, currency)
    for amount in (rule.minimum - rule.step, rule.maximum + rule.step):
        with pytest.raises(InvalidRequest):
            to_units(Money(amount, currency), "2")
