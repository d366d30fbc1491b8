"""Sealing of secrets at rest: `seal` and `open_sealed` with a keyring, one derived key pair per tenant.

A token is `<key id>.<urlsafe base64>`. Encryption is AES-256-CBC with HMAC-SHA256 by django-cryptography's `FernetBytes` and
`FernetSigner`, both with keys of their own derived by HKDF from the keyring entry and the tenant: so a ciphertext moved to
another tenant's row does not open, and rotating SECRET_KEY breaks nothing.
"""

from __future__ import annotations

import base64
import json
import re
import secrets as _random
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature

REMEMBERED_BYTES = 4096
"""Tokens longer than this (whole stored answers) are opened anew each time: they are read once, and would fill the memory."""
INSTALLATION = 0
"""The tenant number under which the installation's own secrets are sealed."""


class SecretUnreadable(Exception):
    """The token was not sealed for this tenant, was altered, or its key has left the keyring."""


def parse_keyring(text: str) -> list[tuple[str, bytes]]:
    """Return [(key id, key)] newest first from `id:base64,id:base64`; raise `ImproperlyConfigured` for a bad keyring."""
    return list(_parse_keyring(text))


@lru_cache(maxsize=8)
def _parse_keyring(text: str) -> tuple[tuple[str, bytes], ...]:
    keyring: list[tuple[str, bytes]] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key_id, _, encoded = entry.partition(":")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,32}", key_id):
            raise ImproperlyConfigured("ENCRYPTION_KEYS: each entry is <id>:<base64 of at least 32 bytes>")
        try:
            key = base64.b64decode(encoded, altchars=b"-_", validate=True)
        except ValueError as error:
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS: key {key_id!r} is not base64") from error
        if len(key) < 32:
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS: key {key_id!r} is shorter than 32 bytes")
        if key_id in dict(keyring):
            raise ImproperlyConfigured(f"ENCRYPTION_KEYS: key id {key_id!r} stands twice")
        keyring.append((key_id, key))
    if not keyring:
        raise ImproperlyConfigured("ENCRYPTION_KEYS is not set: the hub does not run without a key for its secrets")
    return tuple(keyring)


def generate_key(key_id: str) -> str:
    """Return a fresh entry for ENCRYPTION_KEYS."""
    return f"{key_id}:{base64.urlsafe_b64encode(_random.token_bytes(32)).decode()}"


@lru_cache(maxsize=1024)
def _cipher(key: bytes, tenant_id: int) -> Any:
    # Imported here: django_cryptography reads the settings when imported, and the settings check their keyring with us.
    from django_cryptography.core.signing import FernetSigner
    from django_cryptography.utils.crypto import FernetBytes

    info = f"integrations-hub:secrets:v1:{tenant_id}".encode()
    material = HKDF(algorithm=SHA256(), length=64, salt=None, info=info).derive(key)
    return FernetBytes(material[:32], FernetSigner(material[32:]))


def current_key_id() -> str:
    """Return the id of the key that new secrets are sealed with."""
    return parse_keyring(settings.ENCRYPTION_KEYS)[0][0]


def key_id_of(token: str) -> str:
    """Return the id of the key that sealed `token`."""
    return token.partition(".")[0]


def seal(tenant_id: int, value: Any) -> str:
    """Return `value` (anything JSON can hold) as a token that only `open_sealed` with the same tenant reads."""
    key_id, key = parse_keyring(settings.ENCRYPTION_KEYS)[0]
    sealed = _cipher(key, tenant_id).encrypt(json.dumps(value, separators=(",", ":")).encode())
    return f"{key_id}.{base64.urlsafe_b64encode(sealed).decode()}"


def open_sealed(tenant_id: int, token: str) -> Any:
    """Return what was sealed; raise `SecretUnreadable` (which says nothing of the content) otherwise."""
    key_id = key_id_of(token)
    key = dict(_parse_keyring(settings.ENCRYPTION_KEYS)).get(key_id)
    if key is None:
        raise SecretUnreadable(f"no key {key_id!r} in ENCRYPTION_KEYS")
    return json.loads((_opened if len(token) <= REMEMBERED_BYTES else _open)(key, tenant_id, token))


def _open(key: bytes, tenant_id: int, token: str) -> bytes:
    from django_cryptography.utils.crypto import InvalidToken

    encoded = token.partition(".")[2]
    try:
        opened: bytes = _cipher(key, tenant_id).decrypt(base64.b64decode(encoded, altchars=b"-_", validate=True))
        json.loads(opened)
    except (BadSignature, InvalidToken, ValueError) as error:
        raise SecretUnreadable("not sealed for this tenant, or altered") from error
    return opened


_opened = lru_cache(maxsize=2048)(_open)
"""Remembers what was opened last, by key, tenant and the token itself: a secret that is changed has another token, and of a
key that has left the keyring nothing is asked here. As text, so that nobody can change what another gets."""


def masked(value: str) -> str:
    """Return how a secret is shown: its last four characters where it is long enough that they give nothing away."""
    return "••••" + (value[-4:] if len(value) >= 12 else "")
