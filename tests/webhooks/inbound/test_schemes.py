"""Signature schemes by known answers: values from their makers' documents, or computed by other means than the code's."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.contracts.inbound import BadSignature, InboundRequest
from tests.webhooks.inbound.support import basic, hmac_hex
from webhooks.inbound.generic import schemes
from webhooks.inbound.models import Scheme
from webhooks.inbound.refusals import OutsideWindow

BODY = b'{"test": 2432232314}'
STANDARD_AT = 1614265330
STANDARD = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": str(STANDARD_AT)}
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK_AT = 1531420618
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SLACK_HEADERS = {
    "x-slack-request-timestamp": str(SLACK_AT),
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}


def check(
    scheme: str,
    secrets: str | list[str],
    headers: dict[str, str],
    body: bytes = BODY,
    *,
    at: float = STANDARD_AT,
    tolerance: int = 300,
    **options: str,
) -> schemes.Proof:
    request = InboundRequest("POST", "", {}, {name.lower(): value for name, value in headers.items()}, body)
    known = [secrets] if isinstance(secrets, str) else secrets
    return schemes.check(scheme, options, known, request, tolerance=tolerance, now=datetime.fromtimestamp(at, UTC))


def refused(*args: Any, **kwargs: Any) -> bool:
    with pytest.raises(BadSignature):
        check(*args, **kwargs)
    return True


# --- known answers


def test_github_as_its_documents_have_it() -> None:
    header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    known = ("github", "It's a Secret to Everybody", {"X-Hub-Signature-256": header})
    assert check(*known, b"Hello, World!").at is None
    assert refused(*known, b"Hello, World?")
    assert refused(
        "github", "It's a Secret to Everybody", {"X-Hub-Signature-256": header.removeprefix("sha256=")}, b"Hello, World!"
    )


def test_slack_as_its_documents_have_it() -> None:
    proof = check("slack", SLACK_SECRET, SLACK_HEADERS, SLACK_BODY, at=SLACK_AT + 10)
    assert proof.at == SLACK_AT
    assert proof.nonce
    with pytest.raises(OutsideWindow):
        check("slack", SLACK_SECRET, SLACK_HEADERS, SLACK_BODY, at=SLACK_AT + 301)
    moved = {**SLACK_HEADERS, "x-slack-request-timestamp": str(SLACK_AT + 60)}
    assert refused("slack", SLACK_SECRET, moved, SLACK_BODY, at=SLACK_AT + 60), "the time is signed"


def test_standard_webhooks_reference_vector() -> None:
    headers = {**STANDARD, "webhook-signature": STANDARD_SIGNATURE}
    assert check("standard", STANDARD_SECRET, headers).at == STANDARD_AT
    assert refused("standard", STANDARD_SECRET, {**headers, "webhook-id": "msg_other"})
    several = {**headers, "webhook-signature": f"v1,AAAA v1a,BBBB {STANDARD_SIGNATURE}"}
    assert check("standard", ["whsec_" + base64.b64encode(b"x" * 24).decode(), STANDARD_SECRET], several).nonce
    svix = {name.replace("webhook", "svix"): value for name, value in headers.items()}
    assert check("standard", STANDARD_SECRET, svix, header_prefix="svix").nonce


def test_standard_webhooks_by_public_key() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = "whpk_" + base64.b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    content = f"{STANDARD['webhook-id']}.{STANDARD_AT}.".encode() + BODY
    signature = base64.b64encode(private.sign(content)).decode()
    headers = {**STANDARD, "webhook-signature": f"v1a,{signature}"}
    assert check("standard", public, headers).nonce
    assert refused("standard", public, {**STANDARD, "webhook-signature": f"v1,{signature}"})
    assert refused("standard", STANDARD_SECRET, headers)


def test_the_librarys_own_signatures_hold() -> None:
    from standardwebhooks.webhooks import Webhook

    at = datetime.fromtimestamp(STANDARD_AT, UTC)
    signature = Webhook(STANDARD_SECRET).sign("msg_1", at, BODY.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(STANDARD_AT), "webhook-signature": signature}
    assert check("standard", STANDARD_SECRET, headers).nonce


# RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?".
RFC_BODY = b"what do ya want for nothing?"
RFC = {
    "sha256": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    "sha512": "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
    "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    "sha1": "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",  # RFC 2202
}


@pytest.mark.parametrize("algorithm", RFC)
def test_hmac_by_the_rfcs_vectors(algorithm: str) -> None:
    hexadecimal = RFC[algorithm]
    encoded = base64.b64encode(bytes.fromhex(hexadecimal)).decode()
    assert check("hmac", "Jefe", {"X-Signature": hexadecimal.upper()}, RFC_BODY, algorithm=algorithm) == schemes.Proof()
    given = {"algorithm": algorithm, "encoding": "base64", "header": "X-Shop-Hmac"}
    assert check("hmac", "Jefe", {"x-shop-hmac": encoded}, RFC_BODY, **given) == schemes.Proof()
    assert check("hmac", "Jefe", {"x-shop-hmac": encoded.rstrip("=").replace("+", "-").replace("/", "_")}, RFC_BODY, **given)
    assert check("hmac", "Jefe", {"x-signature": f"v2={hexadecimal}"}, RFC_BODY, algorithm=algorithm, prefix="v2=")
    assert check("hmac", "Jefe", {"x-signature": f"{'0' * 64}, {hexadecimal}"}, RFC_BODY, algorithm=algorithm)
    assert refused("hmac", "Jefe", {"X-Signature": hexadecimal}, RFC_BODY + b"!", algorithm=algorithm)
    assert refused("hmac", "Jeff", {"X-Signature": hexadecimal}, RFC_BODY, algorithm=algorithm)


def test_hmac_with_a_signed_time_in_a_form_of_its_own() -> None:
    body = b'{"a": "{timestamp} {body}"}'
    headers = {"X-Time": str(STANDARD_AT), "X-Signature": hmac_hex("s3cret-s3cret", b"v1:%d:" % STANDARD_AT + body)}
    options = {"timestamp_header": "X-Time", "template": "v1:{timestamp}:{body}"}
    assert check("hmac", "s3cret-s3cret", headers, body, **options).at == STANDARD_AT
    milliseconds = f"{STANDARD_AT}000"
    for stamp in (milliseconds, datetime.fromtimestamp(STANDARD_AT, UTC).isoformat()):
        plainly = {"X-Time": stamp, "X-Signature": hmac_hex("s3cret-s3cret", f"{stamp}.".encode() + body)}
        assert check("hmac", "s3cret-s3cret", plainly, body, timestamp_header="X-Time").at == STANDARD_AT
    assert refused("hmac", "s3cret-s3cret", {"X-Signature": hmac_hex("s3cret-s3cret", body)}, body, timestamp_header="X-Time")


def test_stripes_form_takes_several_signatures() -> None:
    good = hmac_hex("shop-secret", b"%d." % STANDARD_AT + BODY)
    header = f"t={STANDARD_AT},v1={'0' * 64},v1={good},v0=abc"
    assert check("timestamped", "shop-secret", {"X-Signature": header}).nonce
    assert check("timestamped", ["newer-secret", "shop-secret"], {"Shop-Signature": header}, header="Shop-Signature").nonce
    assert refused("timestamped", "shop-secret", {"X-Signature": f"t={STANDARD_AT},v0={good}"})
    assert refused("timestamped", "shop-secret", {"X-Signature": f"t={STANDARD_AT},t=1,v1={good}"})
    for seconds in (-301, 301):
        with pytest.raises(OutsideWindow):
            check("timestamped", "shop-secret", {"X-Signature": header}, at=STANDARD_AT + seconds)
    assert check("timestamped", "shop-secret", {"X-Signature": header}, at=STANDARD_AT + 301, tolerance=600).nonce


def test_ed25519_by_the_rfcs_vector() -> None:
    # RFC 8032, 7.1, test 3.
    key = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    signature = (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027becee"
        "a1ec40a"
    )
    body = bytes.fromhex("af82")
    assert check("ed25519", key, {"X-Signature-Ed25519": signature}, body) == schemes.Proof()
    encoded = base64.b64encode(bytes.fromhex(signature)).decode()
    as_text = base64.b64encode(bytes.fromhex(key)).decode()
    assert check("ed25519", as_text, {"X-Sig": encoded}, body, header="X-Sig", encoding="base64") == schemes.Proof()
    assert refused("ed25519", key, {"X-Signature-Ed25519": signature}, b"other")


def test_ed25519_with_a_time_as_discord_signs() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    headers = {"X-Signature-Ed25519": private.sign(b"%d" % STANDARD_AT + BODY).hex(), "X-Signature-Timestamp": str(STANDARD_AT)}
    assert check("ed25519", key, headers, timestamp_header="X-Signature-Timestamp").at == STANDARD_AT
    with pytest.raises(OutsideWindow):
        check("ed25519", key, headers, at=STANDARD_AT + 400, timestamp_header="X-Signature-Timestamp")


def test_basic_and_key() -> None:
    assert check("basic", "open sesame", basic("shop", "open sesame"), username="shop") == schemes.Proof()
    assert refused("basic", "open sesame", basic("shop2", "open sesame"), username="shop")
    assert refused("basic", "open sesame", {"Authorization": "Bearer open"}, username="shop")
    assert check("api_key", ["new-key-1", "old-key-1"], {"X-API-Key": "old-key-1"}) == schemes.Proof()
    assert check("api_key", "key-12345", {"Authorization": "Bearer key-12345"}, header="Authorization", prefix="Bearer ")
    assert refused("api_key", "key-12345", {"Authorization": "key-12345"}, header="Authorization", prefix="Bearer ")
    assert refused("api_key", "key-12345", {"X-API-Key": ""})


# --- whatever stands in a header

ALL = {
    "hmac": ("X-Signature", "secret-1"),
    "timestamped": ("X-Signature", "secret-1"),
    "github": ("X-Hub-Signature-256", "secret-1"),
    "slack": ("X-Slack-Signature", "secret-1"),
    "standard": ("webhook-signature", STANDARD_SECRET),
    "basic": ("Authorization", "secret-1"),
    "api_key": ("X-API-Key", "secret-1"),
    "ed25519": ("X-Signature-Ed25519", "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
}
MALFORMED = [
    *("", " ", "v1", "invalid_signature", "v1,a,b", "v2,zz v1", "v1,", ",", "=", "t=,v1=", "t=1e999,v1=a", "t=nan,v1=a"),
    *("sha256=", "sha256=\xff\xfe", "v0=", "Basic", "Basic %%%", "Basic ////", "\x00", "a" * 9000, "v1a,AAAA", "v1,\xe9"),
    "t=99999999999999999,v1=0",
]


def test_all_schemes_are_listed_here() -> None:
    assert set(ALL) == set(Scheme.values)


@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_header_is_a_bad_signature(scheme: str, text: str) -> None:
    name, secret = ALL[scheme]
    for stamp in (str(STANDARD_AT), "soon", "", "-1", "9" * 400):
        headers = {**STANDARD, "webhook-timestamp": stamp, "X-Slack-Request-Timestamp": stamp, name: text}
        assert refused(scheme, secret, headers, username="shop")
        assert refused(scheme, secret, {name: text})


@settings(max_examples=150, deadline=None)
@given(scheme=st.sampled_from(sorted(ALL)), text=st.text(max_size=60), stamp=st.text(max_size=20), body=st.binary(max_size=40))
def test_no_header_is_anything_but_a_bad_signature(scheme: str, text: str, stamp: str, body: bytes) -> None:
    name, secret = ALL[scheme]
    headers = {**STANDARD, "webhook-timestamp": stamp, "x-slack-request-timestamp": stamp, "x-time": stamp, name: text}
    options = {"timestamp_header": "X-Time"} if scheme in ("hmac", "ed25519") else {}
    assert refused(scheme, secret, headers, body, **options)


def test_without_a_secret_nothing_holds() -> None:
    assert refused("hmac", [], {"X-Signature": hmac_hex("", BODY)})
    assert refused("", "secret-1", {"X-Signature": hmac_hex("secret-1", BODY)})


def test_a_nonce_names_content_and_time() -> None:
    def signed(at: int, body: bytes = BODY) -> str:
        header = f"t={at},v1={hmac_hex('shop-secret', b'%d.' % at + body)}"
        return check("timestamped", "shop-secret", {"X-Signature": header}, body).nonce

    assert signed(STANDARD_AT) == signed(STANDARD_AT)
    assert len({signed(STANDARD_AT), signed(STANDARD_AT + 1), signed(STANDARD_AT, b"{}")}) == 3
    old, new = (hmac_hex(secret, b"%d." % STANDARD_AT + BODY) for secret in ("old-secret", "new-secret"))
    found = [
        check("timestamped", ["new-secret", "old-secret"], {"X-Signature": f"t={STANDARD_AT},{signatures}"})
        for signatures in (f"v1={old}", f"v1={new}", f"v1={new},v1={old}")
    ]
    assert len(set(found)) == 1, "whichever of its signatures is sent along"
