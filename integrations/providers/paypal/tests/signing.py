"""A certificate authority of the tests, and requests signed with its certificates."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from integrations.contracts.inbound import InboundRequest
from integrations.providers.paypal import signature
from integrations.providers.paypal.simulator.authority import issue
from integrations.providers.paypal.tests.support import FIXTURES, NOW

HOST = "https://api.sandbox.paypal.com"
URL = f"{HOST}/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
WEBHOOK = "4JH86294D6297924G"
NAME = "messageverificationcerts.test.paypal.com"
TRANSMISSION = "dfb3be50-fd74-11e4-8bf3-77339302725b"
Pair = tuple[rsa.RSAPrivateKey, x509.Certificate]


@dataclass(frozen=True)
class Authority:
    """An authority and what it signs."""

    pair: Pair

    @classmethod
    def new(cls, name: str = "Test Authority") -> Authority:
        return cls(issue(name, not_before=NOW - timedelta(days=900), not_after=NOW + timedelta(days=900)))

    @property
    def certificate(self) -> x509.Certificate:
        return self.pair[1]

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def leaf(self, name: str = NAME, *, first: timedelta = timedelta(days=-30), last: timedelta = timedelta(days=30)) -> Pair:
        return issue(name, not_before=NOW + first, not_after=NOW + last, issuer=self.pair)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def signed(
    key: rsa.RSAPrivateKey,
    body: bytes | None = None,
    *,
    webhook_id: str = WEBHOOK,
    url: str = URL,
    at: datetime = NOW,
    **changed: str,
) -> InboundRequest:
    """Return a request as PayPal would send it, signed with `key`; `changed` replaces headers (`auth_algo=...`) afterwards."""
    body = (FIXTURES / "event_capture_completed.json").read_bytes() if body is None else body
    time = at.isoformat().replace("+00:00", "Z")
    text = signature.message(signature.Transmission(TRANSMISSION, time, b"", url), webhook_id, body)
    raw = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    headers: dict[str, Any] = {
        "transmission_id": TRANSMISSION,
        "transmission_time": time,
        "transmission_sig": base64.b64encode(raw).decode(),
        "cert_url": url,
        "auth_algo": "SHA256withRSA",
        **changed,
    }
    return InboundRequest("POST", "events", {}, {f"paypal-{k.replace('_', '-')}": v for k, v in headers.items()}, body)
