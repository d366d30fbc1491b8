"""The organisations that exist in the simulated Daraja, and the key pair behind its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from integrations.simulators import DemoAccount, derived, once

KEY_FILE = "mpesa-initiator.pem"
CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"
ORGANISATIONS = (
    ("school", "DEMO SCHOOL", "paybill", "600984", ""),
    ("studio", "DEMO STUDIO", "till", "5123456", "600426"),
)


@dataclass(frozen=True, slots=True)
class Organisation:
    """One app at Daraja. `business_code` goes into STK passwords: the store number of a till, else the short code."""

    label: str
    name: str
    product: str
    shortcode: str
    store_number: str
    initiator_name: str
    consumer_key: str
    consumer_secret: str
    passkey: str
    initiator_password: str

    @property
    def business_code(self) -> str:
        return self.store_number or self.shortcode

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(code for code in (self.shortcode, self.store_number) if code)


def organisations(state_dir: Path) -> list[Organisation]:
    """Return all organisations; their secrets follow from the state folder's seed."""
    return [
        Organisation(
            label=label,
            name=name,
            product=product,
            shortcode=shortcode,
            store_number=store_number,
            initiator_name=f"{label}api",
            consumer_key=derived(state_dir, f"mpesa {label} consumer key", 48),
            consumer_secret=derived(state_dir, f"mpesa {label} consumer secret", 64),
            passkey=derived(state_dir, f"mpesa {label} passkey", 64),
            initiator_password="Sim#" + derived(state_dir, f"mpesa {label} initiator", 20),
        )
        for label, name, product, shortcode, store_number in ORGANISATIONS
    ]


def demo_accounts(state_dir: Path) -> list[DemoAccount]:
    """Return the hub's config values for each organisation; `certificate` is the PEM to encrypt the initiator password with."""
    certificate = _pem(state_dir)[_pem(state_dir).index(CERTIFICATE_MARK) :].decode()
    accounts = []
    for each in organisations(state_dir):
        values = {
            "shortcode": each.shortcode,
            "product": each.product,
            "initiator_name": each.initiator_name,
            "certificate": certificate,
        }
        if each.store_number:
            values["store_number"] = each.store_number
        secrets = {
            "consumer_key": each.consumer_key,
            "consumer_secret": each.consumer_secret,
            "passkey": each.passkey,
            "initiator_password": each.initiator_password,
        }
        accounts.append(DemoAccount(each.label, values, secrets))
    return accounts


def decrypted(state_dir: Path, credential: bytes) -> bytes | None:
    """Return what a security credential (PKCS#1 v1.5, already base64-decoded) holds, None if it is not for this key."""
    key = serialization.load_pem_private_key(_pem(state_dir), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{KEY_FILE} holds no RSA key")
    try:
        return key.decrypt(credential, padding.PKCS1v15())
    except ValueError:
        return None


def _pem(state_dir: Path) -> bytes:
    return once(state_dir / KEY_FILE, _new_pair)


def _new_pair() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated Daraja")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)
