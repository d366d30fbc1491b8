"""Amounts: what is sent, what is read, what is refused; by currency."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.money import Money
from integrations.contracts.wire import Wire, WireError
from integrations.providers.flutterwave import money


@pytest.mark.parametrize(
    ("minor", "currency", "text", "number"),
    [
        (150_000, "KES", "1500", "1500"),
        (150_050, "KES", "1500.50", "1500.5"),
        (1, "KES", "0.01", "0.01"),
        (1500, "UGX", "1500", "1500"),
        (150_000, "TZS", "1500", "1500"),
        (10_050, "NGN", "100.50", "100.5"),
        (1999, "USD", "19.99", "19.99"),
        (29, "USD", "0.29", "0.29"),
        (9_999_999_999_999, "NGN", "99999999999.99", "99999999999.99"),
        (5000, "RWF", "5000", "5000"),
        (5000, "XAF", "5000", "5000"),
        (5000, "XOF", "5000", "5000"),
    ],
)
def test_major_units_as_text_and_as_number(minor: int, currency: str, text: str, number: str) -> None:
    assert money.text_amount(Money(minor, currency)) == text
    assert json.dumps(money.number_amount(Money(minor, currency))) == number
    assert money.read_money(Wire(json.loads(number)), currency) == Money(minor, currency)
    assert money.read_money(Wire(text), currency) == Money(minor, currency)


@pytest.mark.parametrize("currency", ["JPY", "KWD", "EUR", "ZAR"])
def test_currencies_that_the_provider_sheet_does_not_list_are_refused(currency: str) -> None:
    for write in (money.text_amount, money.number_amount):
        with pytest.raises(InvalidRequest) as caught:
            write(Money(1000, currency))
        assert caught.value.attr == "currency"
    assert currency not in money.CURRENCIES


def test_numbers_are_exact_up_to_the_largest_amount() -> None:
    for minor in (*range(money.MAXIMUM - 300, money.MAXIMUM + 1), *range(10**15 - 300, 10**15)):
        amount = Money(minor, "NGN")
        assert Decimal(json.dumps(money.number_amount(amount))) == amount.to_decimal()


@pytest.mark.parametrize(
    ("minor", "currency", "options"),
    [
        (150_000, "KES", "card,mpesa"),
        (150_050, "KES", "card"),
        (1500, "UGX", "card,mobilemoneyuganda"),
        (150_000, "TZS", "card,mobilemoneytanzania"),
        (150_001, "TZS", "card"),
        (10_050, "NGN", "card,banktransfer,ussd"),
        (100, "USD", "card"),
        (10, "XOF", "card,mobilemoneyfranco"),
    ],
)
def test_wallets_are_offered_for_whole_amounts_only(minor: int, currency: str, options: str) -> None:
    assert money.payment_options(Money(minor, currency)) == options


def test_prompts_are_in_whole_shillings() -> None:
    assert money.whole_shillings(Money(150_000, "KES")) == 1500
    for amount, attr in ((Money(150_050, "KES"), "amount"), (Money(1500, "UGX"), "currency")):
        with pytest.raises(InvalidRequest) as caught:
            money.whole_shillings(amount)
        assert caught.value.attr == attr


@pytest.mark.parametrize(
    ("value", "currency"), [(1500.555, "KES"), ("1500.5", "UGX"), ("many", "KES"), ("NaN", "KES"), (True, "KES")]
)
def test_what_is_no_amount_is_not_read(value: object, currency: str) -> None:
    with pytest.raises(WireError):
        money.read_money(Wire(value, "amount"), currency)


@pytest.mark.parametrize(
    ("data", "currency", "fee"),
    [
        ({"app_fee": 43.5, "merchant_fee": 0}, "KES", Money(4350, "KES")),
        ({"app_fee": "43.5", "merchant_fee": "1.25"}, "KES", Money(4475, "KES")),
        ({"app_fee": 0.1, "merchant_fee": 0.2}, "USD", Money(30, "USD")),
        ({"app_fee": 43.505}, "KES", None),
        ({"app_fee": 29.4}, "UGX", None),
        ({}, "KES", None),
        ({"app_fee": None, "merchant_fee": 2}, "KES", Money(200, "KES")),
    ],
)
def test_fees_are_exact_or_not_stated(data: dict[str, object], currency: str, fee: Money | None) -> None:
    assert money.read_fee(Wire(data), currency) == fee
