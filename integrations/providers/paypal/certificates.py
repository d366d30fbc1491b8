"""The certificate behind a webhook's signature: where it may come from, and what makes it PayPal's.

PayPal names its URL in each request (`PAYPAL-CERT-URL`). That is an invitation to fetch from anywhere, so: the scheme, the host
and the path are fixed by the config's environment, nothing redirects, and what comes must be PayPal's own certificate.
Source: PayPal's webhooks integration guide, and what its Python SDK checks (`notifications.py`); read 2026-11.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import requests.utils
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import ProviderError
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask

HOSTS = {
    Environment.PRODUCTION: frozenset({"api.paypal.com", "api-m.paypal.com"}),
    Environment.SANDBOX: frozenset({"api.sandbox.paypal.com", "api-m.sandbox.paypal.com"}),
}
CERTIFICATE_PATH = "/v1/notifications/certs/"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,120}")
OWNER = ".paypal.com"
TIMEOUT = (2.0, 3.0)
"""Seconds to connect, to read: PayPal waits for our answer meanwhile and sends again if none comes."""

MAX_PEM_BYTES = 64 * 1024
CACHED = 32

Fetch = Callable[[str], bytes]


class UntrustedCertificate(Exception):
    """This certificate (or the place it should come from) is not PayPal's; the text is for the log."""


class UnchainedCertificate(Exception):
    """PayPal's host served a certificate in PayPal's name, but not the ones between it and a known authority."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        super().__init__("the certificates that lead to a known authority are missing")
        self.key = key


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM text, leaf first as served; ValueError where there is none or one can't be read."""
    if len(pem) > MAX_PEM_BYTES:
        raise ValueError("is too long for a certificate")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError("is no certificate in PEM form") from None


def check_url(url: str, config: ConfigView) -> None:
    """Raise `UntrustedCertificate` unless certificates of this config's environment may come from `url`."""
    if config.environment is Environment.SIMULATOR:
        prefix = f"{config.base_url}{CERTIFICATE_PATH}"
        if not url.startswith(prefix) or not _NAME.fullmatch(url.removeprefix(prefix)):
            raise UntrustedCertificate("the certificate is not the simulator's")
        return
    try:
        parts = urlsplit(url)
        host, port = parts.netloc, parts.port
    except ValueError:
        raise UntrustedCertificate("the certificate's URL can't be read") from None
    if parts.scheme != "https" or port is not None or parts.query or parts.fragment:
        raise UntrustedCertificate("the certificate's URL is not a plain https address")
    if host not in HOSTS[config.environment]:
        raise UntrustedCertificate("the certificate is not at PayPal's host of this environment")
    if not parts.path.startswith(CERTIFICATE_PATH) or not _NAME.fullmatch(parts.path.removeprefix(CERTIFICATE_PATH)):
        raise UntrustedCertificate("the certificate's URL has another path than PayPal's")


def download(url: str) -> bytes:
    """Fetch a PEM text through the hub's guarded client. Raises `ProviderError`, `UntrustedCertificate` (not a plain 200)."""
    parts = urlsplit(url)
    client = HttpClient(
        provider="paypal",
        base_url=f"{parts.scheme}://{parts.netloc}{parts.path.partition(CERTIFICATE_PATH)[0]}",
        mask=Mask(keys=()),
        recorder=SilentRecorder(),
        timeout=TIMEOUT,
    )
    reply = client.request("GET", url, operation="webhook_certificate", safe=True)
    if reply.status != 200:
        raise UntrustedCertificate(f"the certificate could not be fetched (HTTP {reply.status})")
    return reply.body


class Certificates:
    """Certificates by URL, kept by the process (PayPal gives a renewed one a new URL). `fetch` is `download` but in tests."""

    def __init__(self, fetch: Fetch = download) -> None:
        self._fetch = fetch
        self._known: OrderedDict[str, list[x509.Certificate]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, url: str, config: ConfigView, now: datetime) -> rsa.RSAPublicKey:
        """Return the public key to check a signature with.

        Checked each time: the URL, the dates, the owner (common name below paypal.com), the chain to a public authority (in
        the simulator: to the authority that the config names). Raises `UntrustedCertificate`, `UnchainedCertificate`.
        """
        check_url(url, config)
        chain = self._certificates(url)
        leaf = chain[0]
        name = _common_name(leaf)
        if not name.endswith(OWNER):
            raise UntrustedCertificate("the certificate's common name is not PayPal's")
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            raise UntrustedCertificate("the certificate is not valid now")
        key = leaf.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise UntrustedCertificate("the certificate holds no RSA key")
        roots = _simulator_roots(config) if config.environment is Environment.SIMULATOR else public_roots()
        try:
            builder = PolicyBuilder().store(Store(list(roots))).time(now)
            builder.build_server_verifier(x509.DNSName(name)).verify(leaf, chain[1:])
        except VerificationError as error:
            alone = len(chain) == 1 and leaf.issuer != leaf.subject and leaf.issuer not in {each.subject for each in roots}
            if alone and config.environment is not Environment.SIMULATOR:
                raise UnchainedCertificate(key) from None
            raise UntrustedCertificate(f"no chain to a known authority: {error}") from None
        return key

    def _certificates(self, url: str) -> list[x509.Certificate]:
        with self._lock:
            if url in self._known:
                self._known.move_to_end(url)
                return self._known[url]
        try:
            found = load_certificates(self._fetch(url))
        except ProviderError as error:
            raise UntrustedCertificate(f"the certificate could not be fetched: {error.message}") from None
        except ValueError as error:
            raise UntrustedCertificate(f"what was fetched {error}") from None
        with self._lock:
            self._known[url] = found
            while len(self._known) > CACHED:
                self._known.popitem(last=False)
        return found


@lru_cache(maxsize=1)
def public_roots() -> tuple[x509.Certificate, ...]:
    """Return the authorities that the hub's own https calls trust."""
    return tuple(x509.load_pem_x509_certificates(Path(requests.utils.DEFAULT_CA_BUNDLE_PATH).read_bytes()))


def _simulator_roots(config: ConfigView) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(load_certificates(str(config.get("simulator_ca") or "").encode()))
    except ValueError:
        raise UntrustedCertificate("the config names no authority for the simulator") from None


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""
