"""Numbers, times, passwords, references, credentials: exact vectors."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from integrations.contracts.errors import InvalidRequest
from integrations.providers.mpesa import formats
from integrations.providers.mpesa.tests.support import PASSKEY, key_pair


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        # Published snippet (frank-chege/virtual_doctor).
        (
            "20240330120711",
            "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMjQwMzMwMTIwNzEx",
        ),
        # The portal's own sample (also in safaricom/LNMOnlineAndroidSample issue 8).
        (
            "20160216165627",
            "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGExZWQyYzkxOTIwMTYwMjE2MTY1NjI3",
        ),
    ],
)
def test_password_vectors(stamp: str, expected: str) -> None:
    assert formats.password("174379", PASSKEY, stamp) == expected


def test_timestamp_is_nairobi_time_across_midnight() -> None:
    assert formats.timestamp(datetime(2024, 3, 30, 9, 7, 11, tzinfo=UTC)) == "20240330120711"
    assert formats.timestamp(datetime(2025, 12, 31, 21, 0, 0, tzinfo=UTC)) == "20260101000000"


@pytest.mark.parametrize(
    "phone",
    ["0712345678", "712345678", "254712345678", "+254712345678", "+254 712 345 678", "0712-345-678", "(0712) 345.678"],
)
def test_msisdn_of_the_usual_spellings(phone: str) -> None:
    assert formats.msisdn(phone) == "254712345678"


@pytest.mark.parametrize(("phone", "expected"), [("0110123456", "254110123456"), ("110123456", "254110123456")])
def test_msisdn_of_the_new_prefix(phone: str, expected: str) -> None:
    assert formats.msisdn(phone) == expected


@pytest.mark.parametrize(
    "phone",
    [
        "",
        "0812345678",
        "07123456789",
        "071234567",
        "+255712345678",
        "00254712345678",
        "07I2345678",
        "٠٧١٢٣٤٥٦٧٨",
        "0712345678\n0",
    ],
)
def test_what_is_no_kenyan_mobile_number(phone: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        formats.msisdn(phone)
    assert caught.value.attr == "method.phone"
    assert phone == "" or phone not in caught.value.message


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("INV-0042", "INV-0042"),
        ("  INV-0042 ", "INV-0042"),
        ("123456789012", "123456789012"),
        ("INV-2026-00042", "INV202600042"),
        ("INV-2026-000042", "89ABCDEFGH12"),  # 13 characters even without separators: the payment's id, not a cut
        ("INV-2026-000043", "89ABCDEFGH12"),
        ("", "89ABCDEFGH12"),
        ("Gebühr 7", "89ABCDEFGH12"),
        ("----------------", "89ABCDEFGH12"),
    ],
)
def test_account_reference_is_never_cut(reference: str, expected: str) -> None:
    assert formats.account_reference(reference, "pay_01jd8k0123456789abcdefgh12") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("School fees term 2", "School fees t"),
        ("Frais d'été", "Frais d'ete"),
        ("", "Payment"),
        ("日本", "Payment"),
        ("a\n b", "a b"),
    ],
)
def test_description(text: str, expected: str) -> None:
    assert formats.description(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("", "Refund"), ("x", "Refund"), ("Paid twice", "Paid twice"), ("y" * 120, "y" * 100)]
)
def test_remarks(text: str, expected: str) -> None:
    assert formats.remarks(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260710091544", datetime(2026, 7, 10, 6, 15, 44, tzinfo=UTC)),
        ("20260229000000", None),
        ("2026071009154", None),
        ("", None),
        ("10.07.2026 09:20:52", None),
    ],
)
def test_parse_time(text: str, expected: datetime | None) -> None:
    assert formats.parse_time(text) == expected


def test_security_credential_decrypts_to_the_password_alone() -> None:
    key, certificate = key_pair()
    first, second = (formats.security_credential("Canary#2026", certificate) for _ in range(2))
    assert len(first) == 344
    assert first != second
    for credential in (first, second):
        assert key.decrypt(base64.b64decode(credential, validate=True), PKCS1v15()) == b"Canary#2026"


def test_a_bare_public_key_will_do() -> None:
    key, _ = key_pair()
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    credential = formats.security_credential("x", pem)
    assert key.decrypt(base64.b64decode(credential), PKCS1v15()) == b"x"


def test_keys_that_are_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="holds no RSA key"):
        formats.load_public_key(pem)
    with pytest.raises(ValueError, match="is no certificate in PEM form"):
        formats.load_public_key("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("https://hub.example/hooks/0a1b/c", ""),
        ("https://MPesa.example/x", "mpesa"),
        ("https://executive.example/x", "exe"),
        ("https://hub.example/sql", "sql"),
        ("https://hub.example/x?query=1", "query"),
    ],
)
def test_forbidden_words(url: str, word: str) -> None:
    assert formats.forbidden_word(url) == word


def test_hex_tokens_and_purposes_hold_no_forbidden_word() -> None:
    from integrations.providers.mpesa.webhook import MpesaWebhook

    for purpose in MpesaWebhook.purposes:
        assert formats.forbidden_word(f"/hooks/{'0123456789abcdef' * 3}/{purpose}") == ""
