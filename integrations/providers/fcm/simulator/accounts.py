"""The service accounts that exist here, and the token endpoint's judgement of what they sign.

Source: RFC 7523 and the answers of oauth2.googleapis.com as Google documents them ("server to server", error table), 2026-11.
"""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from integrations.simulators import DemoAccount, Refusal, SimReply, derived, once

PROJECTS = (("school", "demo-school-push"), ("studio", "demo-studio-push"))
AUDIENCE = "https://oauth2.googleapis.com/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset({"https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"})
LONGEST = 3600
SKEW = 300
KEYS_FILE = "fcm-keys.json"


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return a school's and a studio's project, each with a service account and a key of its own."""
    keys = _keys(state_dir)
    return [
        DemoAccount(label, {"android_channel": "news"}, {"service_account": json.dumps(_file(state_dir, label, project, keys))})
        for label, project in PROJECTS
    ]


def judge_assertion(account: DemoAccount | None, assertion: str, now: float) -> None:
    """Raise `Refusal` with the endpoint's own words unless `account` signed this assertion and it is good now."""
    header, claims, signed, signature = _read(assertion)
    if account is None:
        raise _refused("invalid_grant", "Invalid grant: account not found")
    own = json.loads(account.secrets["service_account"])
    if header.get("alg") != "RS256" or header.get("kid") != own["private_key_id"]:
        raise _refused("invalid_grant", "Invalid JWT Signature.")
    try:
        _public_key(own["private_key"]).verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise _refused("invalid_grant", "Invalid JWT Signature.") from None
    if claims.get("aud") != AUDIENCE:
        raise _refused("invalid_grant", f"Invalid JWT: Failed audience check. The right audience is {AUDIENCE}")
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or not isinstance(expires, int):
        raise _refused("invalid_grant", "Invalid JWT: iat and exp are integers")
    if expires - issued > LONGEST or issued > now + SKEW or expires <= now:
        raise _refused(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim.",
        )
    if not SCOPES & set(str(claims.get("scope", "")).split()):
        raise _refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")


def issuer_of(assertion: str) -> str:
    """Return who claims to have signed; raise `Refusal` for what is no JWT."""
    return str(_read(assertion)[1].get("iss", ""))


def refuse_grant(grant_type: str) -> None:
    """Raise `Refusal` for any grant but the signed assertion."""
    if grant_type != GRANT:
        raise _refused("unsupported_grant_type", f"Invalid grant_type: {grant_type[:60]}")


def _read(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    parts = assertion.split(".")
    try:
        header, claims, signature = json.loads(_bytes(parts[0])), json.loads(_bytes(parts[1])), _bytes(parts[2])
    except (ValueError, IndexError):
        raise _refused("invalid_grant", "Bad Request") from None
    if len(parts) != 3 or not isinstance(header, dict) or not isinstance(claims, dict):
        raise _refused("invalid_grant", "Bad Request")
    return header, claims, ".".join(parts[:2]).encode(), signature


def _bytes(part: str) -> bytes:
    if "=" in part:
        raise ValueError("padded")
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _refused(error: str, description: str) -> Refusal:
    return Refusal(SimReply.of_json({"error": error, "error_description": description}, 400))


def _file(state_dir: Path, label: str, project: str, keys: dict[str, str]) -> dict[str, str]:
    """Return what the Firebase console would give as a file."""
    email = f"hub-push@{project}.iam.gserviceaccount.com"
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": derived(state_dir, f"fcm {label} key id", 40),
        "private_key": keys[label],
        "client_email": email,
        "client_id": str(int(derived(state_dir, f"fcm {label} client", 17), 16)).zfill(21),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": AUDIENCE,
        "universe_domain": "googleapis.com",
    }


def _keys(state_dir: Path) -> dict[str, str]:
    # An RSA key can't be derived from the folder's seed: made once, kept beside it.
    found: dict[str, str] = json.loads(once(state_dir / KEYS_FILE, _make_keys))
    return found


def _make_keys() -> bytes:
    made = {}
    for label, _project in PROJECTS:
        key = rsa.generate_private_key(65537, 2048)
        made[label] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(made).encode()


@lru_cache(maxsize=16)
def _public_key(pem: str) -> rsa.RSAPublicKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{KEYS_FILE} holds no RSA key")
    return key.public_key()
