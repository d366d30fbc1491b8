"""Amounts on their way to PayPal and back."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import Money
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal import money


@pytest.mark.parametrize(
    ("minor", "currency", "written"),
    [
        (1, "USD", "0.01"),
        (12_345, "USD", "123.45"),
        (100, "EUR", "1.00"),
        (5_000, "JPY", "5000"),
        (500_000, "HUF", "5000"),
        (100, "TWD", "1"),
        (99, "BRL", "0.99"),
        (99_999_999_999_999, "USD", "999999999999.99"),
    ],
)
def test_there_and_back(minor: int, currency: str, written: str) -> None:
    wire = money.to_wire(Money(minor, currency))
    assert wire == {"currency_code": currency, "value": written}
    assert money.from_wire(Wire(wire)) == Money(minor, currency)


@pytest.mark.parametrize("currency", ["KES", "UGX", "TZS", "NGN", "KWD", "RWF", "XYZ"])
def test_currencies_that_paypal_has_not(currency: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        money.to_wire(Money(10_000, currency))
    assert caught.value.attr == "currency"
    assert currency not in money.rules("")


@pytest.mark.parametrize(("minor", "currency"), [(50, "HUF"), (101, "TWD")])
def test_nothing_is_rounded(minor: int, currency: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        money.to_wire(Money(minor, currency))
    assert caught.value.attr == "amount"
    assert money.rules("")[currency].step == 100


@pytest.mark.parametrize(
    "wire",
    [
        {"currency_code": "USD", "value": "1.001"},
        {"currency_code": "JPY", "value": "1.5"},
        {"currency_code": "USD", "value": "NaN"},
        {"currency_code": "USD", "value": "1e400"},
        {"currency_code": "USD"},
        {"currency_code": "dollar", "value": "1.00"},
        {"value": "1.00"},
        "1.00",
    ],
)
def test_what_is_no_amount(wire: Any) -> None:
    with pytest.raises(WireError):
        money.from_wire(Wire(wire))


def test_currencies_of_one_country() -> None:
    assert {"BRL", "CNY", "INR", "MYR"} & set(money.rules("")) == set()
    assert set(money.rules("BR")) - set(money.rules("")) == {"BRL"}
    assert set(money.rules("KE")) == set(money.RULES)
    assert len(money.RULES) == 21
