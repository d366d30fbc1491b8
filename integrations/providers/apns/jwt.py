"""The provider token: a JWT signed with ES256.

Source: developer.apple.com, "Establishing a token-based connection to APNs" (2026-11).
"""

from __future__ import annotations

import base64
import json
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key


class UnreadableKey(ValueError):
    """The text is no signing key; the error's text is for people and shows nothing of it."""


def load_key(pem: str) -> EllipticCurvePrivateKey:
    """Return the key of a .p8 file (PKCS#8 PEM, P-256); raise `UnreadableKey`."""
    try:
        key = load_pem_private_key(pem.strip().encode() + b"\n", password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnreadableKey("is not the text of a .p8 file") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise UnreadableKey("is not a key for signing with ES256")
    return key


def mint(*, team_id: str, key_id: str, pem: str, at: datetime) -> str:
    """Return a fresh token. Apple takes it for one hour from `at`. Raises `UnreadableKey`."""
    key = load_key(pem)
    parts = ({"alg": "ES256", "kid": key_id}, {"iss": team_id, "iat": int(at.timestamp())})
    signed = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    # JOSE wants the two numbers one after the other, 32 bytes each (RFC 7518, 3.4), not the DER that the library gives.
    r, s = decode_dss_signature(key.sign(signed.encode(), ECDSA(SHA256())))
    return f"{signed}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def encoded(data: bytes) -> str:
    """Return base64 in its URL-safe alphabet, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
