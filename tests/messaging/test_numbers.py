from __future__ import annotations

import pytest

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.sms.numbers import normalise, normalise_all


@pytest.mark.parametrize(
    ("written", "country", "expected"),
    [
        ("0712345678", "KE", "+254712345678"),
        ("0712 345 678", "KE", "+254712345678"),
        ("712345678", "KE", "+254712345678"),
        ("254712345678", "KE", "+254712345678"),
        ("+254 (712) 345-678", "KE", "+254712345678"),
        ("0110000001", "KE", "+254110000001"),
        ("00254712345678", "GB", "+254712345678"),
        ("07911 123456", "GB", "+447911123456"),
        ("+256772123456", "KE", "+256772123456"),
        ("071234567", "KE", None),
        ("07123456789", "KE", None),
        ("+254712345678 ext. 5", "KE", None),
        ("12345", "KE", None),
        ("parent", "KE", None),
        ("", "KE", None),
        ("+999712345678", "KE", None),
    ],
)
def test_numbers_are_read_as_the_tenants_country(written: str, country: str, expected: str | None) -> None:
    assert normalise(written, country=country) == expected


def test_each_number_once_in_the_order_given() -> None:
    written = ["0712345678", "+254700000001", "254712345678", "0712 345678"]
    assert normalise_all(written, country="KE") == ["+254712345678", "+254700000001"]


def test_bad_entries_are_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalise_all(["0712345678", "12", "mum", "1", "2", "3", "4", "x" * 500], country="KE")
    assert caught.value.attr == "to"
    assert caught.value.message == "Not phone numbers: 12, mum, 1, 2, 3 and 2 more."


def test_nobody_is_no_recipient() -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalise_all([], country="KE")
    assert caught.value.attr == "to"
