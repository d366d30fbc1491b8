"""The ways in which a generic source proves who it is. Pure: raw bytes, headers, secrets and a time in, a verdict out.

Signatures are made over the body as it came, before any decompression, and compared in constant time; each secret that is in
use counts. Whatever stands in a header, the answer is `BadSignature` or a verdict, never another exception. Options and their
defaults stand in `OPTIONS`.

| scheme | what is checked |
|---|---|
| hmac | `header`: `prefix` + HMAC (`algorithm`, `encoding`) of `template`; several may stand there, parted by commas |
| timestamped | `header`: `t=<seconds>,v1=<hex>` (several `v1`), HMAC-SHA-256 of `<t>.<body>`, as Stripe signs |
| github | `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA-256 of the body |
| slack | `X-Slack-Signature: v0=<hex>`, HMAC-SHA-256 of `v0:<X-Slack-Request-Timestamp>:<body>` |
| standard | Standard Webhooks (`webhook-id`, `-timestamp`, `-signature`): `v1` by a `whsec_` secret, `v1a` by a `whpk_` key |
| basic | `Authorization: Basic`, `username` and the secret as password |
| api_key | `header`: `prefix` + the secret |
| ed25519 | `header`: signature (`encoding`) of `template` by the public key that the secret is |

A time is in seconds or milliseconds since 1970, or ISO 8601. GitHub signs none, and its delivery id is not signed either: what
it signs is good for one effect a day. Headers of the other schemes (but `template`'s time and Standard Webhooks' id) are not
signed: an id that is found there can be changed by who replays a request; where no time is signed, have it found in the body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from integrations.contracts.inbound import BadSignature, InboundRequest
from webhooks.inbound.models import Scheme
from webhooks.inbound.refusals import OutsideWindow

ALGORITHMS = ("sha256", "sha512", "sha1")
ENCODINGS = ("hex", "base64")
MAX_SIGNATURES = 20
"""In one header; more are nobody's rotation."""

MAX_HEADER = 8192

OPTIONS: Mapping[str, Mapping[str, str]] = {
    Scheme.HMAC: {
        "header": "X-Signature",
        "algorithm": "sha256",
        "encoding": "hex",
        "prefix": "",
        "timestamp_header": "",
        "template": "",
    },
    Scheme.TIMESTAMPED: {"header": "X-Signature"},
    Scheme.GITHUB: {},
    Scheme.SLACK: {},
    Scheme.STANDARD: {"header_prefix": "webhook"},
    Scheme.BASIC: {"username": ""},
    Scheme.API_KEY: {"header": "X-API-Key", "prefix": ""},
    Scheme.ED25519: {"header": "X-Signature-Ed25519", "encoding": "hex", "timestamp_header": "", "template": ""},
}
"""Scheme -> option -> default. An empty `template` is `{body}`; with a `timestamp_header` it is `{timestamp}.{body}`, and for
ed25519 `{timestamp}{body}`."""

TIMED = frozenset({Scheme.TIMESTAMPED, Scheme.SLACK, Scheme.STANDARD})
"""Schemes that always sign a time; others do with a `timestamp_header`."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proven. `nonce` names this very (content, time) where the scheme signs a time, for GitHub the content: it is
    good for one effect, whichever signature of it came along."""

    at: float | None = None
    nonce: str = ""


def check(
    scheme: str, options: Mapping[str, Any], secrets: Sequence[str], request: InboundRequest, *, tolerance: int, now: datetime
) -> Proof:
    """Return what the request proves; raise `BadSignature` (`OutsideWindow` for a true signature of a wrong time)."""
    verify = _VERIFY.get(scheme)
    if verify is None or not secrets:
        raise BadSignature("the source has no scheme or no secret in use")
    given = {**OPTIONS[scheme], **{name: value for name, value in options.items() if isinstance(value, str) and value}}
    try:
        signed = verify(request, given, secrets)
    except (ValueError, OverflowError, TypeError) as error:  # malformed in a way that no check foresaw
        raise BadSignature("the signature can't be read") from error
    if signed is None:
        return Proof()
    if signed.at is not None and abs(now.timestamp() - signed.at) > tolerance:
        raise OutsideWindow(f"signed {round(now.timestamp() - signed.at)} seconds ago")
    content = hashlib.sha256(signed.content).hexdigest()
    return Proof(signed.at, hashlib.sha256(f"{signed.at}|{content}".encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class _Signed:
    """Content that counts once; `at`: the time that is signed in it."""

    at: float | None
    content: bytes


_Verify = Callable[[InboundRequest, Mapping[str, str], Sequence[str]], _Signed | None]


def _header(request: InboundRequest, name: str) -> str:
    value = request.headers.get(name.lower(), "").strip()
    if not value or len(value) > MAX_HEADER:
        raise BadSignature(f"the header {name} is missing or too long")
    return value


def _hmac(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> _Signed | None:
    stamp = _header(request, given["timestamp_header"]) if given["timestamp_header"] else ""
    content = _content(given["template"] or ("{timestamp}.{body}" if stamp else "{body}"), stamp, request.body)
    encode = _hex if given["encoding"] == "hex" else _base64
    wanted = [encode(hmac.new(secret.encode(), content, given["algorithm"]).digest()) for secret in secrets]
    sent = _without_prefix(_header(request, given["header"]).split(","), given["prefix"])
    _one_of(map(_lower, sent) if given["encoding"] == "hex" else map(_padded, sent), wanted)
    return _Signed(_moment(stamp), content) if stamp else None


def _timestamped(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> _Signed:
    parts = [part.strip().partition("=") for part in _header(request, given["header"]).split(",")]
    stamps = [value for name, _, value in parts if name == "t"]
    if len(stamps) != 1:
        raise BadSignature("exactly one t must stand in the header")
    content = stamps[0].encode() + b"." + request.body
    _one_of((_lower(value) for name, _, value in parts if name == "v1"), [_sha256(secret, content) for secret in secrets])
    return _Signed(_moment(stamps[0]), content)


def _github(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> _Signed:
    sent = _without_prefix([_header(request, "X-Hub-Signature-256")], "sha256=")
    _one_of(map(_lower, sent), [_sha256(secret, request.body) for secret in secrets])
    return _Signed(None, request.body)


def _slack(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> _Signed:
    stamp = _header(request, "X-Slack-Request-Timestamp")
    content = b"v0:" + stamp.encode() + b":" + request.body
    sent = _without_prefix([_header(request, "X-Slack-Signature")], "v0=")
    _one_of(map(_lower, sent), [_sha256(secret, content) for secret in secrets])
    return _Signed(_moment(stamp), content)


def _standard(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> _Signed:
    prefix = given["header_prefix"]
    message_id, stamp = _header(request, f"{prefix}-id"), _header(request, f"{prefix}-timestamp")
    content = f"{message_id}.{stamp}.".encode() + request.body
    pairs = [part.partition(",") for part in _header(request, f"{prefix}-signature").split()]
    keys = [each.removeprefix("whpk_") for each in secrets if each.startswith("whpk_")]
    shared = [decoded(each.removeprefix("whsec_")) for each in secrets if not each.startswith("whpk_")]
    wanted = [_base64(hmac.new(secret, content, "sha256").digest()) for secret in shared]
    symmetric = [value for version, _, value in pairs if version == "v1"]
    try:
        _one_of(symmetric, wanted)
    except BadSignature:
        _signed_by(keys, [value for version, _, value in pairs if version == "v1a"], "base64", content)
    return _Signed(_moment(stamp), content)


def _basic(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> None:
    kind, _, encoded = _header(request, "Authorization").partition(" ")
    if kind.lower() != "basic":
        raise BadSignature("no basic authentication")
    sent = base64.b64decode(encoded.strip(), validate=True)
    if not any([hmac.compare_digest(sent, f"{given['username']}:{secret}".encode()) for secret in secrets]):  # noqa: C419 all
        raise BadSignature("wrong user name or password")


def _api_key(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> None:
    sent = _without_prefix([_header(request, given["header"])], given["prefix"])
    _one_of(sent, secrets)


def _ed25519(request: InboundRequest, given: Mapping[str, str], secrets: Sequence[str]) -> _Signed | None:
    stamp = _header(request, given["timestamp_header"]) if given["timestamp_header"] else ""
    content = _content(given["template"] or ("{timestamp}{body}" if stamp else "{body}"), stamp, request.body)
    _signed_by(secrets, [_header(request, given["header"])], given["encoding"], content)
    return _Signed(_moment(stamp), content) if stamp else None


_VERIFY: Mapping[str, _Verify] = {
    Scheme.HMAC: _hmac,
    Scheme.TIMESTAMPED: _timestamped,
    Scheme.GITHUB: _github,
    Scheme.SLACK: _slack,
    Scheme.STANDARD: _standard,
    Scheme.BASIC: _basic,
    Scheme.API_KEY: _api_key,
    Scheme.ED25519: _ed25519,
}


# --- The pieces -----------------------------------------------------------------------------------------------------------


def public_key(text: str) -> Ed25519PublicKey:
    """Return a public key written as `whpk_` and base64, as base64 or as hex; raise `ValueError`."""
    raw = text.removeprefix("whpk_").strip()
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw) if re.fullmatch(r"[0-9a-fA-F]{64}", raw) else decoded(raw))


def decoded(text: str) -> bytes:
    """Return base64 of either alphabet, padded or not, as bytes; raise `ValueError`."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def signs_time(scheme: str, options: Mapping[str, Any]) -> bool:
    """Tell whether requests of this kind carry a signed time, and so can be told from their own repetition."""
    return scheme in TIMED or bool(options.get("timestamp_header"))


def _signed_by(keys: Sequence[str], sent: Sequence[str], encoding: str, content: bytes) -> None:
    for text in sent[:MAX_SIGNATURES]:
        try:
            signature = bytes.fromhex(text) if encoding == "hex" else decoded(text)
        except ValueError:
            continue
        for key in keys:
            try:
                public_key(key).verify(signature, content)
            except (InvalidSignature, ValueError):
                continue
            return
    raise BadSignature("no signature holds")


def _one_of(sent: Iterable[str], wanted: Sequence[str]) -> None:
    """Return if one is among the wanted ones, else raise `BadSignature`; all are compared, each in constant time."""
    found = False
    for text in list(sent)[:MAX_SIGNATURES]:
        given = text.encode("utf-8", "replace")
        if any([hmac.compare_digest(given, each.encode()) for each in wanted]) and text:  # noqa: C419 all of them
            found = True
    if not found:
        raise BadSignature("no signature holds")


def _without_prefix(sent: Iterable[str], prefix: str) -> list[str]:
    kept = [text.strip() for text in sent]
    return [text[len(prefix) :].strip() for text in kept if text.lower().startswith(prefix.lower())] if prefix else kept


def _content(template: str, stamp: str, body: bytes) -> bytes:
    """Return the text that is signed. By parts: the body may hold the words `{timestamp}` itself."""
    head, _, tail = template.partition("{body}")
    return head.replace("{timestamp}", stamp).encode() + body + tail.replace("{timestamp}", stamp).encode()


def _moment(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,13}(\.[0-9]{1,9})?", text):
        number = float(text)
        return number / 1000 if number > 1e11 else number
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadSignature("the time can't be read") from None
    if moment.tzinfo is None:
        raise BadSignature("the time has no zone")
    return moment.timestamp()


def _sha256(secret: str, content: bytes) -> str:
    return hmac.new(secret.encode(), content, "sha256").hexdigest()


def _lower(text: str) -> str:
    return text.strip().lower()


def _padded(text: str) -> str:
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    return plain + "=" * (-len(plain) % 4)


def _hex(digest: bytes) -> str:
    return digest.hex()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
