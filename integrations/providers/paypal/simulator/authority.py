"""The simulator's own certificate authority, and the certificate that signs its webhooks. One of each per state folder."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from integrations.simulators import once

FILE = "paypal-webhook-certificates.pem"
COMMON_NAME = "messageverificationcerts.simulator.paypal.com"
_PART = re.compile(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----\n", re.DOTALL)
LIFE = timedelta(days=3650)


def issue(
    common_name: str,
    *,
    not_before: datetime,
    not_after: datetime,
    issuer: tuple[rsa.RSAPrivateKey, x509.Certificate] | None = None,
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """Return a new key and its certificate: an authority's own without `issuer`, else a server's, signed by that."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    is_authority = issuer is None
    signer = key if issuer is None else issuer[0]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer[1].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                content_commitment=False,
                key_encipherment=not is_authority,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return key, builder.sign(signer, hashes.SHA256())


def authority_pem(state_dir: Path) -> bytes:
    """Return the authority's certificate."""
    return _parts(state_dir)[0]


def leaf_pem(state_dir: Path) -> bytes:
    """Return the certificate that webhooks are signed with."""
    return _parts(state_dir)[1]


def certificate_name(state_dir: Path) -> str:
    """Return the last part of the certificate's URL; another certificate has another."""
    found = x509.load_pem_x509_certificate(leaf_pem(state_dir))
    return f"CERT-{found.fingerprint(hashes.SHA256()).hex()[:24]}"


def sign(state_dir: Path, message: bytes) -> bytes:
    """Return the RSA signature (PKCS#1 v1.5, SHA-256) of the webhook certificate's key."""
    return _key(_parts(state_dir)[2]).sign(message, padding.PKCS1v15(), hashes.SHA256())


def _parts(state_dir: Path) -> list[bytes]:
    return _PART.findall(once(state_dir / FILE, _new))


@lru_cache(maxsize=8)
def _key(pem: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{FILE} holds no RSA key")
    return key


def _new() -> bytes:
    # Tests move the simulator's clock by months, either way of today.
    now = datetime.now(UTC)
    first, last = now - LIFE, now + LIFE
    authority = issue("Simulated PayPal Authority", not_before=first, not_after=last)
    key, leaf = issue(COMMON_NAME, not_before=first, not_after=last, issuer=authority)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    encoding = serialization.Encoding.PEM
    return authority[1].public_bytes(encoding) + leaf.public_bytes(encoding) + private
