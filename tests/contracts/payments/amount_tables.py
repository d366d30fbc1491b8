"""Amounts as each gateway writes them: by hand from the vendors' pages, not from the code under test.

`SENT`: ISO 4217 minor units -> the JSON text that must stand in the request (a form's values are text). Each table holds the
smallest and the largest amount, odd minor units where there are any, and round ones.
"""

from __future__ import annotations

from collections.abc import Mapping

CURRENCIES = ("KES", "UGX", "TZS", "NGN", "JPY", "KWD", "USD")
Written = Mapping[int, str]

# docs.stripe.com/currencies: integers of the smallest unit, at most eight digits. JPY has no decimals; KWD has three, of which
# the last must be 0. UGX is documented in two contradictory ways and stays refused until the config says which holds.
STRIPE: Mapping[str, Written] = {
    "KES": {50: '"50"', 1_050: '"1050"', 150_000: '"150000"', 150_051: '"150051"', 99_999_999: '"99999999"'},
    "TZS": {50: '"50"', 150_051: '"150051"', 2_500_000: '"2500000"', 99_999_999: '"99999999"'},
    "NGN": {50: '"50"', 10_050: '"10050"', 99_999_999: '"99999999"'},
    "JPY": {50: '"50"', 1_501: '"1501"', 99_999_999: '"99999999"'},
    "KWD": {50: '"50"', 5_120: '"5120"', 10_000: '"10000"', 99_999_990: '"99999990"'},
    "USD": {50: '"50"', 1_099: '"1099"', 100_000: '"100000"', 99_999_999: '"99999999"'},
}

# PayPal's currency codes page and the schema `money`: decimal text, two digits, none for JPY. No African currency, no KWD.
PAYPAL: Mapping[str, Written] = {
    "JPY": {1: '"1"', 1_501: '"1501"', 99_999_999_999_999: '"99999999999999"'},
    "USD": {1: '"0.01"', 1_050: '"10.50"', 100_000: '"1000.00"', 99_999_999_999_999: '"999999999999.99"'},
}

# developer.flutterwave.com (v3): major units, on the hosted page as text.
FLUTTERWAVE: Mapping[str, Written] = {
    "KES": {
        1: '"0.01"',
        150_000: '"1500"',
        150_050: '"1500.50"',
        9_999_999_999_999: '"99999999999.99"',
        10**13: '"100000000000"',
    },
    "UGX": {1: '"1"', 5_001: '"5001"', 10**13: '"10000000000000"'},
    "TZS": {1: '"0.01"', 250_050: '"2500.50"', 10**13: '"100000000000"'},
    "NGN": {1: '"0.01"', 10_050: '"100.50"', 10_000: '"100"', 10**13: '"100000000000"'},
    "USD": {1: '"0.01"', 1_099: '"10.99"', 10**13: '"100000000000"'},
}

# developer.pesapal.com (API 3.0): JSON numbers in major units with up to two decimals; UGX has none by ISO 4217.
PESAPAL: Mapping[str, Written] = {
    "KES": {1: "0.01", 150_000: "1500", 150_050: "1500.5", 999_999_999_999: "9999999999.99", 10**12: "10000000000"},
    "UGX": {1: "1", 5_001: "5001", 10**12: "1000000000000"},
    "TZS": {1: "0.01", 250_050: "2500.5", 10**12: "10000000000"},
    "USD": {1: "0.01", 1_099: "10.99", 10**12: "10000000000"},
}

# Safaricom's portal: whole shillings, 1 to 250,000.
MPESA: Mapping[str, Written] = {"KES": {100: "1", 1_000: "10", 150_000: "1500", 25_000_000: "250000"}}

SENT: Mapping[str, Mapping[str, Written]] = {
    "stripe": STRIPE, "paypal": PAYPAL, "flutterwave": FLUTTERWAVE, "pesapal": PESAPAL, "mpesa": MPESA,
}  # fmt: skip

REFUSED: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "stripe": {
        "KES": (0, -100, 100_000_000),
        "TZS": (0, 100_000_000),
        "NGN": (0, 100_000_000),
        "JPY": (0, 100_000_000),
        "KWD": (0, 1, 5_124, 5_129, 99_999_991, 100_000_000),
        "USD": (0, 100_000_000),
    },
    "paypal": {"JPY": (0, 100_000_000_000_000), "USD": (0, -1, 100_000_000_000_000)},
    "flutterwave": dict.fromkeys(FLUTTERWAVE, (0, -100, 10**13 + 1)),
    "pesapal": dict.fromkeys(PESAPAL, (0, -100, 10**12 + 1)),
    "mpesa": {"KES": (0, 1, 50, 99, 101, 1_050, 150_050, 24_999_999, 25_000_001, 25_000_100)},
}
"""Refused before any call, naming the amount: one below the least, one above the most, and what can't be written exactly."""

DECLINED: Mapping[tuple[str, str], Mapping[int, str]] = {
    ("stripe", "KES"): {49: "amount_too_small"},
    ("stripe", "JPY"): {49: "amount_too_small"},
    ("stripe", "USD"): {1: "amount_too_small", 49: "amount_too_small"},
}
"""Sent, and refused by the gateway itself: its least amounts follow the settlement currency, which only it knows."""

CODES: Mapping[str, Mapping[str, str]] = {
    "stripe": {currency: currency.lower() for currency in STRIPE},
    "paypal": {"JPY": "JPY", "USD": "USD"},
    "flutterwave": {currency: currency for currency in FLUTTERWAVE},
    "pesapal": {currency: currency for currency in PESAPAL},
    "mpesa": {"KES": ""},
}
"""How the request names the currency; M-Pesa's knows one only and does not name it."""

PROMPTS: Written = {100: "1", 150_000: "1500", 25_000_100: "250001"}
"""Flutterwave's M-Pesa prompts: whole shillings as a JSON number."""

REFUNDS: Mapping[tuple[str, str], tuple[int, Written]] = {
    ("stripe", "KES"): (150_051, {50_025: '"50025"'}),
    ("stripe", "JPY"): (1_501, {500: '"500"'}),
    ("stripe", "KWD"): (10_000, {5_120: '"5120"'}),
    ("stripe", "USD"): (1_099, {1: '"1"', 1_000: '"1000"'}),
    ("paypal", "JPY"): (1_501, {500: '"500"', 1: '"1"'}),
    ("paypal", "USD"): (1_099, {1: '"0.01"', 1_000: '"10.00"'}),
    ("flutterwave", "KES"): (150_050, {50_000: "500", 50_025: "500.25"}),
    ("flutterwave", "UGX"): (5_001, {1: "1", 1_500: "1500"}),
    ("flutterwave", "NGN"): (10_050, {10_050: "100.5"}),
    ("pesapal", "KES"): (150_050, {50_025: '"500.25"'}),
    ("pesapal", "UGX"): (5_001, {1_500: '"1500"'}),
    ("pesapal", "USD"): (1_099, {1_000: '"10.00"'}),
    ("mpesa", "KES"): (150_000, {50_000: "500"}),
}
"""(paid, refunded -> what is written)."""

CAPTURES: Mapping[tuple[str, str], tuple[int, Written]] = {
    ("stripe", "KES"): (150_051, {50_025: '"50025"', 1: '"1"'}),
    ("stripe", "JPY"): (1_501, {500: '"500"'}),
    ("stripe", "KWD"): (10_000, {5_120: '"5120"', 10: '"10"'}),
    ("paypal", "JPY"): (1_501, {500: '"500"'}),
    ("paypal", "USD"): (1_099, {1: '"0.01"', 1_000: '"10.00"'}),
}
"""(held, captured -> what is written)."""

INEXACT: Mapping[tuple[str, str], tuple[int, int]] = {("stripe", "KWD"): (10_000, 5_124), ("mpesa", "KES"): (150_000, 1_050)}
"""(paid or held, what can be neither refunded nor captured): it can't be written exactly."""
