"""How M-Pesa writes things: phone numbers, times, passwords, references, security credentials. Pure functions.

Source: Safaricom developer portal, captured August 2026, unless a function says otherwise.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from integrations.contracts.errors import InvalidRequest

NAIROBI = timezone(timedelta(hours=3), "EAT")
"""East Africa Time; Kenya has no daylight saving time."""

REFERENCE_LENGTH = 12
DESCRIPTION_LENGTH = 13
REMARKS_LENGTH = 100

FORBIDDEN_IN_URLS = ("mpesa", "m-pesa", "safaricom", "exe", "cmd", "sql", "query")
"""Words that Daraja refuses in callback URLs, in any case (portal's FAQ; `exec` is covered by `exe`)."""


def msisdn(phone: str) -> str:
    """Return a Kenyan mobile number as 12 digits (`2547...` or `2541...`).

    Accepts 07.., 01.., 7.., 1.., 254.. and +254.., with blanks, dots, brackets or hyphens between digits. Raises
    `InvalidRequest` with attr `method.phone`; the text does not repeat the number.
    """
    digits = re.sub(r"[\s().\-]", "", phone)
    found = re.fullmatch(r"(?:\+?254|0)?([17]\d{8})", digits, re.ASCII)
    if not found:
        raise InvalidRequest("This is no Kenyan mobile number, such as +254712345678.", attr="method.phone")
    return f"254{found[1]}"


def timestamp(now: datetime) -> str:
    """Return an aware time as `YYYYMMDDHHmmss` in Nairobi."""
    return now.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S")


def parse_time(text: str) -> datetime | None:
    """Return `YYYYMMDDHHmmss` (Nairobi) as an aware time in UTC; None where it is no such time.

    None rather than an error: a time is decoration, and money must not be refused for it.
    """
    if not re.fullmatch(r"\d{14}", text, re.ASCII):
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=NAIROBI).astimezone(UTC)
    except ValueError:
        return None


def password(shortcode: str, passkey: str, stamp: str) -> str:
    """Return base64(shortcode + passkey + timestamp); for a till, `shortcode` is the store number."""
    return base64.b64encode(f"{shortcode}{passkey}{stamp}".encode()).decode()


def _plain(text: str) -> str:
    """Return printable ASCII: accents dropped, runs of anything else made one blank."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^\x21-\x7e]+", " ", ascii_text).strip()


def account_reference(reference: str, payment_id: str) -> str:
    """Return what the payer sees as the account: `reference` where it fits into 12 characters.

    A longer one loses its separators; where that is not enough (or it is not ASCII), the last 12 characters of our payment
    id stand in, upper-case. It is never cut: two invoices that differ in the last digits must not show the same account.
    """
    wanted = reference.strip()
    if wanted and wanted == _plain(wanted):
        if len(wanted) <= REFERENCE_LENGTH:
            return wanted
        compact = re.sub(r"[^0-9A-Za-z]", "", wanted)
        if 0 < len(compact) <= REFERENCE_LENGTH:
            return compact
    return payment_id.rpartition("_")[2][-REFERENCE_LENGTH:].upper()


def description(text: str) -> str:
    """Return the transaction's description, cut to 13 characters: the payer sees it, nobody matches by it."""
    return _plain(text)[:DESCRIPTION_LENGTH].strip() or "Payment"


def remarks(text: str) -> str:
    """Return remarks of 2 to 100 characters."""
    plain = _plain(text)[:REMARKS_LENGTH].strip()
    return plain if len(plain) >= 2 else "Refund"


def load_public_key(pem: str) -> RSAPublicKey:
    """Return the key of a PEM certificate (or of a bare PEM public key); raise ValueError with a text for a person.

    Validity dates are not looked at: the certificates in circulation show past ones and are the right ones (seen with
    notAfter 2016 and 2018; compared public SDKs, 2026).
    """
    try:
        key = (
            load_pem_public_key(pem.encode())
            if "BEGIN PUBLIC KEY" in pem
            else x509.load_pem_x509_certificate(pem.encode()).public_key()
        )
    except Exception as error:
        raise ValueError("is no certificate in PEM form (-----BEGIN CERTIFICATE-----)") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("holds no RSA key")
    return key


def security_credential(initiator_password: str, pem: str) -> str:
    """Return the initiator's password under Safaricom's key: RSA, PKCS#1 v1.5 padding, base64 on one line.

    The padding is random: two calls differ. Raises ValueError as `load_public_key`.
    """
    return base64.b64encode(load_public_key(pem).encrypt(initiator_password.encode(), PKCS1v15())).decode()


def forbidden_word(url: str) -> str:
    """Return the word for which Daraja would refuse this callback URL, else the empty string."""
    lowered = url.lower()
    return next((word for word in FORBIDDEN_IN_URLS if word in lowered), "")
