"""Recipients as people paste them."""

from __future__ import annotations

import pytest

from integrations.contracts.email import Mailbox
from integrations.messaging.staff.reading import Typed, read_addresses, read_numbers


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("0711000001\n0711000002", ("+254711000001", "+254711000002"), ()),
        ("0711000001, 0711000002;+254 711 000 003", ("+254711000001", "+254711000002", "+254711000003"), ()),
        ("0711000001 0711000002", ("+254711000001", "+254711000002"), ()),
        ("0711 000 001", ("+254711000001",), ()),
        ("0711000001\r\n\r\n0711000001\n+254711000001", ("+254711000001",), ()),
        ("0711000001\nJane\n12", ("+254711000001",), ("Jane", "12")),
        (" ,;\n", (), ()),
        ("", (), ()),
    ],
)
def test_numbers(text: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    assert read_numbers(text, country="KE") == Typed(good, bad)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("a@example.com", ("a@example.com",), ()),
        ("a@example.com, b@example.com\nc@example.com;d@example.com", tuple(f"{x}@example.com" for x in "abcd"), ()),
        ('"Doe, Jane" <jane@example.com>, a@example.com', ("Doe, Jane <jane@example.com>", "a@example.com"), ()),
        ("A@Example.com\na@example.com", ("A@Example.com",), ()),
        ("jane\na@example.com", ("a@example.com",), ("jane",)),
        ("", (), ()),
    ],
)
def test_addresses(text: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    read = read_addresses(text)
    assert (read.good, read.bad) == (good, bad)


def test_names_keep_their_letters() -> None:
    read = read_addresses('Zoë Müller <zoe@example.com>, "Doe, Jane" <jane@example.com>')
    assert read.good == ("Zoë Müller <zoe@example.com>", "Doe, Jane <jane@example.com>")
    assert read.mailboxes == (Mailbox("zoe@example.com", "Zoë Müller"), Mailbox("jane@example.com", "Doe, Jane"))


def test_problem_names_the_first_and_counts_the_others() -> None:
    assert read_numbers("\n".join("abcdefg"), country="KE").problem == "Can't be read: a, b, c, d, e and 2 more."
    assert read_numbers("0711000001", country="KE").problem == ""
