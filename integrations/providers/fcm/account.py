"""A Google service account key: the JSON file that the Firebase console hands out, read and checked.

Source: Google Cloud documentation of service account keys, google-auth (`service_account.py`); read 2026-11.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

UNIVERSE = "googleapis.com"
LEAST_KEY_BITS = 2048
# Old projects carry their owner's domain in front ("example.com:shop").
PROJECT_ID = r"(?:[a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{2,62}"
FORMS = {
    "project_id": PROJECT_ID,
    "private_key_id": r"[A-Za-z0-9_-]{1,100}",
    "client_email": r"[a-z0-9._-]{1,100}@[a-z0-9.-]{1,150}\.gserviceaccount\.com",
}


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The members that are used. `private_key` is PEM text, not looked into yet.

    The file's `token_uri` is left out on purpose: whoever uploads the file would choose where signed assertions are sent.
    """

    project_id: str
    key_id: str
    email: str
    private_key: str = field(repr=False)

    def load_key(self) -> rsa.RSAPrivateKey:
        """Return the key, ready to sign; raise `ValueError` with a text for people, which quotes nothing of it."""
        try:
            key = load_pem_private_key(self.private_key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("its private_key can't be read") from None
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < LEAST_KEY_BITS:
            raise ValueError(f"its private_key is no RSA key of at least {LEAST_KEY_BITS} bits")
        return key


def read_account(text: Any) -> ServiceAccount:
    """Return the account in a key file's text; raise `ValueError` with a text for people, which quotes nothing of it."""
    try:
        # Not strict: pasting through a shell or an .env file turns the key's \n into real line breaks.
        data = json.loads(text, strict=False) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ValueError("is not the JSON text of a key file")
    if "project_info" in data:
        raise ValueError("is google-services.json, which belongs into the app: a service account's key file is needed")
    if data.get("type") != "service_account":
        raise ValueError("is not the key file of a service account: its type is another one")
    if data.get("universe_domain", UNIVERSE) != UNIVERSE:
        raise ValueError(f"belongs to another cloud than {UNIVERSE}")
    values: dict[str, str] = {}
    for name, form in FORMS.items():
        value = data.get(name)
        if not isinstance(value, str) or not re.fullmatch(form, value):
            raise ValueError(f"its {name} is missing or malformed")
        values[name] = value
    key = data.get("private_key")
    if not isinstance(key, str) or not key:
        raise ValueError("its private_key is missing")
    return ServiceAccount(values["project_id"], values["private_key_id"], values["client_email"], key)


def problem_of(text: Any) -> str:
    """Return what is wrong with a key file's text, its private key included; '' where nothing is."""
    try:
        read_account(text).load_key()
    except ValueError as error:
        return str(error)
    return ""
