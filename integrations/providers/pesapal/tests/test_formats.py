"""Amounts, ids, times, names and codes, as tables."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.failures import VOCABULARY
from integrations.contracts.money import InvalidMoney, Money
from integrations.providers.pesapal import codes, formats, money
from integrations.providers.pesapal.tests.support import PAYMENT, REFERENCE


@pytest.mark.parametrize(
    ("minor", "currency", "number", "text"),
    [
        (150_000, "KES", 1500, "1500.00"),
        (150_050, "KES", 1500.5, "1500.50"),
        (1, "KES", 0.01, "0.01"),
        (99_999_999_999, "KES", 999_999_999.99, "999999999.99"),
        (1500, "UGX", 1500, "1500"),
        (123_456, "TZS", 1234.56, "1234.56"),
        (2500, "RWF", 2500, "2500"),
        (1999, "USD", 19.99, "19.99"),
    ],
)
def test_amounts_that_pesapal_takes(minor: int, currency: str, number: float, text: str) -> None:
    given = Money(minor, currency)
    assert money.to_number(given) == number
    assert type(money.to_number(given)) is type(number)
    assert money.to_text(given) == text
    assert money.from_decimal(Decimal(str(money.to_number(given))), currency) == given


@pytest.mark.parametrize("currency", ["NGN", "JPY", "KWD", "ZMW", "MWK"])
def test_currencies_that_pesapal_does_not_take(currency: str) -> None:
    for convert in (money.to_number, money.to_text):
        with pytest.raises(InvalidRequest) as caught:
            convert(Money(1500, currency))
        assert caught.value.attr == "currency"


@pytest.mark.parametrize("minor", [0, -1])
def test_nothing_is_no_amount(minor: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        money.to_number(Money(minor, "KES"))
    assert caught.value.attr == "amount"


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("1500.0", "KES", 150_000),
        ("1500.5", "KES", 150_050),
        ("1500.0", "UGX", 1500),
        ("0.10", "TZS", 10),
        ("1500", "NGN", 150_000),
        ("1500", "JPY", 1500),
        ("1.500", "KWD", 1500),
        ("19.99", "usd", 1999),
    ],
)
def test_amounts_that_pesapal_states(value: str, currency: str, minor: int) -> None:
    assert money.from_decimal(Decimal(value), currency) == Money(minor, currency.upper())


@pytest.mark.parametrize(
    ("value", "currency"), [("1500.505", "KES"), ("1500.5", "UGX"), ("0.5", "JPY"), ("1.0005", "KWD"), ("1", "shillings")]
)
def test_amounts_that_are_none_are_not_rounded(value: str, currency: str) -> None:
    with pytest.raises(InvalidMoney):
        money.from_decimal(Decimal(value), currency)


def test_the_rules_name_what_the_table_has() -> None:
    rules = money.rules()
    assert {code: rule.decimals for code, rule in rules.items()} == {"KES": 2, "RWF": 0, "TZS": 2, "UGX": 0, "USD": 2}
    assert {(rule.minimum, rule.maximum, rule.step) for rule in rules.values()} == {(1, 10**12, 1)}


@pytest.mark.parametrize(("attempt", "reference"), [(1, REFERENCE), (2, f"{REFERENCE}-2"), (17, f"{REFERENCE}-17")])
def test_each_try_has_a_reference_that_leads_back(attempt: int, reference: str) -> None:
    assert formats.merchant_reference(PAYMENT, attempt) == reference
    assert len(reference) <= 50
    assert formats.payment_id_of(reference) == PAYMENT


@pytest.mark.parametrize(
    "reference", ["HUB-000123", "", "pay_01jd", "pay-", "PAY-01jd", "pay-01jd-1", "pay-01jd-2-3", "re-01jd"]
)
def test_other_references_are_none_of_ours(reference: str) -> None:
    assert formats.payment_id_of(reference) == ""


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-10T06:20:45.7793772Z", datetime(2026, 7, 10, 6, 20, 45, 779377, tzinfo=UTC)),
        ("2026-01-01T12:30:00.000Z", datetime(2026, 1, 1, 12, 30, tzinfo=UTC)),
        ("2026-01-01T12:30:00.5", datetime(2026, 1, 1, 12, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-01-01T12:30:00", datetime(2026, 1, 1, 12, 30, tzinfo=UTC)),
        ("2026-13-01T12:30:00Z", None),
        ("7/10/2026 6:20:45 AM", None),
        ("", None),
    ],
)
def test_expiry_dates(text: str, moment: datetime | None) -> None:
    assert formats.parse_moment(text) == moment


def test_texts_fit_their_fields() -> None:
    assert formats.names("Jane  Achieng\tDoe") == ("Jane", "Achieng Doe")
    assert formats.names("Jane") == ("Jane", "")
    assert formats.names("") == ("", "")
    assert formats.description("x" * 101, "INV") == "x" * 100
    assert formats.description(" \n", "INV-1") == "INV-1"
    assert formats.description("", "") == "Payment"


@pytest.mark.parametrize(
    ("code", "message", "failure"),
    [
        ("amount_exceeds_default_limit", "", "amount_too_large"),
        (
            "maximum_amount_limit_exceeded",
            "Request Declined.Maximum allowed test transactions limit exceeded",
            "amount_too_large",
        ),
        ("test_transactions_exceeded", "", "amount_too_large"),
        ("InvalidIpnId", "", "provider_configuration"),
        ("invalid_api_request_parameters", "Invalid IPN URL ID provided.Check format and try again", "provider_configuration"),
        ("invalid_api_request_parameters", "", "invalid_request"),
        ("some_code", "Duplicate merchant reference", "duplicate_reference"),
        ("invalid_currency", "", "currency_not_supported"),
        ("brand_new", "Who knows", "gateway_refused"),
        ("", "", "gateway_refused"),
    ],
)
def test_refused_orders(code: str, message: str, failure: str) -> None:
    found = codes.order_failure(code, message)
    assert (found.code, found.provider_code) == (failure, code)
    assert found.type == VOCABULARY[failure][0].value


def test_pesapals_words_are_shown_where_ours_say_less() -> None:
    assert codes.order_failure("brand_new", "Who knows").message == "Pesapal refused the order: Who knows."
    assert codes.order_failure("brand_new", "<html>").message == VOCABULARY["gateway_refused"][2]


@pytest.mark.parametrize(
    ("told", "failure"),
    [
        ("Insufficient Funds", "insufficient_funds"),
        ("Request cancelled by user", "cancelled_by_payer"),
        ("DS timeout", "payment_expired"),
        ("3D secure failed", "authentication_failed"),
        ("Wrong PIN", "wrong_pin"),
        ("Do not honour", "declined"),
        ("", "declined"),
    ],
)
def test_failed_attempts(told: str, failure: str) -> None:
    found = codes.decline(told)
    assert (found.code, found.decline_code, found.provider_code) == (failure, told, "2")


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("A refund request already exists for this payment", "already_refunded"),
        ("Invalid confirmation code", "receipt_not_found"),
        ("The amount exceeds the amount paid", "invalid_request"),
        ("Insufficient balance", "merchant_balance_low"),
        ("No", "refund_declined"),
    ],
)
def test_rejected_refunds(message: str, failure: str) -> None:
    assert codes.refund_failure("500", message).code == failure


@pytest.mark.parametrize(
    ("name", "mobile"),
    [("MpesaKE", True), ("MTN", True), ("AirtelUG", True), ("Visa", False), ("MasterCard", False), ("", False)],
)
def test_which_methods_are_mobile_money(name: str, mobile: bool) -> None:
    assert codes.is_mobile_money(name) is mobile
