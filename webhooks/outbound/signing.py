"""Signatures of Standard Webhooks (standardwebhooks.com, spec 1.0) over `id.timestamp.body`.

`v1` is HMAC-SHA256 with a shared `whsec_` secret. `v1a` is ed25519: `whsk_` is our private key (base64 of seed and public key,
64 bytes), `whpk_` what receivers verify with. The libraries have no `v1a` yet, so that half is our own.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks.webhooks import Webhook

from integrations.contracts import clock
from integrations.contracts.ids import new_id
from webhooks.outbound.models.endpoints import SigningKey

SECRET_BYTES = 32
SYMMETRIC, ASYMMETRIC = "v1", "v1a"
SCHEMES = (SYMMETRIC, ASYMMETRIC)
MAX_KEYS = 10
"""An endpoint's keys at most, those in their overlap included."""


def new_secret(scheme: str = SYMMETRIC) -> str:
    """Return a fresh signing secret as receivers' libraries write it: 256 random bits as `whsec_`, or a `whsk_` key."""
    if scheme == SYMMETRIC:
        return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    private = Ed25519PrivateKey.generate()
    return "whsk_" + base64.b64encode(private.private_bytes_raw() + private.public_key().public_bytes_raw()).decode()


def new_key(scheme: str = SYMMETRIC, *, secret: str = "") -> SigningKey:
    """Return a key that does not expire; `secret` is a given one (checked by `check_secret`), else a fresh one."""
    return SigningKey(
        id=new_id("whk"),
        scheme=scheme,
        secret=secret or new_secret(scheme),
        created=clock.now().isoformat(),
        expires_at=None,
    )


def check_secret(secret: str) -> str:
    """Return the scheme of a secret that somebody brought along; raise `ValueError` where it can't sign."""
    prefix, _, encoded = secret.partition("_")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the secret is not base64 behind its prefix") from error
    if prefix == "whsec" and 24 <= len(raw) <= 64:
        return SYMMETRIC
    if prefix == "whsk" and len(raw) in (32, 64):
        if len(raw) == 64 and Ed25519PrivateKey.from_private_bytes(raw[:32]).public_key().public_bytes_raw() != raw[32:]:
            raise ValueError("the secret's two halves do not belong together")
        return ASYMMETRIC
    raise ValueError("write whsec_ and 24 to 64 bytes as base64, or whsk_ and an ed25519 key")


def public_key(secret: str) -> str:
    """Return the `whpk_` key that verifies what the `whsk_` key `secret` signs."""
    raw = _private(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return "whpk_" + base64.b64encode(raw).decode()


def in_use(keys: Iterable[SigningKey], at: datetime) -> list[SigningKey]:
    """Return the keys that sign at this moment, in the order given: the newest, and those still in their overlap."""
    return [key for key in keys if key["expires_at"] is None or datetime.fromisoformat(key["expires_at"]) > at]


def rotated(keys: Sequence[SigningKey], new: SigningKey, *, overlap: timedelta, now: datetime) -> list[SigningKey]:
    """Return the keys after `new` took over: what was in use goes on signing for `overlap`, no longer than it would have
    anyway; what has expired is dropped."""
    end = now + overlap
    kept = []
    for key in in_use(keys, now):
        given = datetime.fromisoformat(key["expires_at"]) if key["expires_at"] else None
        if overlap > timedelta(0):
            kept.append(SigningKey(**{**key, "expires_at": min(end, given or end).isoformat()}))
    return [new, *kept]


@lru_cache(maxsize=256)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)


@lru_cache(maxsize=256)
def _private(secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret.removeprefix("whsk_"))[:32])


def _sign(secret: str, message_id: str, at: datetime, body: str) -> str:
    if not secret.startswith("whsk_"):
        signature: str = _signer(secret).sign(message_id, at, body)
        return signature
    content = f"{message_id}.{int(at.timestamp())}.{body}".encode()
    return "v1a," + base64.b64encode(_private(secret).sign(content)).decode()


def signed_headers(signing_secrets: Sequence[str], *, message_id: str, at: datetime, body: str) -> dict[str, str]:
    """Return the three headers for one attempt made at `at` (aware). Each secret gives a signature, in the order given."""
    utc = at.astimezone(UTC)  # the library replaces the zone instead of converting
    signatures = [_sign(secret, message_id, utc, body) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
