"""The signature of PayPal's webhooks: RSA over transmission id, time, webhook id and the body's CRC-32.

Source: PayPal's webhooks integration guide, "self verification" (read 2026-11). A CRC is no hash: two bodies with one CRC are
easy to make for whoever has seen a signed one, so a signed body too is only a reason to read the object at PayPal.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from integrations.contracts.inbound import BadSignature

ALGORITHM = "SHA256withRSA"
OLDEST = timedelta(days=4)
"""PayPal sends again for three days and documents no freshness rule; a repetition may carry the first attempt's time."""

AHEAD = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Transmission:
    """What a request's headers say about its signature."""

    id: str
    time: str
    signature: bytes
    certificate_url: str


def read(headers: Mapping[str, str], now: datetime) -> Transmission:
    """Return the signature's parts; raise `BadSignature` where one is missing, malformed, too old or of another algorithm."""
    given = {name.lower(): value for name, value in headers.items()}
    names = ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo")
    number, time, signature, url, algorithm = (given.get(f"paypal-{name}", "").strip() for name in names)
    if algorithm != ALGORITHM:
        raise BadSignature("another algorithm than SHA256withRSA")
    # The parts are joined with "|": none may hold one itself.
    if not re.fullmatch(r"[A-Za-z0-9-]{1,50}", number):
        raise BadSignature("no transmission id")
    try:
        at = datetime.fromisoformat(time)
        raw = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        raise BadSignature("transmission time or signature can't be read") from None
    if at.tzinfo is None or "|" in time or not raw:
        raise BadSignature("transmission time or signature can't be read")
    if not now - OLDEST <= at <= now + AHEAD:
        raise BadSignature("the transmission time is too far off")
    return Transmission(number, time, raw, url)


def message(transmission: Transmission, webhook_id: str, body: bytes) -> bytes:
    """Return what PayPal signs; the CRC is unsigned and decimal, over the raw body."""
    return f"{transmission.id}|{transmission.time}|{webhook_id}|{zlib.crc32(body) & 0xFFFFFFFF}".encode()


def check(transmission: Transmission, webhook_id: str, body: bytes, key: rsa.RSAPublicKey) -> None:
    """Raise `BadSignature` unless the key's owner signed this."""
    try:
        key.verify(transmission.signature, message(transmission, webhook_id, body), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise BadSignature("the signature does not fit") from None
