"""Hostile bodies: noise, random documents, and documented ones with a part bent. All of it follows from one seed."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus

PROVIDERS = Path(__file__).resolve().parents[3] / "integrations" / "providers"
CONTENT_TYPES = (
    "application/json", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "text/plain", "text/xml",
    "multipart/form-data; boundary=x", "multipart/form-data", "application/json; charset=nonsense", "message/rfc822", "",
    "\xff\xfe", "application/cloudevents+json", "x" * 300,
)  # fmt: skip
STRANGE_TEXT = (
    "", "\ud800", "\udfff\ud800", "\x00", "a\x00b", "\ufffe", "\u202e", "%00", "../../etc/passwd", "'; DROP TABLE x; --",
    "{{7*7}}", "<script>alert(1)</script>", "\U0001f600" * 50, "0", "-1", "NaN", "1e999", "x" * 5_000, "\r\nX: y", "null",
    "2026-13-45T99:99:99Z", "0000-00-00", "99999999999999999999999999", "١٢٣", "True", "+254712345678", "[]", "{}",
)  # fmt: skip
STRANGE_NUMBERS = (
    0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 10**400, 0.1, -0.0, 1e308, 1e-320, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
SIGNATURES = (
    "v1", "invalid_signature", "v1,a,b", "v2,zz v1", "t=,v1=", "t=1,v1=zz", "t=x,v1=" + "0" * 64, "sha256=", "sha256=zz", "=",
    ",", "t=" + "9" * 400, "v1," + "A" * 10_000, "\xe9\xff", "Basic !!!", "Bearer ", "Basic " + "A" * 999, "sha1=" + "f" * 40,
)  # fmt: skip
HEADERS = (
    "Stripe-Signature", "X-Hub-Signature-256", "X-Hub-Signature", "Verif-Hash", "X-Twilio-Signature", "Authorization",
    "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp", "Paypal-Transmission-Sig",
    "Paypal-Transmission-Id", "Paypal-Transmission-Time", "Paypal-Cert-Url", "Paypal-Auth-Algo", "X-Slack-Signature",
    "X-Slack-Request-Timestamp", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Signature", "X-Api-Key", "Cookie",
    "Content-Encoding", "X-Forwarded-For", "X-Request-Id", "Accept-Language", "Host", "X-Github-Event", "X-Github-Delivery",
    "Transfer-Encoding", "Flutterwave-Signature", "X-Event-Id",
)  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One request to be made."""

    body: bytes
    content_type: str
    query: str
    headers: dict[str, str]
    remote: str


def documented(provider: str) -> list[bytes]:
    """Return every document in the provider's fixtures folder, what comes in and what goes out alike."""
    folder = PROVIDERS / provider / "fixtures"
    return [file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file() and file.suffix != ".md"]


def shots(seed: int, known: Sequence[bytes], count: int) -> list[Shot]:
    """Return `count` requests made from the seed alone."""
    rng = random.Random(seed)
    return [_shot(rng, known) for _ in range(count)]


def _shot(rng: random.Random, known: Sequence[bytes]) -> Shot:
    make = rng.choices(
        (_noise, _random_json, _random_form, _deep, _bent),
        weights=(10, 10, 8, 1, 71 if known else 0),
    )[0]
    body = make(rng, known)[:400_000]
    return Shot(
        body=body,
        content_type=rng.choice(CONTENT_TYPES) if rng.random() < 0.3 else _fitting(body),
        query=_query(rng, body) if rng.random() < 0.3 else "",
        headers=_headers(rng, len(body)) if rng.random() < 0.5 else {},
        remote=f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
    )


def _fitting(body: bytes) -> str:
    return "application/json" if body[:1] in (b"{", b"[", b"") else "application/x-www-form-urlencoded"


def _headers(rng: random.Random, length: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(rng.randrange(1, 5)):
        value = rng.choice(SIGNATURES) if rng.random() < 0.6 else _latin(rng)
        found["HTTP_" + rng.choice(HEADERS).upper().replace("-", "_")] = value
    if rng.random() < 0.1:
        # What a web server lets through: digits. Less than there is cuts the body short; a lot more is refused unread.
        found["CONTENT_LENGTH"] = rng.choice(("0", str(length // 2), f"000{length}", "4194305", "9" * 20))
    return found


def _latin(rng: random.Random) -> str:
    """What a web server lets through in a header: printable Latin-1, no line breaks."""
    letters = string.printable[:95] + "".join(map(chr, range(0xA0, 0x100)))
    return "".join(rng.choices(letters, k=rng.choice((0, 1, 8, 64, 2000))))


def _query(rng: random.Random, body: bytes) -> str:
    if rng.random() < 0.5:
        return "".join(f"%{byte:02X}" if rng.random() < 0.5 else chr(byte % 95 + 32) for byte in body[:200])
    names = ("hub.mode", "hub.challenge", "hub.verify_token", "validationToken", "challenge", "OrderTrackingId", "\x00", "a[]")
    texts = [text.encode("utf-8", "surrogatepass") for text in STRANGE_TEXT]
    return "&".join(f"{quote_plus(rng.choice(names))}={quote_plus(rng.choice(texts))}" for _ in range(rng.randrange(1, 6)))


# --- bodies -------------------------------------------------------------------------------------------------------------


def _noise(rng: random.Random, _known: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 3, 40, 500, 5_000)))


def _deep(rng: random.Random, _known: Sequence[bytes]) -> bytes:
    levels = rng.choice((50, 900, 50_000))
    return rng.choice((b"[", b'{"a":', b'{"event":{"data":')) * levels


def _random_json(rng: random.Random, _known: Sequence[bytes]) -> bytes:
    return _dump(_value(rng, 4))


def _random_form(rng: random.Random, _known: Sequence[bytes]) -> bytes:
    return _form(rng, [(_text(rng), _text(rng)) for _ in range(rng.randrange(0, 250 if rng.random() < 0.05 else 12))])


def _bent(rng: random.Random, known: Sequence[bytes]) -> bytes:
    """A documented body, with something done to it; sometimes nothing."""
    body = rng.choice(known)
    if rng.random() < 0.05:
        return body
    if rng.random() < 0.25:
        return _bend_bytes(rng, body)
    try:
        tree = json.loads(body)
    except ValueError:
        return _bend_form(rng, body) if b"=" in body[:200] and b"\n" not in body[:200] else _bend_bytes(rng, body)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        tree = _bend_tree(rng, tree)
    text = _dump(tree)
    if rng.random() < 0.1 and text.startswith(b"{") and len(text) > 2:
        # The first member twice, with another value each time: JSON allows it, and parsers differ on which one counts.
        text = b"{" + _dump(next(iter(tree))) + b":" + _dump(_value(rng, 1)) + b"," + text[1:]
    return text


def _bend_bytes(rng: random.Random, body: bytes) -> bytes:
    bent = bytearray(body)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if not bent:
            break
        at = rng.randrange(len(bent))
        action = rng.randrange(4)
        if action == 0:
            bent[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            del bent[at : at + rng.choice((1, 1, 10, 100_000))]
        elif action == 2:
            bent[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
        else:
            bent[at:at] = bent[:at][-200:]
    return bytes(bent)


def _bend_form(rng: random.Random, body: bytes) -> bytes:
    pairs = parse_qsl(body.decode("utf-8", "replace").strip(), keep_blank_values=True)
    for _ in range(rng.choice((1, 1, 3))):
        if not pairs:
            break
        at = rng.randrange(len(pairs))
        name, value = pairs[at]
        action = rng.randrange(4)
        if action == 0:
            del pairs[at]
        elif action == 1:
            pairs.insert(at, (name, _text(rng)))
        elif action == 2:
            pairs[at] = (name, _text(rng))
        else:
            pairs[at] = (_text(rng), value)
    return _form(rng, pairs)


def _form(rng: random.Random, pairs: Sequence[tuple[str, str]]) -> bytes:
    quote: Callable[[bytes], str] = quote_plus if rng.random() < 0.9 else (lambda raw: raw.decode("latin-1"))
    encoded = [(name.encode("utf-8", "surrogatepass"), value.encode("utf-8", "surrogatepass")) for name, value in pairs]
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in encoded).encode("utf-8", "surrogatepass")


def _bend_tree(rng: random.Random, tree: Any) -> Any:
    """Return the tree with one of its nodes dropped, doubled, retyped, wrapped or replaced."""
    if isinstance(tree, dict) and tree and rng.random() < 0.8:
        name = rng.choice(list(tree))
        if rng.random() < 0.6:
            return {**tree, name: _bend_tree(rng, tree[name])}
        action = rng.randrange(3)
        if action == 0:
            return {key: value for key, value in tree.items() if key != name}
        if action == 1:
            return {**{key: value for key, value in tree.items() if key != name}, _text(rng): tree[name]}
        return {**tree, name: _value(rng, 2)}
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        at = rng.randrange(len(tree))
        action = rng.randrange(4)
        if action == 0:
            return [*tree[:at], *tree[at + 1 :]]
        if action == 1:
            return tree * rng.choice((2, 3, 40)) if len(tree) < 50 else tree
        return [*tree[:at], _bend_tree(rng, tree[at]), *tree[at + 1 :]]
    if isinstance(tree, str) and rng.random() < 0.4:
        return rng.choice((tree.upper(), tree + rng.choice(STRANGE_TEXT), tree[::-1], [tree], {tree: tree}, tree[:-1]))
    return rng.choice(([tree], {"value": tree}, _value(rng, 2), None, str(tree)))


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(7 if depth else 5)
    if kind == 0:
        return rng.choice(STRANGE_NUMBERS)
    if kind == 1:
        return rng.choice((None, True, False))
    if kind <= 4:
        return _text(rng)
    size = rng.randrange(0, 5)
    if kind == 5:
        return [_value(rng, depth - 1) for _ in range(size)]
    return {_text(rng): _value(rng, depth - 1) for _ in range(size)}


def _text(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(STRANGE_TEXT)
    names = ("id", "type", "event", "data", "object", "status", "amount", "Body", "entry", "from", "reference", "metadata")
    return rng.choice(names) if rng.random() < 0.5 else "".join(rng.choices(string.ascii_letters, k=rng.randrange(1, 12)))


def _dump(tree: Any) -> bytes:
    """JSON as a lax sender writes it: NaN and infinities, lone surrogates as escapes."""
    return json.dumps(tree).encode()
