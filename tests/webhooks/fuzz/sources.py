"""A generic source of each scheme, and the proof that its own sender would give."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integrations.models import Tenant
from webhooks.inbound.endpoints.services import create_source
from webhooks.inbound.models import InboundEndpoint

SECRET = "a-secret-of-thirty-two-characters"
STANDARD_SECRET = "whsec_" + base64.b64encode(SECRET.encode()).decode()
ED25519_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
Proof = Callable[[bytes], Mapping[str, str]]


@dataclass(frozen=True)
class Source:
    """`proof(body)` are the headers, as WSGI names them, that make the body a genuine one."""

    endpoint: InboundEndpoint
    proof: Proof


def _hex(content: bytes, key: bytes = SECRET.encode()) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _standard(body: bytes) -> dict[str, str]:
    now, name = str(int(time.time())), "msg_" + hashlib.sha256(body).hexdigest()[:20]
    digest = hmac.new(SECRET.encode(), f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
    return {
        "HTTP_WEBHOOK_ID": name,
        "HTTP_WEBHOOK_TIMESTAMP": now,
        "HTTP_WEBHOOK_SIGNATURE": "v1," + base64.b64encode(digest).decode(),
    }


def _slack(body: bytes) -> dict[str, str]:
    now = str(int(time.time()))
    return {
        "HTTP_X_SLACK_REQUEST_TIMESTAMP": now,
        "HTTP_X_SLACK_SIGNATURE": "v0=" + _hex(f"v0:{now}:".encode() + body),
    }


def _timestamped(body: bytes) -> dict[str, str]:
    now = str(int(time.time()))
    return {"HTTP_X_SIGNATURE": f"t={now},v1=" + _hex(f"{now}.".encode() + body)}


PROOFS: Mapping[str, tuple[str, Proof]] = {
    "hmac": (SECRET, lambda body: {"HTTP_X_SIGNATURE": _hex(body)}),
    "timestamped": (SECRET, _timestamped),
    "github": (
        SECRET,
        lambda body: {"HTTP_X_HUB_SIGNATURE_256": "sha256=" + _hex(body), "HTTP_X_GITHUB_DELIVERY": _hex(body)[:36]},
    ),
    "slack": (SECRET, _slack),
    "standard": (STANDARD_SECRET, _standard),
    "basic": (SECRET, lambda _body: {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"shop:{SECRET}".encode()).decode()}),
    "api_key": (SECRET, lambda _body: {"HTTP_X_API_KEY": SECRET}),
    "ed25519": (
        base64.b64encode(ED25519_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(),
        lambda body: {"HTTP_X_SIGNATURE_ED25519": ED25519_KEY.sign(body).hex()},
    ),
}


def make_sources(tenant: Tenant) -> dict[str, Source]:
    """Return a source of every scheme by its name. Called inside the tenant's scope."""
    made = {}
    for scheme, (secret, proof) in PROOFS.items():
        endpoint, _ = create_source(
            tenant=tenant,
            scheme=scheme,
            secret=secret,
            name=f"shop by {scheme}",
            options={"username": "shop"} if scheme == "basic" else {},
            dedupe_path="body:id" if scheme in {"basic", "hmac"} else "",
            type_path="body:type",
            event_types={"order.created": "order.created", "*": "shop.anything"},
            fields={"id": "id", "number": "data.number", "source": "=shop"} if scheme in {"api_key", "slack"} else {},
        )
        made[scheme] = Source(endpoint, proof)
    return made
