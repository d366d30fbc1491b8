"""Signatures of Standard Webhooks (standardwebhooks.com, spec 1.0): HMAC-SHA256 over `id.timestamp.body`, scheme `v1`."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from standardwebhooks.webhooks import Webhook

SECRET_BYTES = 32


def new_secret() -> str:
    """Return a fresh signing secret as receivers' libraries take it: `whsec_` and base64 of 256 random bits."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


@lru_cache(maxsize=256)
def _signer(secret: str) -> Webhook:
    return Webhook(secret)


def signed_headers(signing_secrets: Sequence[str], *, message_id: str, at: datetime, body: str) -> dict[str, str]:
    """Return the three headers for one attempt made at `at` (aware). Each secret gives a signature, in the order given."""
    utc = at.astimezone(UTC)  # the library replaces the zone instead of converting
    signatures = [_signer(secret).sign(message_id, utc, body) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
