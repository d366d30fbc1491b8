"""The provider token. There is no published vector (ECDSA is randomised): it is verified with the key's public half."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from integrations.contracts.capabilities import Environment
from integrations.providers.apns.jwt import UnreadableKey, load_key, mint
from integrations.providers.apns.provider import PROVIDER
from integrations.providers.apns.tests.conftest import KEY, NOW, PEM


def decoded(part: str) -> bytes:
    assert "=" not in part
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(token: str) -> None:
    signed, _, signature = token.rpartition(".")
    raw = decoded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    KEY.public_key().verify(der, signed.encode(), ec.ECDSA(SHA256()))


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_header_claims_and_signature() -> None:
    for _ in range(40):  # short numbers r and s, which need filling up, come about once in 128 times each
        token = mint(team_id="TEAM000001", key_id="KEY0000001", pem=PEM, at=NOW)
        head, claims, signature = token.split(".")
        assert json.loads(decoded(head)) == {"alg": "ES256", "kid": "KEY0000001"}
        assert json.loads(decoded(claims)) == {"iss": "TEAM000001", "iat": 1795165200}
        assert len(decoded(signature)) == 64
        verify(token)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_byte_no_longer_verifies(part: int) -> None:
    parts = mint(team_id="TEAM000001", key_id="KEY0000001", pem=PEM, at=NOW).split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    with pytest.raises(InvalidSignature):
        verify(".".join(parts))


@pytest.mark.parametrize("text", [PEM, PEM.strip(), f"\n  {PEM}\n", PEM.replace("\n", "\r\n")])
def test_a_key_file_is_read_however_it_was_pasted(text: str) -> None:
    assert load_key(text).private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not the text of a .p8 file"),
        ("AuthKey_KEY0000001.p8", "is not the text of a .p8 file"),
        (PEM.replace("BEGIN", "BEGUN"), "is not the text of a .p8 file"),
        (pem(ec.derive_private_key(4711, ec.SECP384R1())), "is not a key for signing with ES256"),
        (pem(rsa.generate_private_key(65537, 2048)), "is not a key for signing with ES256"),
    ],
    ids=["empty", "the name", "damaged", "another curve", "RSA"],
)
def test_what_is_no_signing_key_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(UnreadableKey) as caught:
        load_key(text)
    assert str(caught.value) == problem
    check = PROVIDER.check_environment
    assert check is not None
    expected = {"private_key": problem} if text else {}
    assert check({"private_key": text}, Environment.PRODUCTION) == expected


def test_a_good_key_fits_every_environment() -> None:
    check = PROVIDER.check_environment
    assert check is not None
    assert [check({"private_key": PEM}, each) for each in Environment] == [{}, {}, {}]
