"""Verify a webhook of endpoint we_00000000000000000000000000 (Standard Webhooks).

In your web framework: call `verify(KEYS, headers, body)` with the body exactly as it came in (bytes, before any parsing), and
answer 400 where it raises `ValueError`. By hand:

    WEBHOOK_KEYS=whsec_... python python.py "$webhook_id" "$webhook_timestamp" "$webhook_signature" < body.json
"""

import base64
import hashlib
import hmac
import os
import re
import sys
import time

# The signing secret (whsec_...) or the public key (whpk_...). Several, separated by spaces, while you rotate.
KEYS = os.environ.get("WEBHOOK_KEYS", "whsec_REPLACE_ME").split()
TOLERANCE = 5 * 60  # seconds that the sender's clock may differ from ours


def verify(keys, headers, body, now=None):
    """Raise ValueError unless one of the signatures was made by one of the keys, over this id, time and body, just now.

    `headers` maps lower-case names to values.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise ValueError("webhook-id or webhook-timestamp is missing or malformed")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        raise ValueError("the timestamp is too old or too far ahead: perhaps a replay")
    content = f"{message_id}.{timestamp}.".encode() + body
    for part in headers.get("webhook-signature", "").split(" "):
        version, _, signature = part.partition(",")
        if any(_fits(key, version, signature, content) for key in keys):
            return
    raise ValueError("no signature fits")


def _fits(key, version, signature, content):
    kind, _, encoded = key.partition("_")
    secret = base64.b64decode(encoded, validate=True)  # raises where the key was not copied whole
    if not secret:
        raise ValueError("a key is empty")  # anybody can sign with that
    if (kind, version) == ("whsec", "v1"):
        expected = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest())
        return hmac.compare_digest(expected, signature.encode("utf-8", "replace"))  # takes the same time wherever they differ
    if (kind, version) == ("whpk", "v1a"):
        from cryptography.exceptions import InvalidSignature  # pip install cryptography
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(secret).verify(base64.b64decode(signature, validate=True), content)
        except (InvalidSignature, ValueError):  # ValueError: no base64
            return False
        return True
    return False


if __name__ == "__main__":
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    try:
        verify(KEYS, dict(zip(names, sys.argv[1:], strict=False)), sys.stdin.buffer.read())
    except ValueError as error:
        sys.exit(f"refused: {error}")
    print("verified")
